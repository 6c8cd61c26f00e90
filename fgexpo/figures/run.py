"""One run's curves as figures: tags in, a Figure out. A plot names the tags that were not logged.

Shapes: S steps, B bins of pass-rates.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.bootstrap import mean_with_interval
from ..metrics import pass_at_k as pass_at_k_of
from .events import Curve, Histogram, quantiles, rebin
from .frontier import EDGES, draw_drift
from .ranges import widen_y

BETA, ACCURACY = "akl/kl_coef", "accuracy"
KL, ENTROPY = "kl", "entropy"
LENGTHS = ("completions/mean_length", "completions/min_length", "completions/max_length")
CUT_OFF = "completions/clipped_ratio"
SAMPLE_SIZE = "curriculum/effective_sample_size"
RATES, WEIGHTS = "curriculum/pass_rates_seen", "curriculum/weights"
PASS_AT_K = re.compile(r"val/([^/]+)/pass@(\d+)")
SHARES = (ACCURACY, CUT_OFF)
FEW = 30
ONE_SEED = "one run, one seed: no interval"

Tags = Mapping[str, Curve]
# Steps, and the lower and upper end of an interval at each, [S].
Band = tuple[np.ndarray, np.ndarray, np.ndarray]
Histograms = Mapping[str, Sequence[Histogram]]


def missing(tags: Tags, histograms: Histograms) -> list[str]:
    """The tags that this file's figures need and the log lacks."""
    wanted = (BETA, ACCURACY, KL, ENTROPY, *LENGTHS, CUT_OFF, SAMPLE_SIZE)
    absent = [tag for tag in wanted if tag not in tags]
    absent += [tag for tag in (RATES, WEIGHTS) if not histograms.get(tag)]
    if not any(PASS_AT_K.fullmatch(tag) for tag in tags):
        absent.append("val/<benchmark>/pass@k")
    return absent


def beta_and_accuracy(tags: Tags) -> Figure:
    """The KL coefficient, above the accuracy of the batches that set it."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    draw_curves(above, tags, {"beta": BETA})
    draw_curves(below, tags, {"batch accuracy": ACCURACY}, first_colour=1)
    below.set_xlabel("rollout step")
    figure.suptitle(f"beta follows the accuracy of the same batch ({ONE_SEED})", fontsize="medium")
    return figure


def pass_rate_drift(histograms: Histograms) -> Figure:
    """The pass-rates of the questions seen, as a heat map over steps."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    found = histograms.get(RATES)
    if not found:
        say_missing(axes, RATES)
        return figure
    counts_SB = np.stack([rebin(histogram, EDGES) for histogram in found])
    draw_drift(axes, [histogram.step for histogram in found], counts_SB)
    figure.colorbar(axes.collections[0], ax=axes, label="share of the questions seen")
    return figure


def weights(tags: Tags, histograms: Histograms) -> Figure:
    """Spread of the sampling weights, and their effective sample size."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    found = histograms.get(WEIGHTS)
    if found:
        steps = [histogram.step for histogram in found]
        low, median, high = np.stack([quantiles(h, (0.05, 0.5, 0.95)) for h in found]).T
        left.fill_between(steps, low, high, alpha=0.3, label="5 to 95 % of the questions")
        left.plot(steps, median, "o-", markersize=3, label="median")
        left.legend(fontsize="small")
        left.set(xlabel="rollout step", ylabel="weight", ylim=(0, None))
    else:
        say_missing(left, WEIGHTS)
    if SAMPLE_SIZE in tags:
        # Not smoothed: it jumps whenever the weights are refreshed.
        right.plot(*tags[SAMPLE_SIZE], color="C2")
        right.set(xlabel="rollout step", ylabel="effective sample size")
        right.ticklabel_format(useOffset=False)
        widen_y(right, is_share=False)
    else:
        say_missing(right, SAMPLE_SIZE)
    return figure


def kl_and_entropy(tags: Tags) -> Figure:
    """How far the policy has moved from the reference, and how much it still explores."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_curves(left, tags, {"KL to the reference": KL})
    draw_curves(right, tags, {"entropy": ENTROPY}, first_colour=1)
    for axes in (left, right):
        axes.set(xlabel="rollout step", ylabel="nats per token")
    figure.suptitle(ONE_SEED, fontsize="small", color="dimgrey")
    return figure


def lengths(tags: Tags) -> Figure:
    """Mean, shortest and longest completion, and the share that the token limit cut off."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    if all(tag in tags for tag in LENGTHS):
        (steps, mean), (_, low), (_, high) = (tags[tag] for tag in LENGTHS)
        left.fill_between(steps, low, high, alpha=0.2, label="shortest to longest")
        left.plot(steps, mean, label="mean")
        left.legend(fontsize="small")
        left.set(xlabel="rollout step", ylabel="tokens per completion", ylim=(0, None))
    else:
        say_missing(left, *[tag for tag in LENGTHS if tag not in tags])
    draw_curves(right, tags, {"share cut off by the limit": CUT_OFF}, first_colour=1)
    right.set(xlabel="rollout step", ylim=(-0.02, 1))
    return figure


def pass_at_k(tags: Tags, scores: Sequence[Mapping[str, Any]] = ()) -> Figure:
    """Pass@k on the questions that are not trained on, one plot per benchmark.

    Args:
        tags: a run's curves.
        scores: its validations question by question, as ``--scores=ValidationScores`` writes them;
            from these come the bands, 95 % over questions. Another seed may differ by more.
    """
    found: dict[str, dict[int, Curve]] = {}
    for tag, curve in tags.items():
        if match := PASS_AT_K.fullmatch(tag):
            found.setdefault(match[1], {})[int(match[2])] = curve
    figure = Figure(figsize=(max(5, 4.2 * len(found)), 3.4), layout="constrained")
    plots = figure.subplots(1, max(1, len(found)), squeeze=False)[0]
    if not found:
        say_missing(plots[0], "val/<benchmark>/pass@k")
    for axes, (name, by_k) in zip(plots, sorted(found.items()), strict=False):
        known = [row for row in scores if name in row["correct"]]
        for k in sorted(by_k):
            (line,) = axes.plot(*by_k[k], "o-", markersize=3, label=f"pass@{k}")
            if known:
                steps, low, high = question_band(known, name, k)
                axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.set(title=name, xlabel="rollout step", ylim=(0, 1))
        axes.legend(fontsize="small")
    note = "one run, one seed; bands: 95 % over its questions" if scores else ONE_SEED
    figure.suptitle(note, fontsize="small", color="dimgrey")
    return figure


def question_band(scores: Sequence[Mapping[str, Any]], benchmark: str, k: int) -> Band:
    """Steps, and the ends of the 95 % interval over questions of a benchmark's pass@k, [S] each.

    Args:
        scores: a run's validations, each with step, n, and right samples by question.
        benchmark: one that all of them have.
        k: at most n.
    """
    ends = [
        mean_with_interval(
            [
                np.array(
                    [[pass_at_k_of(row["n"], c, k)] for c in row["correct"][benchmark].values()]
                )
            ],
            seed=0,
        )[1:]
        for row in scores
    ]
    low, high = np.array(ends)[:, :, 0].T
    return np.array([row["step"] for row in scores]), low, high


def draw_curves(axes: Axes, tags: Tags, wanted: Mapping[str, str], first_colour: int = 0) -> None:
    """Draw labelled tags: every step faintly, and the running mean."""
    for i, (name, tag) in enumerate(wanted.items()):
        if tag not in tags:
            say_missing(axes, tag)
            continue
        steps, values = tags[tag]
        colour = f"C{first_colour + i}"
        if len(values) < FEW:
            axes.plot(steps, values, color=colour)
        else:
            axes.plot(steps, values, color=colour, alpha=0.3, linewidth=1)
            axes.plot(steps, running_mean(values, len(values) // 10), color=colour)
        axes.set_title(name, fontsize="medium")
        widen_y(axes, is_share=tag in SHARES)


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean of up to ``width`` values on either side and the value itself, [S]."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    first, end = np.maximum(at - width, 0), np.minimum(at + width + 1, len(values))
    return (sums[end] - sums[first]) / (end - first)


def say_missing(axes: Axes, *tags: str) -> None:
    """Name the missing tags in an empty plot."""
    text = "not in this log:\n" + "\n".join(tags)
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])
