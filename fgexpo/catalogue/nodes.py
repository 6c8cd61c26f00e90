"""Configurations as nodes that know their lines, read by YAML's C parser alone."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

# Levels of a document, and references to parts of itself.
DEPTH = 100
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING, _FLOAT, _MAP = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "float", "map"))


class Loader(_BASE):
    """Tells numbers from text as the command line's parser does: 1e-4 is one, a date is not."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if not tag.endswith((":timestamp", ":float"))]
    for first, rules in _BASE.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"[-+]?\d[\d_]*\.[\d_]*([eE][-+]?\d+)?$|[-+]?\d[\d_]*[eE][-+]?\d+$|\.\d[\d_]*([eE][-+]\d+)?$"
        r"|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def read_nodes(path: str) -> yaml.Node | None:
    """A file's document; None for one that cannot be read, or that refers to parts of itself."""
    try:
        return compose(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def compose(text: str) -> yaml.Node | None:
    """A YAML text as nodes; None for one that is none, too deep, or refers to parts of itself."""
    try:
        return yaml.compose(text, Loader=Loader) if _is_plain(text) else None
    except yaml.YAMLError:
        return None


def written(value: str | None) -> yaml.Node | None:
    """The value of a flag as a node; None for a flag without a value."""
    if value is None:
        return None
    node = compose(value)
    quoted = isinstance(node, yaml.ScalarNode) and node.style in ("'", '"', "|", ">")
    return yaml.ScalarNode(_STRING, value) if node is None or quoted else node


def nest(node: yaml.Node | None, keys: Sequence[str]) -> yaml.Node | None:
    """A node below these keys, outermost first."""
    for key in reversed(keys):
        node = yaml.MappingNode(_MAP, [(yaml.ScalarNode(_STRING, key), node)])
    return node


def items(node: yaml.Node | None) -> list[tuple[str, int | None, yaml.Node]]:
    """Keys, their lines, and their values; nothing for what is no mapping."""
    if not isinstance(node, yaml.MappingNode):
        return []
    return [
        (key.value, line_of(key), value)
        for key, value in node.value
        if isinstance(key, yaml.ScalarNode)
    ]


def line_of(node: yaml.Node) -> int | None:
    """From 1 on; None for what no file has."""
    return None if node.start_mark is None else node.start_mark.line + 1


def text_of(node: yaml.Node) -> str:
    """A value as a sentence shows it."""
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(map(text_of, node.value))}]"
    if isinstance(node, yaml.MappingNode):
        return f"{{{', '.join(f'{name}: {text_of(value)}' for name, _, value in items(node))}}}"
    return node.value or ("null" if node.tag.endswith(":null") else "")


def find_line(path: str, setting: str) -> int | None:
    """The line of a dotted setting in a configuration, whose classes may be written in full."""
    node, line = read_nodes(path), None
    parts = re.sub(r"\[(\d+)\]", r".\1", setting).split(".")
    for part in parts:
        if isinstance(node, yaml.SequenceNode) and part.isdigit():
            if int(part) >= len(node.value):
                return None
            node = node.value[int(part)]
            line = line_of(node)
            continue
        found = {name: (at, value) for name, at, value in items(node)}
        if part not in found:
            found = {
                name: (at, value) for name, at, value in items(found.get("init_args", (0, None))[1])
            }
        if part not in found:
            return None
        line, node = found[part]
    return line


def _is_plain(text: str) -> bool:
    """Whether a document is neither so deep that its parser fails nor refers to parts of itself."""
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH or isinstance(event, yaml.AliasEvent):
            return False
    return True
