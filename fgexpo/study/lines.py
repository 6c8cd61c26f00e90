"""Where the keys of a study's YAML stand, and which of them are unknown; no heavy imports."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Any, get_args, get_type_hints

import yaml

from ..catalogue.nodes import plain_document
from .spec import Study


class Lines:
    """The keys of a study's YAML, each as the path of its names, with its line.

    A file that is not there, or no mapping, has no keys; whoever reads it says so.

    Args:
        path: the YAML.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.at: dict[tuple[str, ...], int] = {}
        # How often each stands there: YAML takes the last without a word.
        self.twice: list[tuple[str, ...]] = []
        for keys, line in _walk(plain_document(path)):
            if keys in self.at:
                self.twice.append(keys)
            self.at[keys] = line

    def where(self, *keys: str) -> str:
        """File and line of a key, or of the nearest one around it."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.at:
                return f"{self.path}:{self.at[keys[:end]]}"
        return self.path

    def faults(self) -> list[str]:
        """A sentence for each key that there is not, or that stands there twice."""
        found = [
            f"{self.where(*keys)}: {'.'.join(keys)}: this key stands there twice"
            for keys in self.twice
        ]
        for keys in self.at:
            known = known_keys(keys[:-1])
            if known is None or keys[-1] in known:
                continue
            near = get_close_matches(keys[-1], known, 1)
            there = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            inside = ".".join(keys[:-1]) or "a study"
            found.append(f"{self.where(*keys)}: {inside} has no key {keys[-1]!r}; {there}")
        return found


def known_keys(place: tuple[str, ...]) -> list[str] | None:
    """The keys that may stand at a place of a study; None where any name may."""
    kind: Any = Study
    for key in place:
        if is_dataclass(kind):
            kind = get_type_hints(kind).get(key)
        else:  # a mapping's values
            kind = next(reversed(get_args(kind)), None)
        if isinstance(kind, UnionType):
            kind = next((part for part in get_args(kind) if is_dataclass(part)), None)
    return [each.name for each in fields(kind)] if is_dataclass(kind) else None


def _walk(
    node: yaml.Node | None, keys: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], int]]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            below = (*keys, key.value)
            yield below, key.start_mark.line + 1
            yield from _walk(value, below)
