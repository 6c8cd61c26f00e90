"""How long a model's sequences may be, from its configuration."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PositionLimit:
    """The longest sequence of a model.

    Attributes:
        tokens: how many; None if the configuration states no limit.
        reason: what sets it.
    """

    tokens: int | None
    reason: str = "the model's limit is"


def position_limit(config: Any) -> PositionLimit:
    """The limit of a model with this configuration.

    Beyond ``original_max_position_embeddings``, longrope (Phi-3.5) turns every position by another
    angle: keys in a cache would be of the wrong kind, and so would short rows beside a long one.

    Args:
        config: of a model, composite or not.
    """
    config = config.get_text_config()
    limit = None
    with suppress(NotImplementedError):  # some raise it to say that there is none
        limit = getattr(config, "max_position_embeddings", None) or getattr(
            config, "max_seq_len", None
        )
    for rope in _ropes(getattr(config, "rope_parameters", None)):
        if rope.get("rope_type") != "longrope":
            continue
        first = rope.get("original_max_position_embeddings") or getattr(
            config, "original_max_position_embeddings", None
        )
        if first and (limit is None or first < limit):
            return PositionLimit(
                first,
                "the model's original_max_position_embeddings, beyond which its longrope depends "
                "on a sequence's length and is not supported, is",
            )
    return PositionLimit(limit)


def _ropes(parameters: Any) -> Iterator[dict[str, Any]]:
    """The one set of parameters, or that of each kind of layer."""
    if isinstance(parameters, dict):
        if "rope_type" in parameters:
            yield parameters
        else:
            yield from (part for part in parameters.values() if isinstance(part, dict))
