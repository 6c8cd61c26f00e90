"""Reads a ``results.json`` that somebody hands over, and checks all of it that is used later."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..errors import UserError
from ..outside import reading

# A score is a share, a number of tokens or a count; beyond this, arithmetic on it overflows.
_LARGEST = 1e12


def read_results(path: str, setting: str = "compare") -> dict[str, Any]:
    """Read a ``results.json``, given as a file or as its folder.

    Args:
        path: of the file or folder.
        setting: the command or option that names it, for messages.

    Raises:
        UserError: when the file does not exist, or is not a results file; it names the place.
    """
    if Path(path).is_dir():
        path = str(Path(path) / "results.json")
    if not Path(path).is_file():
        raise UserError(f"{setting}: file {path!r} does not exist; has its evaluation finished?")
    with reading(path, "the JSON of a results.json", setting):
        results = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    check_results(path, results, setting)
    return results


def check_results(path: str, results: Any, setting: str) -> None:
    """Check what is compared and drawn: names, questions, and every score.

    Raises:
        UserError: naming the file and the place inside.
    """
    where = f"{setting}: {path!r}"
    needed = {"model": str, "identity": dict, "benchmarks": dict}
    if not isinstance(results, dict) or not needed.keys() <= results.keys():
        raise UserError(f"{where} is not a results.json of `python -m fgexpo test`")
    for name, kind in needed.items():
        if not isinstance(results[name], kind):
            _refuse(where, name, results[name], "text" if kind is str else "a JSON object")
    if not isinstance(results["identity"].get("questions", {}), dict):
        _refuse(where, "identity.questions", results["identity"]["questions"], "a JSON object")
    if results.get("checkpoint") and not isinstance(results.get("rollout_step"), int):
        _refuse(where, "rollout_step", results.get("rollout_step"), "a whole number")
    with reading(path, "text that can be shown", setting):
        for text in (results["model"], *results["benchmarks"]):
            text.encode()  # half a pair of surrogates is no text
    for name, found in results["benchmarks"].items():
        place = f"benchmarks.{name}.per_question"
        rows = found.get("per_question") if isinstance(found, dict) else None
        if not isinstance(rows, dict):
            _refuse(where, place, rows, "a JSON object of questions")
        _check_scores(where, place, rows)


def _check_scores(file: str, place: str, rows: Mapping[str, Any]) -> None:
    tags: Any = None
    for question, scores in rows.items():
        where = f"{place}.{question}"
        if not isinstance(scores, dict):
            _refuse(file, where, scores, "a JSON object of scores")
        if tags is not None and scores.keys() != tags:
            _refuse(
                file, where, sorted(scores), f"the scores of the first question, {sorted(tags)}"
            )
        tags = set(scores)
        for tag, score in scores.items():
            number = isinstance(score, int | float) and not isinstance(score, bool)
            # A comparison with NaN is false.
            if not (number and abs(score) <= (1 if "@" in tag else _LARGEST)):
                expected = "a number in [0, 1]" if "@" in tag else "a finite number"
                _refuse(file, f"{where}.{tag}", score, expected)


def _refuse(where: str, place: str, value: Any, expected: str) -> NoReturn:
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}..."
    raise UserError(f"{where}: {place} must be {expected}, got {shown}")
