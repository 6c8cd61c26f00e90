"""YAML that is too deep or too large for its parser, found before it is walked through.

Anchors make a few lines stand for billions of values (`a: [*b, *b]`, nine times over). YAML loads
them at once, since copies share one object; the parser would then visit each copy.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from ..errors import UserError
from .failures import reading

# A study of a thousand arms has some ten thousand values.
VALUES, DEPTH = 200_000, 100


def bound_documents() -> None:
    """Let jsonargparse refuse such documents, wherever it reads one."""
    load = get_loader("yaml")
    if getattr(load, "bounded", False):
        return

    def bounded(text: str) -> Any:
        """Load a YAML text; all that is wrong with it is a YAMLError, as jsonargparse expects."""
        check_depth(text)
        try:
            value = load(text)
        except (ValueError, TypeError, OverflowError) as error:  # of dates, numbers, keys
            raise yaml.YAMLError(str(error)) from error
        if isinstance(value, dict | list) and size_of(value, {}) > VALUES:
            raise yaml.YAMLError(f"it stands for more than {VALUES:,} values")
        return value

    bounded.bounded = True  # pyright: ignore[reportFunctionMemberAccess]
    set_loader("yaml", bounded, exceptions=(yaml.YAMLError,))


def check_configs(arguments: Sequence[str]) -> None:
    """Check that every file given by ``--config`` is a YAML mapping.

    Raises:
        UserError: naming the file. One that does not exist is left to the parser.
    """
    after = pairwise(arguments)
    named = [value for option, value in after if option in ("--config", "-c")]
    named += [text.removeprefix("--config=") for text in arguments if text.startswith("--config=")]
    for path in named:
        if not Path(path).is_file():
            continue
        with reading(path, "the YAML of a configuration", "--config"):
            try:
                content = get_loader("yaml")(Path(path).read_text())
            except yaml.MarkedYAMLError as error:
                raise UserError(f"--config: {broken(path, error)}") from error
            if not isinstance(content, dict | None):
                raise UserError(f"--config: {path!r} is no mapping of settings to values")


def broken(path: str, error: yaml.MarkedYAMLError) -> str:
    """Where a document stops being YAML, and why."""
    mark = error.problem_mark or error.context_mark
    line = "" if mark is None else f":{mark.line + 1}"
    why = ", ".join(filter(None, (error.context, error.problem)))
    return f"{path}{line} is no YAML: {why}"


def check_depth(text: str) -> None:
    """Read the document's brackets and indents alone; the C library crashes on 100,000 of them.

    Raises:
        yaml.YAMLError: for one that is nested too deep.
    """
    if len(text) <= DEPTH:
        return
    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            raise yaml.YAMLError(f"it is nested deeper than {DEPTH} levels")


def size_of(value: Any, known: dict[int, int], depth: int = 0) -> int:
    """How many values a document holds once all of its anchors are written out.

    Args:
        value: the document.
        known: sizes of the parts that were counted already, by identity.
        depth: of this part.

    Raises:
        yaml.YAMLError: for one that contains itself, or is nested too deep through its anchors.
    """
    if not isinstance(value, dict | list):
        return 1
    if depth > DEPTH:
        raise yaml.YAMLError(f"it is nested deeper than {DEPTH} levels")
    if id(value) not in known:
        parts = list(value.values()) if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(size_of(part, known, depth + 1) for part in parts)
    return known[id(value)]
