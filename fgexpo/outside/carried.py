"""When a configuration names another class for a setting, what someone chose is carried over.

That is what a file, a flag or the slot's own default says. The parser would fill up the slot's
default class before it reads any of them, and then keep its settings wherever the new class takes
them: a verifier of one's own with a setting ``reads`` would get the default verifier's
``reads: box`` for its own default. Here classes are filled up once it is known which ones they are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from jsonargparse import ArgumentParser, _core, _typehints

_parser: Any = _core  # the module whose names its parser calls
_fill: Callable[..., None] = _typehints.ActionTypeHint.add_sub_defaults
_subcommands: Callable[..., None] = _parser.handle_subcommands
_early: ContextVar[bool] = ContextVar("early", default=False)


@contextmanager
def _before_choices() -> Iterator[None]:
    token = _early.set(True)
    try:
        yield
    finally:
        _early.reset(token)


class Choosing(ArgumentParser):
    """A parser that fills up its classes after it has read all settings, not before too."""

    def _parse_defaults_and_environ(self, *arguments: Any, **options: Any) -> Any:
        with _before_choices():
            return super()._parse_defaults_and_environ(*arguments, **options)


def carry_only_choices() -> None:
    """Make the parser fill up no class while it merges what was chosen; once is enough."""
    _typehints.ActionTypeHint.add_sub_defaults = staticmethod(_fill_late)
    _parser.handle_subcommands = _merge_subcommands


@wraps(_fill)
def _fill_late(parser: Any, cfg: Any) -> None:
    if not _early.get():
        return _fill(parser, cfg)
    for key, value in list(cfg.items()):
        if isinstance(value, dict) and _typehints.is_subclass_spec(value):
            # Filling up would give a slot's default this form, which merging expects.
            cfg[key] = _typehints.subclass_spec_as_namespace(value)
    return None


@wraps(_subcommands)
def _merge_subcommands(*arguments: Any, **options: Any) -> None:
    with _before_choices():
        _subcommands(*arguments, **options)
