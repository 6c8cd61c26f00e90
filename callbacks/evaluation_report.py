"""What `test` writes: every completion, the results, and a table."""

import hashlib
import json
import signal
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, Trainer
from rich.console import Console

from fgexpo.evaluation.results import MEAN, benchmark_results, overall, results_table
from fgexpo.evaluation.store import EvaluationStore
from fgexpo.files import Lock, write_json
from fgexpo.parallel.collectives import any_process, on_first
from fgexpo.robustness.same_run import fingerprint_model, fingerprint_template
from fgexpo.types import RolloutBatch

RESULTS = "results.json"
WIDTH = 140
SIGTERM_STATUS = 128 + signal.SIGTERM  # the shell's convention; Lightning would exit with 0


class EvaluationReport(Callback):
    """Writes each finished batch to parquet, and at the end ``results.json``; prints the table.

    After a kill, rerun the same command: it finds its folder and asks only what is left.

    Args:
        folder: to write in; by default ``evaluations/<model>-<hash of the settings behind it>``.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self._store: EvaluationStore | None = None
        self._identity: dict[str, Any] = {}
        self._received = False
        self._lock: Lock | None = None

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Load what an interrupted evaluation has finished.

        Raises:
            EnvironmentFailure: on all processes, when another evaluation writes into the folder.
        """
        # Replaces Lightning's handler, which may call a collective at any moment.
        signal.signal(signal.SIGTERM, self._take_note)
        self._received = False
        identity = self._identity = _identity(trainer, pl_module)
        folder = Path(self.folder or Path("evaluations") / _name(trainer, pl_module, identity))
        lock = self._lock = Lock(folder / ".lock", f"report.folder: the folder {str(folder)!r}")
        on_first(trainer, lock.take)
        self._store = EvaluationStore(folder, identity, write=trainer.is_global_zero)
        # Otherwise one process would count a question as finished while another is about to ask it.
        trainer.strategy.barrier()
        for dataset in _datasets(trainer):
            found = self._store.load(dataset.name, pl_module.evaluation.rollouts)
            pl_module.evaluator.known[dataset.name] = found
            if found and trainer.is_global_zero:
                _say(f"{dataset.name}: {len(found)} of {len(dataset)} questions are finished")
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
            _say(f"stopped; finished questions are in {self._store.folder}; rerun to resume")
            raise SystemExit(SIGTERM_STATUS)

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        self._received = True

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write and print the results."""
        assert self._store is not None
        pl_module.evaluator.known.clear()
        if not trainer.is_global_zero:
            return
        evaluator = pl_module.evaluator
        benchmarks = {
            dataset.name: benchmark_results(
                evaluator.settings,
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
        write_json(self._store.folder / RESULTS, results)
        console = Console()
        width = None if console.is_terminal else WIDTH
        Console(width=width).print(results_table(results))
        _say(f"results: {self._store.folder / RESULTS}")

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
    loaders: Any = trainer.test_dataloaders
    return [loader.dataset for loader in (loaders if isinstance(loaders, list) else [loaders])]


def _identity(trainer: Trainer, pl_module: Any) -> dict[str, Any]:
    """What the completions and their grades depend on, ready for JSON."""
    settings = pl_module.evaluation
    graded = {k: v for k, v in vars(pl_module.verifier).items() if not k.startswith("_")}
    facts = {
        "weights": fingerprint_model(pl_module.policy),
        "template": fingerprint_template(pl_module.prompts),
        "engine": type(pl_module.engine).__name__,
        "verifier": {"class": type(pl_module.verifier).__name__, **graded},
        "questions": {dataset.name: dataset.fingerprint for dataset in _datasets(trainer)},
        "rollouts": settings.rollouts,
        "sampling": asdict(settings.sampling),
        "seed": pl_module.seed,
        "dtype": f"{pl_module.dtype_name}, {trainer.precision}",
    }
    # In the form that a file holds; a plug-in's own objects are reduced to their class.
    return json.loads(json.dumps(facts, default=lambda thing: type(thing).__name__))


def _name(trainer: Trainer, pl_module: Any, identity: dict[str, Any]) -> str:
    digest = hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=4)
    model = Path(pl_module.name.rstrip("/")).name
    step = f"-step={pl_module.rollout_step}" if trainer.ckpt_path else ""
    return f"{model}{step}-{digest.hexdigest()}"


def _say(line: str) -> None:
    Console().print(line, markup=False, highlight=False, soft_wrap=True)
