"""Files and folders that a configuration names, when it is run from another folder.

A relative path is seen from the current folder, as everywhere else. What is not there is looked for
beside the configuration that names it, and one folder above: a project's `configs/x.yaml` names
`data/questions.jsonl`.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from ..catalogue.nodes import read_nodes
from ..catalogue.shipped import shipped_configs
from .typos import HELP, flag_pairs

# Settings that name what a run reads, by the last part of their name.
READ = ("prepare", "path", "root", "warm_start")
MODEL = "model.name"
_ABSENT = re.compile(r"'([^']+)' (does not exist|is not a local folder|is neither a file)")


def find_paths(config: Any, arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What a configuration names and the current folder does not have, and where it is.

    Args:
        config: of one command; it is changed.
        arguments: of the command.

    Yields:
        The setting and the path that it has now.
    """
    files = [Path(path) for path in _configs(arguments)]
    texts = {file: set(_texts(read_nodes(str(file)))) for file in files}
    shipped = {path.resolve() for path in shipped_configs().values()}
    for part, name, key in _named(config) if files else ():
        value = part[name]
        if not value or Path(value).expanduser().is_absolute() or Path(value).exists():
            continue
        for file in files:
            # The base that a configuration of ours prepares is made in the current folder.
            prepared = key in (MODEL, "prepare") and config.get("prepare")
            made = prepared and file.resolve() in shipped
            found = None if made or value not in texts[file] else _beside(file, value)
            if found is not None:
                part[name] = str(found)
                yield key, str(found)
                break


def searched(sentence: str, arguments: Sequence[str]) -> str:
    """A sentence about a file that is not there, with the folders that a relative path means."""
    found = _ABSENT.search(sentence)
    if found is None or Path(found[1]).expanduser().is_absolute() or "seen from" in sentence:
        return sentence
    files = [Path(path) for path in _configs(arguments)]
    named = [file for file in files if found[1] in set(_texts(read_nodes(str(file))))]
    folders = [Path.cwd(), *(folder for file in named for folder in _folders(file))]
    return f"{sentence}; looked in {', '.join(map(str, dict.fromkeys(folders)))}"


def _named(part: Any, above: str = "") -> Iterator[tuple[Any, str, str]]:
    """Each setting that names what is read: what holds it, its name there, and its full name."""
    if isinstance(part, list):
        for number, each in enumerate(part):
            yield from _named(each, f"{above}[{number}]")
    elif isinstance(part, Namespace | dict):
        for name, value in list(
            vars(part).items() if isinstance(part, Namespace) else part.items()
        ):
            key = above if name == "init_args" else f"{above}.{name}".lstrip(".")
            if isinstance(value, str) and (key == MODEL or name in READ):
                yield part, name, key
            yield from _named(value, key)


def _configs(arguments: Sequence[str]) -> Iterator[str]:
    for option, value in flag_pairs(arguments, HELP):
        if option in ("--config", "-c") and value and Path(value).is_file():
            yield value


def _folders(file: Path) -> list[Path]:
    folder = Path(os.path.abspath(file)).parent
    return [folder, folder.parent]


def _beside(file: Path, value: str) -> Path | None:
    return next((f / value for f in _folders(file) if (f / value).exists()), None)


def _texts(node: yaml.Node | None) -> Iterator[str]:
    if isinstance(node, yaml.ScalarNode):
        yield node.value
    elif isinstance(node, yaml.SequenceNode):
        for part in node.value:
            yield from _texts(part)
    elif isinstance(node, yaml.MappingNode):
        for _, part in node.value:
            yield from _texts(part)
