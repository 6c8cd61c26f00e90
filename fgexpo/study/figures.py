"""Figures of a study: differences between arms, learning curves, and training metrics."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..figures.ranges import SHARE, widen_x, widen_y
from .estimates import over_runs

if TYPE_CHECKING:
    from .estimates import Estimate
    from .results import Results

# Tags of the traces, and the titles of their panels.
TRACES = {
    "akl/kl_coef": "KL coefficient, where it changes",
    "kl": "KL a token",
    "entropy": "entropy a token",
    "frac_reward_zero_std": "share of groups without a signal",
    "curriculum/effective_sample_size": "effective sample size",
    "accuracy": "accuracy of all rollouts",
}
SHARES = ("frac_reward_zero_std", "accuracy")
FAINT: dict[str, Any] = {"alpha": 0.3, "linewidth": 0.8}
STRONG: dict[str, Any] = {"alpha": 1.0, "linewidth": 1.6}
SPENT = {"rollouts": "rollouts", "updates": "optimizer updates", "seconds": "seconds of training"}


def differences_figure(
    found: "dict[tuple[str, str], dict[int, Estimate]]", ks: list[int]
) -> Figure:
    """One row per comparison: pass@k of an arm minus its control's, with intervals."""
    figure = Figure(figsize=(2.5 + 2.7 * len(ks), 1.2 + 0.32 * len(found)), layout="constrained")
    places = np.arange(len(found))
    for column, k in enumerate(ks, start=1):
        axes = figure.add_subplot(1, len(ks), column)
        for place, by_k in zip(places, found.values(), strict=True):
            e = by_k[k]
            colour = "tab:green" if e.low > 0 else "tab:red" if e.high < 0 else "grey"
            axes.plot([e.low, e.high], [place, place], color=colour, linewidth=2)
            axes.plot([e.mean], [place], "o", color=colour)
        axes.axvline(0, color="black", linewidth=0.8)
        widen_x(axes, SHARE / 2)
        axes.set_title(f"pass@{k}")
        labels = [f"{arm} - {control}" for arm, control in found] if column == 1 else []
        axes.set_yticks(places if labels else [], labels)
        axes.set_ylim(len(found) - 0.5, -0.5)
    return figure


def curves_figure(
    results: "Results", point: str, arms: list[str], ks: list[int], target: float | None
) -> Figure:
    """Mean score of each arm against its cost: one row per k, one column per kind of cost."""
    figure = Figure(figsize=(11, 2.6 * len(ks)), layout="constrained")
    panels = figure.subplots(len(ks), len(SPENT), sharey="row", squeeze=False)
    for row, k in enumerate(ks):
        for number, name in enumerate(arms):
            arm = results.arm(point, name)
            curves = arm.curves(k)
            for axes, spent in zip(panels[row], SPENT, strict=True):
                style = {"marker": ".", "label": name if axes is panels[0][0] else None}
                _draw(
                    axes, curves[spent].mean(0), curves["score"], arm.bases, f"C{number}", **style
                )
        panels[row][0].set_ylabel(f"pass@{k}")
        if k == 1 and target is not None:
            for axes in panels[row]:
                axes.axhline(target, color="grey", linewidth=0.8, linestyle=":")
        widen_y(panels[row][0], is_share=True)
    for axes, title in zip(panels[-1], SPENT.values(), strict=True):
        axes.set_xlabel(title)
    _explain(figure, results, point, arms)
    return figure


def tradeoff_figure(results: "Results", point: str, arms: list[str], ks: list[int]) -> Figure:
    """Pass@1 against the pass@k of the largest k during training; the last point is large."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for number, name in enumerate(arms):
        arm, colour = results.arm(point, name), f"C{number}"
        (x, *x_ends), (y, *y_ends) = (
            over_runs(arm.curves(k)["score"], arm.bases) for k in (min(ks), max(ks))
        )
        axes.plot(x, y, color=colour, marker=".", label=name)
        for at, style in ((slice(None, -1), FAINT), (slice(-1, None), STRONG)):
            axes.hlines(y[at], x_ends[0][at], x_ends[1][at], color=colour, **style)
            axes.vlines(x[at], y_ends[0][at], y_ends[1][at], color=colour, **style)
        axes.plot(x[-1], y[-1], "o", color=colour, markersize=8)
    axes.set_xlabel(f"pass@{min(ks)}")
    axes.set_ylabel(f"pass@{max(ks)}")
    widen_x(axes, SHARE)
    widen_y(axes, is_share=True)
    _explain(figure, results, point, arms)
    return figure


def traces_figure(results: "Results", point: str, arms: list[str]) -> Figure:
    """Means over runs of logged metrics, against rollouts."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    panels = figure.subplots(2, 3).flat
    for axes, (tag, title) in zip(panels, TRACES.items(), strict=True):
        for number, name in enumerate(arms):
            runs = results.arm(point, name).traces(tag)
            if runs.empty:
                continue
            smooth = runs.rolling(5, min_periods=1, center=True).mean()
            bases = [base for base, _ in runs.columns]
            rollouts, values_RX = runs.index.to_numpy(), smooth.to_numpy().T
            _draw(axes, rollouts, values_RX, bases, color=f"C{number}")
        axes.set_title(title, fontsize="medium")
        widen_y(axes, is_share=tag in SHARES)
    for number, name in enumerate(arms):  # the first panel lacks arms
        figure.axes[0].plot([], [], color=f"C{number}", label=name)
    _explain(figure, results, point, arms)
    return figure


def _draw(
    axes: Axes, x: np.ndarray, values_RX: np.ndarray, bases: list[int], color: str, **style: Any
) -> None:
    """A line of means over runs, and its 95 % band where there are enough runs for one."""
    mean, low, high = over_runs(values_RX, bases)
    axes.plot(x, mean, color=color, **style)
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)


def _explain(figure: Figure, results: "Results", point: str, arms: list[str]) -> None:
    """The legend, and what the bands are."""
    figure.legend(loc="outside right upper")
    few = min((results.arm(point, name) for name in arms), key=lambda arm: len(arm.runs))
    runs, bases = len(few.runs), len(set(few.bases))
    note = f"mean of {runs} runs, with 95 % intervals over their seeds"
    if runs == bases:
        note = f"{runs} run{'s' * (runs > 1)}, one seed a base: no intervals"
    figure.suptitle(note, fontsize="small", color="dimgrey")
