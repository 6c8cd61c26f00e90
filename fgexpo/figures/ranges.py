"""Axes as wide as an effect, so that noise does not fill a picture."""

from matplotlib.axes import Axes

# Of scores and other shares, and of any other number relative to its size.
SHARE, RELATIVE = 0.1, 0.1


def wide_enough(low: float, high: float, least: float) -> tuple[float, float]:
    """A range around the given one that spans at least ``least``; one above 0 stays above 0."""
    missing = least - (high - low)
    if missing <= 0:
        return low, high
    below = missing / 2 if low < 0 else min(missing / 2, low)
    return low - below, high + missing - below


def widen_y(axes: Axes, is_share: bool) -> None:
    """Let the vertical axis span at least 0.1 for a share, and 10 % of its largest number else."""
    low, high = axes.get_ylim()
    least = SHARE if is_share else RELATIVE * max(abs(low), abs(high))
    axes.set_ylim(*wide_enough(low, high, least))


def widen_x(axes: Axes, least: float) -> None:
    """Let the horizontal axis span at least ``least``."""
    axes.set_xlim(*wide_enough(*axes.get_xlim(), least))
