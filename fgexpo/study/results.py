"""A study's table, arranged by arm."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import UserError
from .estimates import Estimate, estimate, pass_at_k_by_question
from .read_table import read_table
from .table import CORRECT, MODEL

# A pandas DataFrame; its inferred types are unions of everything a cell may hold.
Frame = Any


@dataclass(frozen=True)
class ArmResults:
    """All runs of an arm at a point, in order of base and seed.

    Attributes:
        rows: the arm's part of the table.
    """

    rows: Frame

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """Base and seed of each of the R runs."""
        return sorted(set(zip(self.rows["base"], self.rows["seed"], strict=True)))

    @cached_property
    def n(self) -> int:
        """Samples per question."""
        return int(self._counts["n"].max())

    def final(self, k: int) -> np.ndarray:
        """Pass@k of every run and question in the last validation, [R, Q]."""
        last = self._counts.groupby(["base", "seed"])["step"].transform("max")
        return self._scores(self._counts[self._counts["step"] == last], k)

    def first(self, k: int) -> np.ndarray:
        """The same for the validation before the first step."""
        return self._scores(self._counts[self._counts["step"] == 0], k)

    def curve(self, k: int, run: tuple[int, int]) -> Frame:
        """Mean pass@k of a run at every validation: step, rollouts, updates, seconds, score."""
        base, seed = run
        mine = self._counts[(self._counts["base"] == base) & (self._counts["seed"] == seed)]
        scored = mine.assign(score=pass_at_k_by_question(mine["value"].to_numpy(), self.n, k))
        columns = ["step", "rollouts", "updates", "seconds", "score"]
        return scored.groupby("step", as_index=False)[columns[1:]].mean()[columns]

    @property
    def bases(self) -> list[int]:
        """The base of each run, R of them."""
        return [base for base, _ in self.runs]

    def curves(self, k: int) -> dict[str, np.ndarray]:
        """The columns of :meth:`curve` of every run, [R, V] each.

        Runs that end at different steps are compared up to the earliest end, after V validations.
        """
        found = [self.curve(k, run) for run in self.runs]
        shortest = min(map(len, found))
        return {
            column: np.stack([curve[column].to_numpy()[:shortest] for curve in found])
            for column in found[0].columns
        }

    def traces(self, tag: str) -> Frame:
        """A logged scalar: a row for each step that all runs reached, a column for each run.

        The index is the rollouts spent, on average over runs; empty where no run has logged it.
        """
        logged = self.rows[self.rows["tag"] == tag]
        columns = {"index": "step", "columns": ["base", "seed"], "aggfunc": "mean"}
        wide = logged.pivot_table(values="value", **columns).dropna()
        spent = logged.pivot_table(values="rollouts", **columns).loc[wide.index]
        return wide.set_axis(spent.mean(axis=1), axis=0)

    def trace(self, tag: str) -> Frame:
        """A logged scalar by step over runs: mean, low, high, number of runs; may be empty."""
        logged = self.rows[self.rows["tag"] == tag].groupby("step")
        return logged.agg(
            rollouts=("rollouts", "mean"),
            mean=("value", "mean"),
            low=("value", "min"),
            high=("value", "max"),
            runs=("value", "size"),
        )

    def at_end(self, tag: str, steps: int = 10) -> float | None:
        """A logged scalar's mean over the last steps of each run, then over runs; None without."""
        logged = self.rows[self.rows["tag"] == tag].sort_values("step")
        if logged.empty:
            return None
        ends = logged.groupby(["base", "seed"]).tail(steps)
        return float(ends.groupby(["base", "seed"])["value"].mean().mean())

    def on_the_way(self, tag: str) -> float | None:
        """A logged scalar's mean over all steps of each run, then over runs; None without."""
        return self.at_end(tag, steps=len(self.rows))

    @cached_property
    def _counts(self) -> Frame:
        return self.rows[self.rows["tag"] == CORRECT]

    def _scores(self, counts: Frame, k: int) -> np.ndarray:
        wide = counts.pivot(index=["base", "seed"], columns="question", values="value")
        if wide.isna().to_numpy().any():
            raise UserError("study: the runs of an arm were not judged by the same questions")
        return pass_at_k_by_question(wide.to_numpy(), self.n, k)


@dataclass(frozen=True)
class Results:
    """The arms of every point.

    Attributes:
        arms: by point and arm.
    """

    arms: dict[tuple[str, str], ArmResults]

    def difference(self, point: str, arm: str, control: str, k: int) -> np.ndarray:
        """Pass@k of an arm minus its control's, by run and question, [R, Q]."""
        one, other = self.arm(point, arm), self.arm(point, control)
        if one.runs != other.runs:
            raise UserError(f"study: {arm} and {control} do not have the same bases and seeds")
        return one.final(k) - other.final(k)

    @property
    def models(self) -> list[str]:
        """Name and content of the models that runs start from, in order of their numbers.

        Empty for a table of an earlier version, which does not have them.
        """
        found = {}
        for arm in self.arms.values():
            known = arm.rows[["base", MODEL]].dropna().drop_duplicates()
            found |= dict(zip(known["base"], known[MODEL], strict=True))
        return [found[base] for base in sorted(found)]

    def bases(self, point: str, arm: str) -> list[int]:
        """The base of each run, R of them."""
        return self.arm(point, arm).bases

    def arm(self, point: str, name: str) -> ArmResults:
        """The runs of an arm at a point.

        Raises:
            UserError: when the table has none.
        """
        if (point, name) not in self.arms:
            where = f" at point {point!r}" if point else ""
            raise UserError(f"study: the table has no arm {name!r}{where}")
        return self.arms[point, name]


# By arm and control, then by k.
ArmDifferences = dict[tuple[str, str], dict[int, Estimate]]


def compare(
    results: Results,
    point: str,
    pairs: list[tuple[str, str]],
    ks: list[int],
    comparisons: int | None = None,
) -> ArmDifferences:
    """Arm minus control of each pair, in pass@k.

    Args:
        results: a study's results.
        point: the regime; empty if the study has only one.
        pairs: arm and control.
        ks: values of k.
        comparisons: total number of differences; their intervals are widened so that all of them
            hold together. By default, the number of these.
    """
    return {
        (arm, control): {
            k: estimate(
                results.difference(point, arm, control, k),
                results.bases(point, arm),
                comparisons or len(pairs) * len(ks),
            )
            for k in ks
        }
        for arm, control in pairs
    }


def read_results(path: str) -> Results:
    """Read the table of a study.

    Raises:
        UserError: when it does not exist, or is not such a table.
    """
    table = read_table(path)
    grouped: Any = table.groupby(["point", "arm"], sort=False)
    return Results({(point, arm): ArmResults(rows) for (point, arm), rows in grouped})
