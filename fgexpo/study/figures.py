"""Figures of a study: differences between arms, learning curves, and training metrics."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from .estimates import Estimate
    from .results import ArmResults, Results

# Tags of the traces, and the titles of their panels.
TRACES = {
    "akl/kl_coef": "KL coefficient, where it changes",
    "kl": "KL a token",
    "entropy": "entropy a token",
    "frac_reward_zero_std": "share of groups without a signal",
    "curriculum/effective_sample_size": "effective sample size",
    "accuracy": "accuracy of all rollouts",
}
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
            curves = [arm.curve(k, run) for run in arm.runs]
            # Runs of an arm that end at different steps are averaged up to the earliest end.
            shortest = min(len(curve) for curve in curves)
            mean = {
                column: np.mean([curve[column][:shortest] for curve in curves], axis=0)
                for column in (*SPENT, "score")
            }
            for axes, spent in zip(panels[row], SPENT, strict=True):
                label = name if axes is panels[0][0] else None
                axes.plot(mean[spent], mean["score"], color=f"C{number}", label=label, marker=".")
        panels[row][0].set_ylabel(f"pass@{k}")
        if k == 1 and target is not None:
            for axes in panels[row]:
                axes.axhline(target, color="grey", linewidth=0.8, linestyle=":")
    for axes, title in zip(panels[-1], SPENT.values(), strict=True):
        axes.set_xlabel(title)
    figure.legend(loc="outside right upper")
    return figure


def tradeoff_figure(results: "Results", point: str, arms: list[str], ks: list[int]) -> Figure:
    """Pass@1 against the pass@k of the largest k during training; the last point is large."""
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.add_subplot()
    for number, name in enumerate(arms):
        arm = results.arm(point, name)
        low, high = (_mean_curve(arm, k) for k in (min(ks), max(ks)))
        axes.plot(low, high, color=f"C{number}", label=name, marker=".")
        axes.plot(low[-1], high[-1], "o", color=f"C{number}", markersize=8)
    axes.set_xlabel(f"pass@{min(ks)}")
    axes.set_ylabel(f"pass@{max(ks)}")
    figure.legend(loc="outside right upper")
    return figure


def traces_figure(results: "Results", point: str, arms: list[str]) -> Figure:
    """Means over runs of logged metrics, against rollouts."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    panels = figure.subplots(2, 3).flat
    for axes, (tag, title) in zip(panels, TRACES.items(), strict=True):
        for number, name in enumerate(arms):
            trace = results.arm(point, name).trace(tag)
            if trace.empty:
                continue
            # Only steps that all runs reached: runs with refills end at different steps.
            trace = trace[trace["runs"] == trace["runs"].max()]
            smooth = trace["mean"].rolling(5, min_periods=1, center=True).mean()
            axes.plot(trace["rollouts"], smooth, color=f"C{number}")
        axes.set_title(title, fontsize="medium")
    for number, name in enumerate(arms):
        figure.axes[0].plot([], [], color=f"C{number}", label=name)
    figure.legend(loc="outside right upper")
    return figure


def _mean_curve(arm: "ArmResults", k: int) -> np.ndarray:
    curves = [arm.curve(k, run)["score"].to_numpy() for run in arm.runs]
    shortest = min(map(len, curves))
    return np.mean([curve[:shortest] for curve in curves], axis=0)
