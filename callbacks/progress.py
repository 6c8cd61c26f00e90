"""Progress in rollout steps, and at the end how training changed the scores."""

import time
from math import ceil
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
from rich.text import Text

from fgexpo.errors import UserError
from fgexpo.evaluation.change import ByQuestion, change_intervals
from fgexpo.files import run_folder
from fgexpo.types import RolloutBatch

from .comparison import comparison, questions_of
from .evaluation_clock import EvaluationClock, clock
from .evaluation_report import EvaluationReport
from .header import header
from .stop import StopAfter, StopAtBudget

_SHOWN = {"accuracy": "acc", "kl": "kl", "beta": "beta", "tokens_per_second": "tok/s"}


class RolloutProgress(ProgressBar):
    """A Rich bar with accuracy, KL, beta, tokens per second and a finish time.

    If the output is not a terminal, it prints a line at intervals instead. Five lines before
    training say what the run is.

    Args:
        every_steps: rollout steps between these lines; null for none by steps.
        every_seconds: seconds between them; null for none by time.

    Raises:
        UserError: for an interval that is not above 0.
    """

    def __init__(self, every_steps: int | None = None, every_seconds: float | None = 30.0) -> None:
        super().__init__()
        for name, value in {"every_steps": every_steps, "every_seconds": every_seconds}.items():
            if value is not None and not value > 0:
                raise UserError(f"progress.{name} must be above 0, or null, got {value}")
        self.every_steps = every_steps
        self.every_seconds = every_seconds
        self._spoke = 0.0
        self.console = Console()
        self._bar: Progress | None = None
        self._task: Any = None
        self._started = 0.0
        self._first_step = 0
        self._base: dict[str, float] = {}
        self._latest: dict[str, float] = {}
        self._latest_step = 0
        # By evaluation set.
        self._base_questions: dict[str, ByQuestion] = {}
        self._latest_questions: dict[str, ByQuestion] = {}
        self._clock = EvaluationClock()
        self._folder: Path | None = None

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Learn the run's folder, on which all processes agree; only the first one prints."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._folder = run_folder(trainer)

    def disable(self) -> None:
        """Called by Lightning on all processes but one."""
        self.console = Console(quiet=True)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Open the bar."""
        self._started = time.monotonic()
        self._first_step = pl_module.rollout_step
        self._spoke = self._started
        for line in header(trainer, pl_module, run_length(trainer)):
            self._say(line)
        if self.console.is_terminal:
            self._bar = Progress(
                _Steps(),
                BarColumn(bar_width=24),
                _Values(),
                TimeElapsedColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task(
                "fit", total=run_length(trainer), completed=self._first_step, values=""
            )
            self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the step just finished."""
        step = pl_module.rollout_step
        total = run_length(trainer)
        values = step_values(trainer, pl_module, batch)
        line = "  ".join(
            f"{label} {values[tag]:.4g}" for tag, label in _SHOWN.items() if tag in values
        )
        if total is not None:
            line += f"  ends {self._finish_time(step, total)}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, values=line)
        elif self._is_time(step) or step == total:
            self._spoke = time.monotonic()
            self._say(f"step {step}/{'?' if total is None else total}  {line}")

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Remember the scores."""
        if trainer.sanity_checking:
            return
        found = {
            tag: float(value)
            for tag, value in trainer.callback_metrics.items()
            if tag.startswith("val/") and "@" in tag
        }
        self._latest_step = pl_module.rollout_step
        self._latest = found
        if trainer.state.fn == "fit":
            self._latest_questions = questions_of(trainer, pl_module)
        if self._latest_step == 0:
            self._base, self._base_questions = found, self._latest_questions
        shown = "  ".join(f"{tag} {x:.3f}" for tag, x in found.items() if tag.count("/") == 2)
        if not _reported(trainer):
            self._say(f"step {self._latest_step}: {shown}")

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._clock = EvaluationClock()

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._clock = EvaluationClock()

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._clock = EvaluationClock()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the evaluation's progress and its finish time."""
        if not isinstance(batch, RolloutBatch):
            return
        first = self._clock.fresh
        line = self._clock.add(trainer, pl_module, batch)
        if first or self._clock.done or self.console.is_terminal or self._is_time(batch_idx + 1):
            self._spoke = time.monotonic()
            self._say(line)

    on_predict_batch_end = on_test_batch_end

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """The same under ``validate``; training has a bar of its own."""
        if trainer.state.fn == "validate":
            self.on_test_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Close the bar and print base against final."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._base and self._latest_step > 0:
            table = comparison(self._base, self._latest, self._latest_step, self._intervals())
            self.console.print(table)
        if self._folder is not None:
            self._say(f"logs: {self._folder}")

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Release the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def state_dict(self) -> dict[str, Any]:
        """The base's scores, so that a resumed run can still compare with them."""
        questions = {name: each.state_dict() for name, each in self._base_questions.items()}
        return {"base": self._base, "base_questions": questions}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the base's scores."""
        self._base = state_dict["base"]
        questions = state_dict.get("base_questions", {})  # older runs kept the means alone
        self._base_questions = {name: ByQuestion(**each) for name, each in questions.items()}

    def _intervals(self) -> dict[str, tuple[float, float]]:
        if self.console.quiet:
            return {}
        return {
            f"val/{name}/{tag}": ends
            for name, base in self._base_questions.items()
            if name in self._latest_questions
            for tag, ends in change_intervals(name, base, self._latest_questions[name]).items()
        }

    def _is_time(self, step: int) -> bool:
        if self.every_steps is not None and step % self.every_steps == 0:
            return True
        passed = time.monotonic() - self._spoke
        return self.every_seconds is not None and passed >= self.every_seconds

    def _finish_time(self, step: int, total: int) -> str:
        done = max(1, step - self._first_step)
        left = (time.monotonic() - self._started) / done * (total - step)
        # With rollouts left unspent, a budget lasts for more steps than expected.
        return clock(max(0.0, left))

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _reported(trainer: Any) -> bool:
    """Whether a table is going to show the scores."""
    reports = (isinstance(callback, EvaluationReport) for callback in trainer.callbacks)
    return trainer.state.fn == "validate" and any(reports)


class _Steps(ProgressColumn):
    def render(self, task: Task) -> Text:
        total = "?" if task.total is None else f"{task.total:.0f}"
        return Text(f"step {task.completed:.0f}/{total}")


class _Values(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["values"])


def run_length(trainer: Any) -> int | None:
    """Rollout steps of the run, or optimizer steps of a supervised one; None if open-ended.

    A budget of rollouts counts as steps without refills; with refills the run ends sooner.
    """
    for callback in trainer.callbacks:
        if isinstance(callback, StopAfter):
            return callback.steps
        if isinstance(callback, StopAtBudget):
            questions = trainer.datamodule.questions_per_step
            return ceil(callback.rollouts / (questions * trainer.lightning_module.group_size))
    return trainer.max_steps if trainer.max_steps > 0 else None


def step_values(trainer: Trainer, pl_module: Any, batch: Any) -> dict[str, float]:
    """The values of a step that the bar shows, as far as they are known."""
    values = {tag: float(value) for tag, value in trainer.callback_metrics.items()}
    if hasattr(pl_module, "beta"):
        beta = pl_module.beta
        values["beta"] = float(beta) if isinstance(beta, float | int) else float(beta.mean())
    if "step_time" in values:
        values["tokens_per_second"] = batch.asked.tokens / values["step_time"]
    return values
