"""A parser whose every complaint is one sentence that begins with the setting."""

import argparse
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

from ..errors import UserError
from .carried import Choosing, carry_only_choices
from .failures import causes, first_line

carry_only_choices()
_LIMIT = 300
_KEY = re.compile(r'Parser key "(?P<key>[^"]*)":?\s*(?P<rest>.*)')
_VALUE = "Given value: "
# Lines of a parser's report that frame the reasons and hold none.
_FRAME = re.compile(
    r"Does not validate|Subtypes:|Errors:|Given value|Problem with given class_path"
)
# Code of this project that only hands a configuration on.
_NEUTRAL = ("fgexpo.cli.", "fgexpo.outside.", "fgexpo.__main__")
# What libraries raise over settings.
_SAID = (
    *(ValueError, TypeError, KeyError, AttributeError, ImportError),
    MisconfigurationException,
)
# How reasons read in the parser's words, and in plain ones.
_PLAIN = (
    (re.compile(r"<class '(?:\w+\.)*(\w+)'>"), r"\1"),
    (re.compile(r"^Type \S.*? expects a function or a callable class: "), ""),
    (re.compile(r"\bNoneType\b"), "null"),
    (re.compile(r"^Expected a\b"), "expected a"),
    (re.compile(r"\ba (?:typing\.)?Literal\[(.*?)\]"), r"one of \1"),
    (re.compile(r"\ba int\b"), "a whole number"),
    (re.compile(r"\ba float\b"), "a number"),
    (re.compile(r"\ba bool\b"), "true or false"),
    (re.compile(r"\ba str\b"), "text"),
    (re.compile(r"\ba (?=[aeio])"), "an "),
    (re.compile(r"\ba null\b"), "null"),
    (re.compile(r"\. Got value: "), ", got "),
    (re.compile(r"expected a dot import path string: (\S+)"), r"no class is named '\1'"),
    (re.compile(r"expected a path but .*"), ""),
    (re.compile(r"[Nn]ot a valid subclass of (\S+?)\..*"), r"expected a class of the kind \1"),
    (re.compile(r"Option '(.*?)' is not accepted"), r"no setting is named '\1'"),
    (re.compile(r"the following arguments are required: (.*)"), r"\1 is missing"),
    (
        re.compile(r".*class path \(str\) or a dict.*"),
        "expected the name of a class, or class_path",
    ),
    (re.compile(r"(?:, got |: )Namespace\(.*"), ""),
)


class _Refusing:
    """Raises what the parser would have printed below a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuse the arguments.

        Raises:
            UserError: in one sentence.
        """
        parser: Any = self
        if not parser.exit_on_error:  # a parser within a parser, whose errors are collected
            super().error(message, ex)  # pyright: ignore[reportAttributeAccessIssue]
        ours = (str(cause) for cause in causes(ex) if isinstance(cause, UserError))
        sentence = next(ours, None)
        if sentence is None:
            program = parser.prog.replace(" [options]", "")
            hint = "" if _read(message)[0] else f"; see `{program} --help`"
            sentence = f"{told(message)}{hint}"
        raise UserError(sentence) from ex


class Parser(_Refusing, Choosing):
    """The parser of the commands of this project."""


class PlainParser(_Refusing, argparse.ArgumentParser):
    """The standard library's, which leaves what it does not know to another parser."""


class FitParser(_Refusing, Choosing, LightningArgumentParser):
    """The parser of Lightning's commands."""


def told(message: str) -> str:
    """A parser's report in one sentence, which begins with the setting if it names one."""
    setting, reason = _read(message)
    return _joined(f"{setting}: {reason}" if setting else reason)


def _read(message: str) -> tuple[str, str]:
    """The setting and the reasons, out of the parser's nested report.

    Of the reasons for a union of types, one about a setting further inside says most.
    """
    keys: list[str] = []
    reasons: list[tuple[int, str]] = []
    value = ""
    for line in message.splitlines():
        text = line.lstrip(" -")
        depth = len(line) - len(text)
        found = _KEY.match(text)
        if found is not None:
            # Another alternative's settings, once the first one's reason is known.
            if reasons and depth <= max(deep for deep, _ in reasons):
                continue
            keys.append(found["key"])
            if found["rest"]:
                reasons.append((depth, found["rest"]))
        elif text.startswith(_VALUE):
            value = value or text.removeprefix(_VALUE)
        elif text and not _FRAME.match(text):
            reasons.append((depth, text))
    deepest = max((deep for deep, _ in reasons), default=0)
    said = [_plain(reason) for deep, reason in reasons if deep == deepest]
    joined = " or ".join(dict.fromkeys(filter(None, said))).replace(" or expected ", " or ")
    # A nested argument is an object of the parser's own.
    known = (
        not value or "got " in joined or "(" in value or value[0] in "{[" or repr(value) in joined
    )
    got = "" if known else f", got {value!r}"
    setting = ".".join(keys)
    return "--config" if setting == "config" else setting, f"{joined}{got}"


@contextmanager
def making(what: str) -> Iterator[None]:
    """Tell what a library says about the settings that a configuration gives to its classes.

    If no code of this project ran in between, then only the settings can be at fault.

    Args:
        what: is made in this block, as in "the classes of the configuration".

    Raises:
        UserError: in one sentence; an error out of this project's own code passes as it is.
    """
    try:
        yield
    except UserError:
        raise
    except _SAID as error:
        if any(_ours(cause) for cause in causes(error)):
            raise
        root = list(causes(error))[-1]
        # Of alternatives the root is only the first, unless a class has refused its settings.
        several = "\n" in str(error) and _module(root).startswith("jsonargparse")
        # A key alone says nothing.
        text = first_line(root, _LIMIT) if isinstance(root, KeyError) else str(root)
        sentence = told(str(error)) if several else _joined(text)
        raise UserError(f"{what}: {sentence}") from error


def _ours(error: BaseException) -> bool:
    """Whether code of this project, but for its command line, raised it or called what did."""
    modules = [
        str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    return any(name.startswith("fgexpo.") and not name.startswith(_NEUTRAL) for name in modules)


def _module(error: BaseException) -> str:
    """The module that raised it."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__")) if frames else ""


def _plain(reason: str) -> str:
    for words, plain in _PLAIN:
        reason = words.sub(plain, reason)
    return reason


def _joined(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LIMIT else f"{line[:_LIMIT]}..."
