"""Curves of a scheduled setting, as functions of the rollout step or of accuracy.

A new curve is one small class here or in a plug-in: subclass :class:`Curve`.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from itertools import pairwise

from ..errors import UserError


class Curve(ABC):
    """A number as a function of x, which is a rollout step from 0 on, or an accuracy in [0, 1]."""

    @abstractmethod
    def __call__(self, x: float) -> float:
        """The value at x."""

    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value, so that a range is checked before training."""


class LinearCurve(Curve):
    """A straight line from one value to another, and constant before and after.

    Args:
        start: value up to ``since``.
        end: value from ``until`` on.
        until: where the line ends: a rollout step, or an accuracy.
        since: where it starts.

    Raises:
        UserError: for values that are not finite, or ``until`` not after ``since``.
    """

    def __init__(self, start: float, end: float, until: float, since: float = 0.0) -> None:
        name = type(self).__name__
        _check_finite(f"{name}.start", start)
        _check_finite(f"{name}.end", end)
        if not (since < until and math.isfinite(until - since)):
            raise UserError(
                f"{name}.until must be above since and finite, got until = {until} and since = "
                f"{since}"
            )
        self.start = start
        self.end = end
        self.until = until
        self.since = since

    def __call__(self, x: float) -> float:
        """The line at x."""
        if x >= self.until:
            return self.end  # which rounding might miss
        share = max((x - self.since) / (self.until - self.since), 0.0)
        return self.start + self._shaped(share) * (self.end - self.start)

    def bounds(self) -> tuple[float, float]:
        """Its two ends."""
        return min(self.start, self.end), max(self.start, self.end)

    def _shaped(self, share: float) -> float:
        """How much of the way is gone after a share of the time, in [0, 1)."""
        return share


class CosineCurve(LinearCurve):
    """Half a cosine wave from one value to another: slow, fast, slow; see :class:`LinearCurve`."""

    def _shaped(self, share: float) -> float:
        return (1 - math.cos(math.pi * share)) / 2


class PiecewiseCurve(Curve):
    """Straight lines through given points, and constant before the first and after the last.

    Args:
        points: pairs of x and value, such as ``[[0, 1.0], [50, 1.0], [100, 0.8]]``; x must rise.

    Raises:
        UserError: for no point, for numbers that are not finite, or x that does not rise.
    """

    def __init__(self, points: list[tuple[float, float]]) -> None:
        if not points:
            raise UserError("PiecewiseCurve.points must name at least one point, [x, value]")
        for x, value in points:
            _check_finite("PiecewiseCurve.points", x)
            _check_finite("PiecewiseCurve.points", value)
        for (x, _), (later, _) in pairwise(points):
            if later <= x:
                raise UserError(
                    f"PiecewiseCurve.points must have x that rises, but {later} follows {x}"
                )
        self.points = [(float(x), float(value)) for x, value in points]

    def __call__(self, x: float) -> float:
        """The line between the two points around x."""
        place = bisect_right([at for at, _ in self.points], x)
        if place in (0, len(self.points)):
            return self.points[max(place - 1, 0)][1]
        (since, start), (until, end) = self.points[place - 1 : place + 1]
        return LinearCurve(start, end, until, since)(x)

    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest of the points."""
        values = [value for _, value in self.points]
        return min(values), max(values)


def _check_finite(setting: str, value: float) -> None:
    if not math.isfinite(value):
        raise UserError(f"{setting} must be finite, got {value}")
