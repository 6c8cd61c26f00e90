"""Settings by their dotted names, however a study writes them."""

from collections.abc import Iterator, Mapping
from typing import Any


def dotted(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting by its full name without ``init_args``, with those inside its value.

    ``model.init_args.name: x``, ``model: {name: x}`` and ``model.name: x`` are all ``model.name``.
    """
    for key, value in settings.items():
        parts = [part for part in f"{above}{key}".split(".") if part != "init_args"]
        name = ".".join(parts)
        if not isinstance(value, Mapping):
            yield name, value
        else:
            yield from dotted(value, f"{name}." if name else "")
