"""The pages of the documentation, and the code that stands in them."""

import re
import shlex
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"# ([\w.-]+\.(?:py|yaml))$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"(\w+)=(.*)", re.DOTALL)


def page_id(page):
    """A page as tests name it."""
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    """The fenced blocks of a language."""
    return [text for found, text in _FENCE.findall(page.read_text()) if found == language]


def named_files(page):
    """Blocks whose first line is a comment with the name of the file that they stand for."""
    found = {}
    for language in ("python", "yaml"):
        for text in blocks(page, language):
            name = _NAME.match(text)
            if name:
                found[name[1]] = text
    return found


def unnamed_yaml(page):
    """YAML that stands for a part of any configuration."""
    return [text for text in blocks(page, "yaml") if not _NAME.match(text)]


def commands(page):
    """Every simple command of the shell blocks: its environment and its words."""
    found, exported = [], {}  # a reader has one shell open
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if ">" in words:  # what is printed goes to a file
                words = words[: words.index(">")]
            for part in _split(words):
                environment = dict(exported)
                while part and _ASSIGNMENT.fullmatch(part[0]):
                    name, value = _ASSIGNMENT.fullmatch(part.pop(0)).groups()
                    environment[name] = value
                if part[:1] == ["export"]:
                    exported |= dict(word.split("=", 1) for word in part[1:])
                elif part:
                    found.append((environment, part))
    return found


def documented_tags():
    """The tags in the table of docs/tensorboard.md, with their choices written out."""
    return _written_out([row.split("|")[1] for row in _rows_of_tags()])


def _rows_of_tags():
    table = (DOCS / "tensorboard.md").read_text().split("## Tags\n")[1].split("\n## ")[0]
    return [line for line in table.splitlines() if line.startswith("| `")]


def _written_out(cells):
    found = []
    for written in re.findall(r"`([^`]+)`", " ".join(cells)):
        before, brace, rest = written.partition("{")
        choices, _, after = rest.partition("}")
        found += [f"{before}{one}{after}" for one in choices.split(",")] if brace else [written]
    return found


def is_documented(tag):
    """Whether the table has a tag; ``<name>``, ``*`` and the k of pass@k stand for anything."""
    written = documented_tags()
    if tag.startswith(("val/", "test/")):  # all scores stand in one row, some beside their meaning
        row = [each for each in _rows_of_tags() if each.startswith("| `val/")]
        written = [each.rpartition("/")[2] for each in _written_out(row)]
        tag = tag.rpartition("/")[2]
    wild = [re.sub(r"<\w+>|(?<=@)k\b", "*", each) for each in written]
    return any(fnmatchcase(tag, pattern) for pattern in wild)


def _split(words):
    part = []
    for word in words:
        if word in ("&&", ";", "|"):
            yield part
            part = []
        elif word.endswith(";"):
            yield [*part, word[:-1]]
            part = []
        else:
            part.append(word)
    yield part
