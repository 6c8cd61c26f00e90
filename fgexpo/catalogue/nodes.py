"""A YAML file as nodes that know their lines, read without heavy imports."""

from pathlib import Path
from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEPTH = 100


def plain_document(path: str) -> yaml.Node | None:
    """The file's nodes; None for what its reader refuses, and for a document with anchors."""
    try:
        text = Path(path).read_text("utf-8")
        return yaml.compose(text, Loader=LOADER) if _is_plain(text) else None
    except (yaml.YAMLError, OSError, UnicodeDecodeError):
        return None


def _is_plain(text: str) -> bool:
    """Whether a document is neither so deep that its parser fails nor refers to parts of itself."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH or isinstance(event, yaml.AliasEvent):
            return False
    return True
