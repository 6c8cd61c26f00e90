"""The settings that a schedule may change, where a module keeps them, and their ranges."""

import copy
import math
from collections.abc import Callable
from typing import Any, Literal

from ..errors import UserError
from .curve import Curve

Setting = Literal[
    "kl_coef",
    "loss.clip_low",
    "loss.clip_high",
    "loss.low",
    "loss.high",
    "loss.entropy_coef",
    "sampling.temperature",
]
# What a value must be, in words and as a test; NaN passes none. Clipped has clip_low and clip_high,
# and GSPO low and high, which are of another size.
_INSIDE = ("in (0, 1)", lambda x: 0 < x < 1)
_POSITIVE = ("above 0 and finite", lambda x: x > 0 and math.isfinite(x))
SETTINGS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "kl_coef": ("finite and not negative", lambda x: x >= 0 and math.isfinite(x)),
    "loss.clip_low": _INSIDE,
    "loss.clip_high": _POSITIVE,
    "loss.low": _INSIDE,
    "loss.high": _POSITIVE,
    "loss.entropy_coef": ("finite", math.isfinite),
    "sampling.temperature": _POSITIVE,
}


def get(module: Any, setting: str) -> float:
    """A module's value of a setting.

    Raises:
        UserError: naming the class that has no such number.
    """
    *path, name = setting.split(".")
    holder = getattr(module, path[0], None) if path else module
    value = getattr(holder, name, None)
    if not isinstance(value, int | float):
        owner = f"model.{path[0]} {type(holder).__name__}" if path else type(module).__name__
        raise UserError(
            f"Schedule.setting: {setting} cannot be scheduled, since {owner} has no number {name}"
        )
    return float(value)


def put(module: Any, setting: str, value: float) -> None:
    """Set a setting of one module, and of no other that shares the object which holds it."""
    *path, name = setting.split(".")
    if not path:
        setattr(module, name, value)
        return
    # Default objects, such as the loss of GRPOModule, are those of all modules.
    changed = copy.copy(getattr(module, path[0]))
    setattr(changed, name, value)
    setattr(module, path[0], changed)


def check_schedule(setting: str, curve: Curve) -> None:
    """Check that a curve stays in its setting's range.

    Raises:
        UserError: naming the setting and the value, or the settings that there are.
    """
    if setting not in SETTINGS:
        raise UserError(f"Schedule.setting must be one of {', '.join(SETTINGS)}, got {setting!r}")
    for value in curve.bounds():
        check_value(setting, value, curve)


def check_value(setting: str, value: float, curve: Curve) -> None:
    """Check one value of a curve.

    Raises:
        UserError: naming the setting, the value and the curve.
    """
    words, allowed = SETTINGS[setting]
    if not allowed(value):
        raise UserError(
            f"Schedule.curve: {setting} must be {words}, but {type(curve).__name__} has {value:g}"
        )
