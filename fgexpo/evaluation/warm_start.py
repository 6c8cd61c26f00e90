"""Pass-rates that a run starts with: those of an earlier run, or counts from before any run.

An earlier run's entries are its moving averages, as it kept them, with their visits. Counts are
right answers among a number of rollouts, as ``fgexpo profile`` writes them; they depend on no
decay and no group size.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..curriculum.pass_rates import PassRateTable
from ..errors import UserError
from ..outside import reading
from ..questions import Question

_MOST_VISITS = 2**53


@dataclass(frozen=True)
class Counted:
    """How a question's rollouts went.

    Attributes:
        right: how many were right.
        rollouts: how many there were, at least 1.
    """

    right: int
    rollouts: int

    @property
    def rate(self) -> float:
        """The share of right ones."""
        return self.right / self.rollouts

    def visits(self, group_size: int) -> int:
        """The visits that they are worth, in whole ones: a visit is a group of rollouts."""
        return max(1, round(self.rollouts / group_size))


# A moving average with its visits, or counts.
Entry = tuple[float, int] | Counted


def counts(questions: list[Question], right: list[int], rollouts: int) -> dict[str, Any]:
    """What a file of counts holds, ready for JSON.

    Args:
        questions: that were asked.
        right: rollouts of each that were right.
        rollouts: of each, in all.
    """
    pairs = zip(questions, right, strict=True)
    return {question.id: {"right": own, "rollouts": rollouts} for question, own in pairs}


def warm_up(
    table: PassRateTable, questions: list[Question], path: str, group_size: int
) -> str | None:
    """Start a table where a file says.

    Args:
        table: of the questions, fresh.
        questions: the pool.
        path: of the file.
        group_size: rollouts of a visit.

    Returns:
        What a user should know of a file that fits this pool in part; None if it fits.

    Raises:
        UserError: see :func:`read_pass_rates`; when no entry is of this pool, or an average was
            made with another decay than the table has to correct for.
    """
    known = read_pass_rates(path)
    rows = [row for row, question in enumerate(questions) if question.id in known]
    if not rows:
        raise UserError(
            f"data.warm_start: {path!r} has no question of this pool, whose ids are such as "
            f"{questions[0].id!r}; it has {_examples(known)}"
        )
    for row in rows:
        entry = known[questions[row].id]
        if isinstance(entry, Counted):
            table.start(row, entry.rate, entry.visits(group_size))
        else:
            table.averages[row], table.visits[row] = entry
    table.check(table.averages, table.visits)
    missing, others = len(questions) - len(rows), len(known) - len(rows)
    told = []
    if missing:
        told.append(
            f"{missing:,} of the pool's {len(questions):,} questions have no rate and start at "
            f"{table.initial:g}"
        )
    if others:
        told.append(f"{others:,} of its {len(known):,} questions are not in the pool")
    return f"data.warm_start: {path!r}: {'; '.join(told)}" if told else None


def _examples(known: dict[str, Entry]) -> str:
    return f"ids such as {next(iter(known))!r}" if known else "none"


def read_pass_rates(path: str) -> dict[str, Entry]:
    """A pass-rate in [0, 1] with its visits, or counts, by question id.

    Raises:
        UserError: for a file that is not there or no JSON object, or naming the question whose
            entry is neither.
    """
    if not Path(path).is_file():
        raise UserError(f"data.warm_start: file {path!r} does not exist")
    what = "a JSON object of pass-rates by question id"
    with reading(path, what, "data.warm_start"):
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise UserError(f"data.warm_start: {path!r} is not {what}")
    for question, seen in found.items():
        if not (_is_entry(seen) or _is_counted(seen)):
            raise UserError(
                f"data.warm_start: {path!r} has {str(seen)[:60]} for question {question!r}, "
                "expected [a pass-rate in [0, 1], a number of visits] or "
                '{"right": a number, "rollouts": a number that is not smaller, and above 0}'
            )
    return {question: _entry(seen) for question, seen in found.items()}


def _entry(seen: Any) -> Entry:
    return Counted(**seen) if isinstance(seen, dict) else (float(seen[0]), seen[1])


def _is_counted(seen: Any) -> bool:
    if not isinstance(seen, dict) or seen.keys() != {"right", "rollouts"}:
        return False
    right, rollouts = seen["right"], seen["rollouts"]
    if type(right) is not int or type(rollouts) is not int:
        return False
    return 0 <= right <= rollouts and 1 <= rollouts < _MOST_VISITS


def _is_entry(seen: Any) -> bool:
    if not isinstance(seen, list) or len(seen) != 2:
        return False
    rate, visits = seen
    # Comparisons with NaN are false. True is an int to Python, but not a number to anybody else.
    in_range = type(rate) in (int, float) and 0 <= rate <= 1
    return in_range and type(visits) is int and 0 <= visits < _MOST_VISITS
