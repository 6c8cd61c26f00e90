"""Reference pages from the code: every slot, its classes and their settings; every ``--help``.

Pure functions from the catalogue to Markdown; ``conf.py`` puts the result into the pages.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

from fgexpo.catalogue import (
    Catalogue,
    ClassSource,
    Setting,
    Slot,
    find_slots,
    object_setting,
    read_catalogue,
)

MARK = re.compile(r"^<!-- (help|options|include)(?:: ([\w.]+))? -->$", re.MULTILINE)
# Pages at the top of the tree, and their copies in the site.
OUTSIDE = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md"}
TOP = Path(__file__).parents[1]
# Top-level keys whose slots a page holds; all others are callbacks.
PAGES = ("model", "data")
YAML = {"None": "null", "True": "true", "False": "false"}
COMMANDS = ("fit", "export", "compare", "study", "plan")
# A cross-reference or a literal of a docstring.
_ROLE = re.compile(r":\w+:`~?\.*([^`]+)`")
_LITERAL = re.compile(r"``([^`]+)``")


def fill_in(text: str) -> str:
    """A page with its marks replaced by what the code says."""

    def made(mark: re.Match[str]) -> str:
        if mark[1] == "include":
            return from_the_top((TOP / mark[2]).read_text("utf-8"))
        return help_pages() if mark[1] == "help" else options_page(mark[2])

    return MARK.sub(made, inside_the_site(text))


def inside_the_site(text: str) -> str:
    """A page's links to files beside the folder of pages, as links within the site."""
    for name, copy in OUTSIDE.items():
        # One step up fewer: the copy lies in the folder of pages.
        text = re.sub(rf"\]\(\.\./((?:\.\./)*){name}", rf"](\1{copy}", text)
    # Source files are not part of the site; their names stay as text.
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+(?!README)[\w/.-]+\.(?:py|yaml)\)", r"`\1`", text)


def from_the_top(text: str) -> str:
    """A page at the top of the tree, with its links as the site's copy has them."""
    for name, copy in OUTSIDE.items():
        text = text.replace(f"]({name}", f"]({copy}")
    return text.replace("](docs/", "](")


def options_page(page: str) -> str:
    """The slots of one page: ``model``, ``data``, or ``callbacks`` for all others."""
    catalogue = read_catalogue()
    slots = [slot for slot in find_slots(catalogue) if _page(slot.key) == page]
    parts = []
    for base, keys in _by_base(slots).items():
        parts += [f"## {', '.join(f'`{slot.key}`' for slot in keys)}", _intro(catalogue, keys)]
        for found in keys[0].kinds(catalogue):
            elsewhere = _elsewhere(found, base, slots, catalogue)
            parts.append(elsewhere or class_section(catalogue, found))
    for path, names in plain_objects(catalogue, slots).items():
        parts.append(f"## {', '.join(f'`{name}`' for name in names)}")
        parts.append(class_section(catalogue, catalogue.classes[path]))
    return "\n\n".join(parts)


def class_section(catalogue: Catalogue, found: ClassSource) -> str:
    """A class: its summary, and a table of its settings."""
    settings = catalogue.settings(found.path)
    head = f"### {found.name}\n\n`{found.path}`: {plain(found.summary)}"
    if not settings:
        return f"{head}\n\nIt has no settings."
    rows = [
        f"| `{each.name}` | {_default(each)} | {_code(each.type)} {_cell(each.help)} |"
        for each in settings
    ]
    return "\n".join([head, "", "| setting | default | type, meaning |", "|---|---|---|", *rows])


def plain_objects(catalogue: Catalogue, slots: list[Slot]) -> dict[str, list[str]]:
    """Settings that take an object of one class only, such as ``model.sampling``, by its path."""
    found: dict[str, list[str]] = {}
    shown = {each.path for slot in slots for each in slot.kinds(catalogue)}
    for slot in slots:
        for kind in slot.kinds(catalogue):
            for key, path in _objects(catalogue, slot.key, kind.path):
                if path not in shown and key not in found.setdefault(path, []):
                    found[path].append(key)
    return found


def help_pages() -> str:
    """What ``fgexpo --help`` and each command's ``--help`` print."""
    from fgexpo.cli.command_line import run_to_the_end
    from fgexpo.cli.front import answer, page

    parts = ["## fgexpo", _block(page())]
    os.environ["COLUMNS"] = "100"
    for command in COMMANDS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            status = answer([command, "--help"])  # by some commands, without heavy imports
            if status is None:
                status = run_to_the_end([command, "--help"])
        assert status == 0, f"{command} --help ended with {status}"
        parts += [f"## fgexpo {command}", _block(printed.getvalue())]
    return "\n\n".join(parts)


def plain(text: str) -> str:
    """A docstring's reStructuredText as Markdown."""
    text = _ROLE.sub(lambda role: f"`{role[1].rpartition('.')[2]}`", text)
    return _LITERAL.sub(r"`\1`", text)


def _objects(catalogue: Catalogue, key: str, path: str) -> Iterator[tuple[str, str]]:
    for setting in catalogue.settings(path):
        base = object_setting(catalogue, setting)
        if base is None or catalogue.is_abstract(base):
            continue
        kinds = catalogue.kinds(base)
        if len(kinds) == 1 and kinds[0].path == base:
            yield f"{key}.{setting.name}", base
            yield from _objects(catalogue, f"{key}.{setting.name}", base)


def _page(key: str) -> str:
    head = key.split(".")[0]
    return head if head in PAGES else "callbacks"


def _by_base(slots: list[Slot]) -> dict[str, list[Slot]]:
    found: dict[str, list[Slot]] = {}
    for slot in slots:
        found.setdefault(slot.base, []).append(slot)
    return found


def _intro(catalogue: Catalogue, slots: list[Slot]) -> str:
    names = ", ".join(f"`{each.name}`" for each in slots[0].kinds(catalogue))
    many = "a list or mapping of: " if slots[0].many else ""
    base = slots[0].base
    own = f" Base class: `{base}`." if base in catalogue.classes else ""
    return f"Takes {many}{names}.{own}"


def _elsewhere(found: ClassSource, base: str, slots: list[Slot], catalogue: Catalogue) -> str:
    """A line for a class that an earlier slot of the page has described already."""
    for slot in slots:
        if slot.base == base:
            return ""
        if any(each.path == found.path for each in slot.kinds(catalogue)):
            return f"`{found.name}`: see `{slot.key}`."
    return ""


def _default(setting: Setting) -> str:
    return "*required*" if setting.default is None else _code(setting.default)


def _code(text: str) -> str:
    """Code in a cell, with values as YAML writes them."""
    for python, yaml in YAML.items():
        text = re.sub(rf"\b{python}\b", yaml, text)
    return f"`{' '.join(text.split())}`".replace("|", r"\|") if text else ""


def _cell(text: str) -> str:
    return plain(" ".join(text.split())).replace("|", r"\|")


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"
