"""Pass-rates of an earlier run, from the file that it has written."""

import json
from pathlib import Path
from typing import Any

from fgexpo.errors import UserError
from fgexpo.outside import reading

_MOST_VISITS = 2**53


def read_pass_rates(path: str) -> dict[str, tuple[float, int]]:
    """Pass-rate in [0, 1] and visits by question id.

    Raises:
        UserError: for a file that is not there or no JSON object, or naming the question whose
            entry is not a pass-rate with its visits.
    """
    if not Path(path).is_file():
        raise UserError(f"data.warm_start: file {path!r} does not exist")
    what = "a JSON object of pass-rates by question id"
    with reading(path, what, "data.warm_start"):
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise UserError(f"data.warm_start: {path!r} is not {what}")
    for question, seen in found.items():
        if not _is_entry(seen):
            raise UserError(
                f"data.warm_start: {path!r} has {str(seen)[:60]} for question {question!r}, "
                "expected [a pass-rate in [0, 1], a number of visits]"
            )
    return {question: (float(rate), visits) for question, (rate, visits) in found.items()}


def _is_entry(seen: Any) -> bool:
    if not isinstance(seen, list) or len(seen) != 2:
        return False
    rate, visits = seen
    # Comparisons with NaN are false. True is an int to Python, but not a number to anybody else.
    in_range = type(rate) in (int, float) and 0 <= rate <= 1
    return in_range and type(visits) is int and 0 <= visits < _MOST_VISITS
