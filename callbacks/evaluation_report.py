"""What `test`, `validate` and `predict` write and print: results, where they are, and a table."""

import signal
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, Trainer

from fgexpo.evaluation.identity import folder_name, identity
from fgexpo.evaluation.printed import print_table, say
from fgexpo.evaluation.results import MEAN, benchmark_results, overall, results_table
from fgexpo.evaluation.store import EvaluationStore
from fgexpo.files import Lock, run_folder, write_json
from fgexpo.parallel.collectives import any_process, on_first
from fgexpo.types import RolloutBatch

from .evaluation_clock import command_of, loaders_of
from .rollout_log import RolloutLog

RESULTS = "results.json"
SIGTERM_STATUS = 128 + signal.SIGTERM  # the shell's convention; Lightning would exit with 0


class EvaluationReport(Callback):
    """Prints the table of an evaluation, and writes its results beside what else there is of it.

    ``test`` writes each finished batch to parquet, and at the end ``results.json``. After a kill,
    rerun the same command: it finds its folder and asks only what is left. ``validate`` and
    ``predict`` write ``validate-results.json`` and ``predict-results.json`` into the run's folder.

    Args:
        folder: to write in; by default ``evaluations/<model>-<hash of the settings behind it>`` for
            ``test``, and the run's folder otherwise.
    """

    ROOT = "evaluations"  # of the folders of ``test``

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self._store: EvaluationStore | None = None
        self._identity: dict[str, Any] = {}
        self._file = Path()
        self._run_folder = Path()
        self._received = False
        self._lock: Lock | None = None

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Agree on the run's folder."""
        if stage in ("validate", "predict"):
            self._run_folder = run_folder(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Load what an interrupted evaluation has finished.

        Raises:
            EnvironmentFailure: on all processes, when another evaluation writes into the folder.
        """
        # Replaces Lightning's handler, which may call a collective at any moment.
        signal.signal(signal.SIGTERM, self._take_note)
        self._received = False
        found = self._identity = identity(trainer, pl_module, _datasets(trainer))
        folder = Path(self.folder or Path(self.ROOT) / folder_name(trainer, pl_module, found))
        self._file = folder / RESULTS
        lock = self._lock = Lock(folder / ".lock", f"report.folder: the folder {str(folder)!r}")
        on_first(trainer, lock.take)
        self._store = EvaluationStore(folder, found, write=trainer.is_global_zero)
        # Otherwise one process would count a question as finished while another is about to ask it.
        trainer.strategy.barrier()
        for dataset in _datasets(trainer):
            done = self._store.load(dataset.name, pl_module.evaluation.rollouts)
            pl_module.evaluator.known[dataset.name] = done
            if done and trainer.is_global_zero:
                say(f"{dataset.name}: {len(done)} of {len(dataset)} questions are finished")
        trainer.strategy.barrier()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Save the batch, then stop if any process was asked to; all have equally many batches."""
        assert self._store is not None
        if isinstance(batch, RolloutBatch):
            self._store.add(batch, trainer.global_rank)
        if any_process(trainer, self._received):
            say(f"stopped; finished questions are in {self._store.folder}; rerun to resume")
            raise SystemExit(SIGTERM_STATUS)

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        self._received = True

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write and print the results."""
        pl_module.evaluator.known.clear()
        self._tell(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Note what is evaluated, under ``validate``."""
        if command_of(trainer) == "validate":
            self._begin(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write and print the results, under ``validate``."""
        if command_of(trainer) == "validate":
            self._tell(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Note what is asked."""
        self._begin(trainer, pl_module)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the batch, which the module hands out uncounted."""
        if isinstance(batch, RolloutBatch):
            pl_module.evaluator.add(batch)
            pl_module.unread.look(batch)

    def on_predict_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Gather the processes' samples, then write and print the results."""
        for dataset in _datasets(trainer):
            pl_module.evaluator.close(dataset.name, dataset.questions)
        pl_module.unread.tell(trainer)
        self._tell(trainer, pl_module)

    def _begin(self, trainer: Trainer, pl_module: Any) -> None:
        self._identity = identity(trainer, pl_module, _datasets(trainer))
        folder = Path(self.folder) if self.folder else self._run_folder
        self._file = folder / f"{command_of(trainer)}-{RESULTS}"

    def _tell(self, trainer: Trainer, pl_module: Any) -> None:
        """Write and print what is in the evaluator, on the first process."""
        if not trainer.is_global_zero:
            return
        evaluator = pl_module.evaluator
        settings = evaluator.settings
        if command_of(trainer) == "predict" and 1 not in settings.ks:
            settings = replace(settings, ks=[1, *settings.ks])  # the accuracy, whatever is asked
        benchmarks = {
            dataset.name: benchmark_results(
                settings,
                dataset.name,
                dataset.questions,
                evaluator.samples[dataset.name],
                dataset.dropped,
            )
            for dataset in _datasets(trainer)
        }
        results = {
            "model": pl_module.name,
            "checkpoint": str(trainer.ckpt_path) if trainer.ckpt_path else None,
            "rollout_step": pl_module.rollout_step,
            "identity": self._identity,
            "benchmarks": benchmarks,
            MEAN: overall(benchmarks),
        }
        write_json(self._file, results)
        print_table(results_table(results))
        say(f"results: {self._file}")
        say(f"completions: {self._completions(trainer)}")
        if trainer.loggers and command_of(trainer) == "validate":
            say(f"logs: {self._run_folder}")

    def _completions(self, trainer: Trainer) -> str:
        """Where every completion is, or why they are nowhere."""
        if self._store is not None and command_of(trainer) == "test":
            return str(self._store.folder / "completions")
        every: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        log = next((callback for callback in every if isinstance(callback, RolloutLog)), None)
        if log is None:
            return "not saved, since there is no `rollouts` callback"
        if log.saves(trainer):
            return str(log.pattern(trainer))
        return "not saved; --rollouts.save=true saves them in parquet"

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Leave the folder to others."""
        self._leave()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Leave the folder to others."""
        self._leave()

    def _leave(self) -> None:
        if self._lock is not None:
            self._lock.release()


def _datasets(trainer: Trainer) -> list[Any]:
    return [loader.dataset for loader in loaders_of(trainer)]
