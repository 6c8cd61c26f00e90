"""The scores of a card: found, proven to be of these weights, and as the hub reads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult

from ..errors import UserError
from ..evaluation.read_results import read_results
from ..evaluation.results import MEAN, Scores, overall, summarise
from .markdown import code, settings, table, text
from .proof import Exported, measured_on
from .run_config import describe

FOLDER = Path("evaluations")
_DIGITS = 4
_SHARES = ("no_answer_frac", "truncated_frac")
_LENGTH = "mean_length"


def given_results(path: str, exported: Exported) -> dict[str, Any]:
    """Read the results that a user names.

    Raises:
        UserError: when they are no results, of no question, or were measured on other weights.
    """
    results = read_results(path, "--results")
    if not measured_on(results, exported):
        raise UserError(
            f"--results: {path!r} was measured on other weights than this checkpoint's "
            f"({results['model']!r}, {results['identity'].get('weights')}); run `fgexpo test` with "
            "this --ckpt_path, and name its results.json"
        )
    benchmarks = results["benchmarks"]
    if not benchmarks or not all(found["per_question"] for found in benchmarks.values()):
        raise UserError(f"--results: {path!r} has no benchmark, or one without a question")
    return results


def found_results(exported: Exported) -> tuple[str | None, list[str]]:
    """Look into ``evaluations`` for results of these weights.

    Returns:
        Their path, and what could not be read and was passed over.

    Raises:
        UserError: when there are several.
    """
    mine, notes = [], []
    for path in sorted(FOLDER.glob("*/results.json")):
        try:
            results = read_results(str(path), "--results")
        except UserError as error:
            notes.append(f"{error}; passed over")
            continue
        if measured_on(results, exported):
            mine.append(str(path))
    if len(mine) > 1:
        raise UserError(
            f"--results: {len(mine)} evaluations of these weights are here, {', '.join(mine)}; "
            "name one"
        )
    return (mine[0] if mine else None), notes


def summaries(results: Mapping[str, Any]) -> dict[str, Scores]:
    """Mean and interval of every score by benchmark, and their mean over several benchmarks."""
    benchmarks = results["benchmarks"]
    # From the questions: whatever else the file says of them may not fit.
    found = {name: summarise([each["per_question"]], name) for name, each in benchmarks.items()}
    alike = len({tuple(scores) for scores in found.values()}) == 1
    mean = overall(benchmarks) if alike else None
    return found if mean is None else {**found, MEAN: mean}


def for_the_hub(results: Mapping[str, Any]) -> list[EvalResult]:
    """One entry for each benchmark and score, for the card's front matter."""
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=name,
            dataset_name=name,
            metric_type=tag,
            metric_name=tag,
            metric_value=round(score["mean"], _DIGITS),
        )
        for name, scores in summaries(results).items()
        if name != MEAN
        for tag, score in scores.items()
        if "@" in tag
    ]


def section(results: Mapping[str, Any]) -> str:
    """The scores as a table, and how they were measured."""
    found, identity = summaries(results), results["identity"]
    tags = [tag for tag in next(iter(found.values())) if "@" in tag]
    head = ["benchmark", "questions", *map(text, tags), "no answer", "truncated", "tokens"]
    rows = [
        [
            text(name),
            "" if name == MEAN else str(len(results["benchmarks"][name]["per_question"])),
            *[_with_interval(scores.get(tag)) for tag in tags],
            *[_mean(scores.get(tag), 3) for tag in _SHARES],
            _mean(scores.get(_LENGTH), 1),
        ]
        for name, scores in found.items()
    ]
    how = {
        name: describe(identity[key])
        for name, key in {
            "completions per question": "rollouts",
            "sampling": "sampling",
            "prompt template": "template",
            "verifier": "verifier",
            "engine": "engine",
            "precision": "dtype",
            "seed": "seed",
            "weights": "weights",
        }.items()
        if key in identity
    }
    return (
        f"{table(head, rows)}\n\nMeans, with 95 % intervals from a bootstrap over questions, "
        f"measured by {code('fgexpo test')}:\n\n{settings(how)}"
    )


def _with_interval(score: Mapping[str, float] | None) -> str:
    if score is None:
        return ""
    return f"{score['mean']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def _mean(score: Mapping[str, float] | None, digits: int) -> str:
    return "" if score is None else f"{score['mean']:.{digits}f}"
