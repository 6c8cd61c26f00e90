"""The results of an evaluation: scores with intervals, as JSON and as a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from ..metrics import question_scores
from ..questions import Question
from ..seeding import hash_seed
from .bootstrap import mean_with_interval
from .settings import EvaluationSettings

Scores = dict[str, dict[str, float]]
MEAN = "mean"


def benchmark_results(
    settings: EvaluationSettings,
    name: str,
    questions: Sequence[Question],
    samples: Mapping[int, Tensor],
    dropped: int,
) -> dict[str, Any]:
    """All results of one benchmark.

    Args:
        settings: the values of k.
        name: the benchmark's name; the bootstrap's draws depend on it.
        questions: the dataset.
        samples: by row, [5, n] each.
        dropped: questions too long to be asked.

    Returns:
        ``questions``, ``dropped``, ``scores`` (mean, low, high of each), ``breakdown`` (the same by
        the value of a tag) and ``per_question``.
    """
    per_question = {
        questions[row].id: question_scores(found, settings.ks, settings.maj_ks)
        for row, found in samples.items()
    }
    return {
        "questions": len(per_question),
        "dropped": dropped,
        "scores": summarise([per_question], name),
        "breakdown": _breakdown(settings.break_down_by, questions, per_question),
        "per_question": per_question,
    }


def _breakdown(
    tags: Sequence[str],
    questions: Sequence[Question],
    per_question: Mapping[str, Mapping[str, float]],
) -> dict[str, Scores]:
    groups: dict[str, dict[str, Mapping[str, float]]] = {}
    for question in questions:
        for tag in tags:
            if tag in question.tags and question.id in per_question:
                name = f"{tag}_{question.tags[tag]}"
                groups.setdefault(name, {})[question.id] = per_question[question.id]
    return {name: summarise([group], name) for name, group in sorted(groups.items())}


def summarise(groups: Sequence[Mapping[str, Mapping[str, float]]], name: str) -> Scores:
    """Mean and 95 % interval of every score; benchmarks count equally, whatever their size.

    Args:
        groups: scores by question, one mapping per benchmark.
        name: the bootstrap's draws depend on it.
    """
    tags = list(next(iter(groups[0].values())))
    arrays = [
        np.array([[scores[tag] for tag in tags] for scores in group.values()]) for group in groups
    ]
    columns = zip(*mean_with_interval(arrays, hash_seed("bootstrap", name)), strict=True)
    return {
        tag: {"mean": float(mean), "low": float(low), "high": float(high)}
        for tag, (mean, low, high) in zip(tags, columns, strict=True)
    }


def overall(benchmarks: Mapping[str, Mapping[str, Any]]) -> Scores | None:
    """Scores averaged over benchmarks; None for a single benchmark."""
    if len(benchmarks) < 2:
        return None
    return summarise([found["per_question"] for found in benchmarks.values()], MEAN)


def label(results: Mapping[str, Any]) -> str:
    """The model, and the rollout step of its checkpoint if it had one."""
    name = Path(results["model"].rstrip("/")).name
    return f"{name} (step {results['rollout_step']})" if results.get("checkpoint") else name


def results_table(results: Mapping[str, Any]) -> Table:
    """One column per benchmark, one row per score; an interval under each pass@k and maj@k."""
    benchmarks = results["benchmarks"]
    columns = {name: found["scores"] for name, found in benchmarks.items()}
    if results[MEAN] is not None:
        columns[MEAN] = results[MEAN]
    # Names are the user's: brackets in them are no markup.
    table = Table(title=f"{escape(label(results))}\nmeans, [95 % intervals over questions]")
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(escape(name), justify="right", no_wrap=True)
    asked = [_asked(found) for found in benchmarks.values()]
    table.add_row("questions", *asked)
    each = results.get("identity", {}).get("rollouts")
    if each is not None:
        counts = [found["questions"] * each for found in benchmarks.values()]
        table.add_row("rollouts", *[f"{count:,}" for count in counts])
    for tag in next(iter(columns.values())):
        name = "pass@1 (accuracy)" if tag == "pass@1" else tag
        table.add_row(escape(name), *[_cell(tag, scores[tag]) for scores in columns.values()])
    if any(found["dropped"] for found in benchmarks.values()):
        table.caption = "(-N): N more questions are too long to be asked, model.max_prompt_tokens"
    return table


def _asked(found: Mapping[str, Any]) -> str:
    return f"{found['questions']}" + (f" (-{found['dropped']})" if found["dropped"] else "")


def _cell(tag: str, score: Mapping[str, float]) -> str:
    if "@" not in tag:
        return f"{score['mean']:.3f}" if tag.endswith("_frac") else f"{score['mean']:.1f}"
    return f"{score['mean']:.3f}\n[{score['low']:.3f}, {score['high']:.3f}]"
