"""A cell as text: never Python's way to write an object, but an error with the path into the cell.

Questions come as text, as chat messages, as one message, or as a message's parts; all of these also
written as JSON into a text, which is how tables without nested columns hold them.
"""

import ast
import datetime
import json
import math
import re
from decimal import Decimal
from typing import Any

from ..errors import UserError
from ..questions import is_text

_OBJECTS = re.compile(r"\s*\[?\s*\{")
# Only chat messages begin like this; in Python's own writing too, as pandas puts lists into CSV.
_CHAT = re.compile(r"""\s*\[?\s*\{\s*["'](role|content)["']\s*:""")
_TEXT_PARTS = (None, "text", "input_text")


class NotText(UserError):
    """A cell, or a part of it, that is no text; says what is there instead, and where.

    Args:
        found: what is there.
        path: dots lead into the cell.
        expected: what was expected.
    """

    def __init__(self, found: str, path: str, expected: str = "text or a number") -> None:
        super().__init__(f"has {found} at {path!r}, expected {expected}")


def answer_text(value: Any, path: str = "cell") -> str:
    """A cell as text: 27.0 is "27", a list is its items, and nothing is "".

    Raises:
        NotText: for anything without one obvious text.
    """
    if isinstance(value, str) and _CHAT.match(value):
        raise NotText("chat messages", path)
    if _is_parts(value):
        return _content(value, path)
    if not isinstance(value, list):
        return _scalar(value, path)
    items = [_scalar(item, f"{path}.{i}") for i, item in enumerate(value)]
    if not all(item.strip() for item in items) and len(items) > 1:
        raise NotText("nothing", f"{path}.{[bool(item.strip()) for item in items].index(False)}")
    return ", ".join(items)


def prompt_text(value: Any, path: str = "cell") -> str:
    """The question of a cell: its text, or the last user message of chat messages; "" if none.

    Raises:
        NotText: for anything else, such as a picture.
    """
    if isinstance(value, bytes | bytearray):
        value = _scalar(value, path)
    if isinstance(value, str):
        value = _written_chat(value, path)
    if _is_parts(value):
        return _content(value, path)
    messages = [value] if isinstance(value, dict) else value
    if not isinstance(messages, list):
        return _scalar(value, path)
    asked = ""
    for i, message in enumerate(messages):
        place = path if messages is not value else f"{path}.{i}"
        if isinstance(message, str):
            raise NotText("a list of texts", path, "text or chat messages")
        if not isinstance(message, dict) or "role" not in message:
            raise NotText(_kind(message), place, "text, or a message with role and content")
        if message["role"] == "user":
            asked = _content(message.get("content"), f"{place}.content")
    return asked


def _content(value: Any, path: str) -> str:
    """What a message says: text, or parts of it one after the other."""
    if isinstance(value, dict):
        return _part(value, path)
    if isinstance(value, list):
        return "".join(_part(part, f"{path}.{i}") for i, part in enumerate(value))
    return _scalar(value, path)


def _part(value: Any, path: str) -> str:
    if not isinstance(value, dict):
        return _scalar(value, path)
    kind, text = value.get("type"), value.get("text")
    if kind not in _TEXT_PARTS:
        raise NotText(f"a part of the type {str(kind)[:40]!r}", path, "text alone")
    if not isinstance(text, str | bytes):
        raise NotText(_kind(value), path, "a part with a text")
    return _scalar(text, f"{path}.text")


def _is_parts(value: Any) -> bool:
    """Whether it is a part of a message's content, or a list of them."""
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(
        isinstance(item, dict) and "role" not in item and ("type" in item or "text" in item)
        for item in items
    )


def _written_chat(text: str, path: str) -> Any:
    """The messages or parts that this text writes down, else the text itself."""
    if not _OBJECTS.match(text):
        return text
    chat = bool(_CHAT.match(text))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _literal(text, path) if chat else text
    items = found if isinstance(found, list) else [found]
    messages = all(isinstance(item, dict) and {"role", "content"} <= item.keys() for item in items)
    return found if messages or _is_parts(found) else text


def _literal(text: str, path: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise NotText(
            f"chat messages that are not JSON ({text[:40]!r})", path, "text or messages as JSON"
        ) from error


def _scalar(value: Any, path: str) -> str:
    if value is None or (isinstance(value, float | Decimal) and math.isnan(value)):
        return ""
    if isinstance(value, bytes | bytearray):
        try:
            value = bytes(value).decode()
        except UnicodeDecodeError as error:
            raise NotText("bytes that are not UTF-8", path) from error
    if isinstance(value, str):
        if not is_text(value):
            raise NotText(f"half a character ({value[:40]!r})", path, "whole ones")
        return value
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            raise NotText(f"{value}", path, "a finite number")
        # No exponents: graders read 1e-07 as a formula.
        exact = Decimal(str(value))
        return str(int(exact)) if exact == exact.to_integral_value() else f"{exact.normalize():f}"
    if isinstance(value, int | datetime.date | datetime.time):
        return str(value)
    raise NotText(_kind(value), path)


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        keys = ", ".join(map(str, value))[:60]
        return f"a group of the fields {keys}" if keys else "an empty group of fields"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
