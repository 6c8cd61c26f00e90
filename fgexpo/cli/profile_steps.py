"""How long a step takes, by making some."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, Trainer

from ..callbacks import KLController, StopAfter
from ..evaluation.printed import say
from ..plan.tables import duration

TIMED = 2  # the first of them warms up
# Of a step's logged seconds, what is told, by the name that it is told by.
PARTS = {
    "time/generate": "generate",
    "reward/seconds": "grade",
    "time/score": "score",
    "time/update": "update",
}
WHOLE = "step_time"
SIZE, SHARE = "curriculum/effective_sample_size", "curriculum/frac_effective"


def time_steps(model: Any, data: Any, trainer: Trainer) -> dict[str, Any]:
    """Make real training steps of which nothing is kept.

    Args:
        model: the policy's module; it is trained.
        data: of the run; it is not evaluated on.
        trainer: without a logger; the callbacks that it has are replaced.

    Returns:
        ``steps``, a list of seconds by part, and the curriculum's ``effective_sample_size`` and
        ``frac_effective``.
    """
    times = _StepTimes()
    # KL rules belong to a step; the others draw, save, or wait.
    given: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    given[:] = [each for each in given if isinstance(each, KLController)]
    given += [StopAfter(TIMED), times]
    data.val = {}
    say(f"timing {TIMED} training steps; their weights are thrown away")
    trainer.fit(model, data)
    return times.found


class _StepTimes(Callback):
    """Notes what each step has logged about its time, and how alive the curriculum is."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {"steps": []}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the step."""
        logged = {tag: float(value) for tag, value in trainer.callback_metrics.items()}
        parts = {name: logged[tag] for tag, name in PARTS.items()}
        self.found["steps"].append({**parts, "whole": logged[WHOLE]})
        self.found["effective_sample_size"] = logged[SIZE]
        self.found["frac_effective"] = logged[SHARE]


def timing_lines(found: Mapping[str, Any], length: int | None) -> list[str]:
    """What to say of the steps.

    Args:
        found: see :func:`time_steps`.
        length: steps of the run that is to come; None if it has no end.
    """
    first, *later = found["steps"]
    usual = later[-1] if later else first
    parts = ", ".join(f"{name} {usual[name]:.2g}" for name in PARTS.values())
    lines = [
        f"seconds a step: {usual['whole']:.2g} ({parts}); the first, with its warm-up: "
        f"{first['whole']:.2g}"
    ]
    if length is not None:
        total = first["whole"] + (length - 1) * usual["whole"]
        lines.append(f"{length:,} steps: about {duration(total)}, without evaluations")
    size, share = found["effective_sample_size"], found["frac_effective"]
    lines.append(
        f"curriculum with these rates: effective sample size {size:,.0f} of {size / share:,.0f} "
        "questions"
    )
    return lines
