"""Base against final: what a run prints of its validation scores when it ends."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from fgexpo.evaluation.change import ByQuestion, by_question

from .evaluation_clock import loaders_of


def questions_of(trainer: Any, pl_module: Any) -> dict[str, ByQuestion]:
    """The scores of each evaluation set's questions, if the module keeps them."""
    evaluator = getattr(pl_module, "evaluator", None)
    if evaluator is None:
        return {}
    return {
        loader.dataset.name: by_question(
            evaluator.settings, loader.dataset.questions, evaluator.samples[loader.dataset.name]
        )
        for loader in loaders_of(trainer)
        if loader.dataset.name in evaluator.samples
    }


def comparison(
    base: Mapping[str, float],
    final: Mapping[str, float],
    step: int,
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> Table:
    """A table of every validation score: base, final, difference.

    Args:
        base: scores by tag before training.
        final: the same at the end.
        step: of the end.
        intervals: 95 % intervals of the difference over questions, where they are known.
    """
    intervals = intervals or {}
    table = Table(title=f"base against step {step}")
    last = Text("change [95 % interval]" if intervals else "change")
    for column in ("score", "base", "final", last):
        table.add_column(column, justify="left" if column == "score" else "right")
    for tag in sorted(final, key=lambda tag: (tag.count("/"), tag.split("@")[0], len(tag), tag)):
        if tag in base:
            change = f"{final[tag] - base[tag]:+.3f}"
            if tag in intervals:
                low, high = intervals[tag]
                change += f" [{low:+.3f}, {high:+.3f}]"
            table.add_row(Text(tag), f"{base[tag]:.3f}", f"{final[tag]:.3f}", Text(change))
    return table
