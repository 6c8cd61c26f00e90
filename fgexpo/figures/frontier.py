"""The curriculum at a glance: the pool's pass-rates, the sampling weights, and how both drift.

Shapes: M questions of the pool, B bins of pass-rates, S steps recorded.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..curriculum.pass_rates import FRONTIER

# Bins of 0.05, so that the frontier's ends are bin edges.
EDGES = np.linspace(0, 1, 21)


def pass_rate_counts(rates: np.ndarray) -> np.ndarray:
    """Questions in each bin of pass-rates, [B]."""
    return np.histogram(rates, EDGES)[0]


def weight_profile(rates_M: np.ndarray, weights_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean pass-rate and mean weight of the non-empty bins, [B'] each.

    Weights are relative to uniform sampling. They are the weights in use, not a rule's formula, so
    this works for any curriculum; with ``refresh: epoch`` they lag behind the pass-rates.
    """
    relative = weights_M / weights_M.mean()
    bins = np.clip(np.digitize(rates_M, EDGES) - 1, 0, len(EDGES) - 2)
    count = np.bincount(bins)
    held = count > 0
    sums = np.bincount(bins, rates_M), np.bincount(bins, relative)
    return sums[0][held] / count[held], sums[1][held] / count[held]


def frontier_figure(
    rates_M: np.ndarray,
    seen_M: np.ndarray,
    weights_M: np.ndarray,
    steps: Sequence[int],
    counts_SB: np.ndarray,
) -> Figure:
    """Pass-rates against the current weights, and the pass-rates' drift so far.

    Args:
        rates_M: pass-rates.
        seen_M: whether each question has been asked.
        weights_M: sampling weights of the next draw.
        steps: rollout steps recorded, increasing, [S].
        counts_SB: :func:`pass_rate_counts` of the questions seen by each step.
    """
    # Upright, since TensorBoard's cards are narrow; with fixed positions, since a layout engine
    # takes longer than the drawing.
    figure = Figure(figsize=(4.6, 6))
    now = figure.add_axes((0.14, 0.55, 0.7, 0.35))
    drift = figure.add_axes((0.14, 0.08, 0.7, 0.35))
    scale = figure.add_axes((0.86, 0.08, 0.02, 0.35))
    draw_frontier(now, rates_M, seen_M, weights_M)
    draw_drift(drift, steps, counts_SB)
    figure.colorbar(drift.collections[0], cax=scale)
    drift.set_title("share of the questions seen", fontsize="small")
    seen = f"{int(seen_M.sum())} of {len(seen_M)} questions seen"
    figure.suptitle(f"step {steps[-1]}: {seen}", fontsize="medium", y=0.985)
    return figure


def draw_frontier(
    axes: Axes, rates_M: np.ndarray, seen_M: np.ndarray, weights_M: np.ndarray
) -> None:
    """Bars of the pass-rates seen, the weights over them, and the frontier's band behind."""
    axes.axvspan(*FRONTIER, color="tab:green", alpha=0.12, linewidth=0, label="frontier")
    counts = pass_rate_counts(rates_M[seen_M])
    axes.stairs(counts, EDGES, fill=True, color="tab:blue", alpha=0.6, label="questions")
    axes.set(xlim=(0, 1), xlabel="pass-rate", ylabel="questions seen")
    right = axes.twinx()
    rates, weights = weight_profile(rates_M, weights_M)
    right.plot(rates, weights, "o-", color="tab:red", markersize=3, label="weight")
    right.set_ylabel("weight, 1 is uniform", color="tab:red")
    right.set_ylim(0, max(1.2, 1.1 * float(weights.max())))
    handles = axes.get_legend_handles_labels()[0] + right.get_legend_handles_labels()[0]
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 3, "frameon": False}
    right.legend(handles=handles, fontsize="small", **above)


def draw_drift(axes: Axes, steps: Sequence[int], counts_SB: np.ndarray) -> None:
    """A heat map of the pass-rates' distribution over steps; each column ends at its step."""
    shares_SB = counts_SB / np.maximum(counts_SB.sum(1, keepdims=True), 1)
    first = steps[1] - steps[0] if len(steps) > 1 else max(1, steps[0])
    ends = [steps[0] - first, *steps]
    axes.pcolormesh(ends, EDGES, shares_SB.T, cmap="viridis", vmin=0)
    for edge in FRONTIER:
        axes.axhline(edge, color="white", linewidth=1, linestyle="--")
    axes.set(xlabel="rollout step", ylabel="pass-rate", ylim=(0, 1))
