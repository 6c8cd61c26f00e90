"""Which split a question of reasoning-gym belongs to: a matter of its text alone."""

from typing import Literal

from ..seeding import hash_seed

GymSplit = Literal["pool", "validation", "held_out"]
Part = Literal["pool", "validation", "held_out", "examples"]

# Twentieths of all texts. The last are shown as solved examples, so no split asks them.
_SHARES: dict[Part, int] = {"pool": 12, "validation": 2, "held_out": 4, "examples": 2}
_PARTS: list[Part] = [part for part, share in _SHARES.items() for _ in range(share)]


def part_of(text: str) -> Part:
    """The one part that a question of this text belongs to, for any seed, settings and data set."""
    return _PARTS[hash_seed("reasoning_gym", text) % len(_PARTS)]


def share_of(part: Part) -> float:
    """The share of all texts that belong to it."""
    return _SHARES[part] / len(_PARTS)
