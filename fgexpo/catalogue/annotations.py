"""Whether a written value can be of an annotated type, told from the annotation's source alone.

Only what is certain is refused: a part of an annotation that is not understood takes everything.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache

import yaml

WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
LISTS = ("list", "tuple", "Sequence", "Iterable")
_INT = re.compile(r"[-+]?\d[\d_]*")
_FLOAT = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)")
_NOT_A_NUMBER = re.compile(r"[-+]?\.?nan", re.IGNORECASE)


@cache
def alternatives(annotation: str) -> tuple[str, ...]:
    """The types of a union, in the order of the source; ``None`` comes last."""
    try:
        node = ast.parse(annotation, mode="eval").body
    except SyntaxError:
        return (annotation,)
    found = [ast.unparse(each) for each in _flat(node)]
    return tuple(sorted(dict.fromkeys(found), key=lambda each: each == "None"))


def inside(alternative: str, outer: Sequence[str] = LISTS) -> str | None:
    """The type of a list's items (of a mapping's values); None for what is neither."""
    node = ast.parse(alternative, mode="eval").body
    if not isinstance(node, ast.Subscript) or ast.unparse(node.value) not in outer:
        return None
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    kept = [ast.unparse(part) for part in parts if ast.unparse(part) != "..."]
    return kept[-1] if outer != LISTS or len(set(kept)) == 1 else "Any"


def choices(alternative: str) -> list[str]:
    """The values of a ``Literal``, as text; nothing for other types."""
    node = ast.parse(alternative, mode="eval").body
    if not isinstance(node, ast.Subscript) or ast.unparse(node.value) != "Literal":
        return []
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return [str(part.value) for part in parts if isinstance(part, ast.Constant)]


def takes(annotation: str, node: yaml.Node, strict: bool = True) -> bool:
    """Whether a value can be of this type; True if that is not certain.

    Args:
        annotation: as the source has it.
        node: the value, as written.
        strict: a number is no text, as in a file; on a command line everything is text.
    """
    return any(_takes(each, node, strict) for each in alternatives(annotation))


def wanted(annotation: str) -> str:
    """The types in plain words, such as ``a whole number or null``."""
    words: list[str] = []
    for each in alternatives(annotation):
        if each == "Tensor":
            continue
        item, value = inside(each), inside(each, ("dict", "Mapping"))
        if each in WORDS:
            words.append(WORDS[each])
        elif each == "None":
            words.append("null")
        elif item is not None:
            words.append(f"a list of {_many(item)}")
        elif value is not None:
            words.append(f"a mapping of names to {_many(value)}")
        else:
            words += map(repr, choices(each)) or [f"a {each}"]
    words = list(dict.fromkeys(words))
    if {"a whole number", "a number"} <= set(words):
        words.remove("a whole number")
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def is_nan(node: yaml.Node) -> bool:
    """Whether a value is written as not a number."""
    return isinstance(node, yaml.ScalarNode) and bool(_NOT_A_NUMBER.fullmatch(node.value))


def kind(node: yaml.Node) -> str:
    """What a value is, such as ``int``, ``str``, ``null``, ``map`` or ``seq``."""
    return node.tag.rpartition(":")[2]


def _flat(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _flat(node.left)
        yield from _flat(node.right)
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("Optional", "Union"):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for part in parts:
            yield from _flat(part)
        if ast.unparse(node.value) == "Optional":
            yield ast.Constant(None)
    else:
        yield node


def _takes(each: str, node: yaml.Node, strict: bool) -> bool:
    given, text = kind(node), node.value if isinstance(node, yaml.ScalarNode) else ""
    if each == "None":
        return given == "null"
    if each == "str":
        return given == "str" or not strict
    if each == "bool":
        return given == "bool" or (given == "str" and text.lower() in ("true", "false"))
    if each == "int":
        return given == "int" or (given == "str" and bool(_INT.fullmatch(text)))
    if each == "float":
        return given in ("int", "float") or (given == "str" and bool(_FLOAT.fullmatch(text)))
    if each == "Tensor":  # of an optimizer, whose settings are numbers here
        return False
    item, value = inside(each), inside(each, ("dict", "Mapping"))
    if item is not None:
        own = isinstance(node, yaml.SequenceNode)
        return own and all(takes(item, part, strict) for part in node.value)
    if value is not None:
        own = isinstance(node, yaml.MappingNode)
        return own and all(takes(value, part, strict) for _, part in node.value)
    if choices(each):
        return isinstance(node, yaml.ScalarNode) and text in choices(each)
    return True


def _many(item: str) -> str:
    plural = {"int": "whole numbers", "float": "numbers", "str": "texts", "bool": "true or false"}
    named = ", ".join(map(repr, choices(item))) if len(alternatives(item)) == 1 else ""
    return plural.get(item) or (named and f"any of {named}") or item
