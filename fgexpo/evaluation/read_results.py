"""Reads a ``results.json`` that somebody hands over, and checks all of it that is used later."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..errors import UserError
from ..outside import reading

# A score is a share, a number of tokens or a count; beyond this, arithmetic on it overflows.
_LARGEST = 1e12


def read_results(path: str) -> dict[str, Any]:
    """Read a ``results.json``, given as a file or as its folder.

    Raises:
        UserError: when the file does not exist, or is not a results file; it names the place.
    """
    if Path(path).is_dir():
        path = str(Path(path) / "results.json")
    if not Path(path).is_file():
        raise UserError(f"compare: file {path!r} does not exist; has its evaluation finished?")
    with reading(path, "the JSON of a results.json", "compare"):
        results = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    check_results(path, results)
    return results


def check_results(path: str, results: Any) -> None:
    """Check what is compared and drawn: names, questions, and every score.

    Raises:
        UserError: naming the file and the place inside.
    """
    needed = {"model": str, "identity": dict, "benchmarks": dict}
    if not isinstance(results, dict) or not needed.keys() <= results.keys():
        raise UserError(f"compare: {path!r} is not a results.json of `python -m fgexpo test`")
    for name, kind in needed.items():
        if not isinstance(results[name], kind):
            _refuse(path, name, results[name], "text" if kind is str else "a JSON object")
    if not isinstance(results["identity"].get("questions", {}), dict):
        _refuse(path, "identity.questions", results["identity"]["questions"], "a JSON object")
    if results.get("checkpoint") and not isinstance(results.get("rollout_step"), int):
        _refuse(path, "rollout_step", results.get("rollout_step"), "a whole number")
    _check_text(path, results["model"], *results["benchmarks"])
    for name, found in results["benchmarks"].items():
        place = f"benchmarks.{name}.per_question"
        rows = found.get("per_question") if isinstance(found, dict) else None
        if not isinstance(rows, dict):
            _refuse(path, place, rows, "a JSON object of questions")
        _check_scores(path, place, rows)


def _check_scores(path: str, place: str, rows: Mapping[str, Any]) -> None:
    tags: Any = None
    for question, scores in rows.items():
        where = f"{place}.{question}"
        if not isinstance(scores, dict):
            _refuse(path, where, scores, "a JSON object of scores")
        if tags is not None and scores.keys() != tags:
            _refuse(
                path, where, sorted(scores), f"the scores of the first question, {sorted(tags)}"
            )
        tags = set(scores)
        for tag, score in scores.items():
            number = isinstance(score, int | float) and not isinstance(score, bool)
            # A comparison with NaN is false.
            if not (number and abs(score) <= (1 if "@" in tag else _LARGEST)):
                expected = "a number in [0, 1]" if "@" in tag else "a finite number"
                _refuse(path, f"{where}.{tag}", score, expected)


def _check_text(path: str, *names: str) -> None:
    with reading(path, "text that can be shown", "compare"):
        for name in names:
            name.encode()  # half a pair of surrogates is no text


def _refuse(path: str, place: str, value: Any, expected: str) -> NoReturn:
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}..."
    raise UserError(f"compare: {path!r}: {place} must be {expected}, got {shown}")
