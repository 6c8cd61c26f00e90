"""Data sets of reasoning-gym by name and settings, with sentences for what cannot be.

Only worker processes import this: the package takes seconds, and some of its data sets draw from
the process-wide generators of Python and numpy.
"""

import json
import random
from dataclasses import MISSING, fields
from difflib import get_close_matches
from functools import lru_cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import reasoning_gym  # noqa: F401  # pyright: ignore[reportMissingImports]  # fills the table
from reasoning_gym.factory import DATASETS  # pyright: ignore[reportMissingImports]

from ..errors import UserError

# Questions of one seed; some data sets make them all at once.
CHUNK = 500
# Set by the source itself.
_OWN = {"seed": "ReasoningGym.seed", "size": "ReasoningGym.count"}
_COMPOSITE = "composite"


def build(name: str, settings: dict[str, Any], seed: int, size: int) -> Any:
    """A data set.

    Args:
        name: as the package registers it.
        settings: fields of its configuration.
        seed: of its items, below 2^32.
        size: items; only those below are asked for.

    Raises:
        UserError: naming data set and setting of what is not known or has a wrong value.
    """
    if name not in DATASETS or name == _COMPOSITE:
        raise UserError(_unknown(name))
    make, configuration = DATASETS[name]
    _check(name, settings, configuration)
    pin(seed)
    try:
        config = configuration(seed=seed, size=size, **settings)
        if hasattr(config, "validate"):
            config.validate()
        return make(config)
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split()) or "its configuration does not allow that"
        raise UserError(
            f"ReasoningGym {name}: settings {json.dumps(settings)}: {reason}"
        ) from error


def pin(seed: int) -> None:
    """Seed the generators of the process, which some data sets draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)


@lru_cache(maxsize=32)
def chunk(name: str, settings: str, seed: int) -> Any:
    """A data set of ``CHUNK`` questions, which scores answers to them too.

    Args:
        name: see :func:`build`.
        settings: the same, as JSON.
        seed: the same.
    """
    return build(name, json.loads(settings), seed, CHUNK)


def item(name: str, settings: str, seed: int, index: int) -> dict[str, Any]:
    """One question of a :func:`chunk`, whichever was made before: text, answer and metadata."""
    data_set = chunk(name, settings, seed)
    pin(seed + index)
    return data_set[index]


def _unknown(name: str) -> str:
    if name == _COMPOSITE:
        return "ReasoningGym.name: for several data sets name each in a Mixture, not 'composite'"
    near = get_close_matches(str(name), DATASETS, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    some = ", ".join(sorted(DATASETS)) if not near else ""
    return (
        f"ReasoningGym.name: reasoning-gym has no data set {name!r}{hint}"
        f"{f'; it has {some}' if some else ''}"
    )


def _check(name: str, settings: dict[str, Any], configuration: type) -> None:
    known = {field.name: field for field in fields(configuration)}
    hints = get_type_hints(configuration)
    free = sorted(set(known) - set(_OWN))
    for key, value in settings.items():
        if key in _OWN:
            raise UserError(f"ReasoningGym {name}: settings.{key} is set by {_OWN[key]}")
        if key not in known:
            near = get_close_matches(str(key), free, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(free) or 'none'}"
            raise UserError(f"ReasoningGym {name} has no setting {key!r}, given {value!r}; {hint}")
        if not _fits(value, hints[key]):
            default = known[key].default
            shown = "" if default is MISSING else f" such as {default!r}"
            raise UserError(
                f"ReasoningGym {name}: settings.{key} is {value!r}, expected "
                f"{_spoken(hints[key])}{shown}"
            )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML may stand for this type; what is not known here may."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    kind = origin or hint
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (int, str):
        return isinstance(value, kind) and not isinstance(value, bool)
    if kind in (bool, dict, type(None)):
        return isinstance(value, kind)
    if kind in (list, tuple, set):
        return isinstance(value, list | tuple)
    return True


def _spoken(hint: Any) -> str:
    return (
        hint.__name__
        if isinstance(hint, type) and not get_args(hint)
        else str(hint).replace("typing.", "")
    )
