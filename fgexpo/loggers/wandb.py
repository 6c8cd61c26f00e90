"""A run in Weights & Biases that a resumed run continues, and its panels.

Every call of ``wandb.log`` is a row with a number of its own, which only grows; the rollout step is
a value in it, the x-axis of all charts. So nothing is refused when a resumed run repeats steps, and
what was logged before the kill is not logged again.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from ..errors import EnvironmentFailure
from .fresh import fresh
from .ids import keep_id, kept_id, need, own_folder_of
from .text_table import Table
from .wandb_file import read_rows

KIND = "wandb"
# Lightning's name for the x-axis; its value here is the rollout step.
AXIS = "trainer/global_step"
# Seconds of data that a kill can lose; the package's own are 15.
FLUSH_SECONDS = 0.1


class WandbRun(WandbLogger):
    """Logs to Weights & Biases; a resumed run continues the same one.

    ``WANDB_MODE``, ``WANDB_DIR``, ``WANDB_PROJECT`` and the package's other variables hold.

    Args:
        name: the run's name, also of the folder that holds its starts.
        save_dir: where the folders of all runs are.
        version: the run's own folder, below those; the next free one by default.
        folder: the run's folder in full, instead of these three.
        resume: continue the run whose id the folder keeps.
        project: of Weights & Biases; ``WANDB_PROJECT``, or else "fgexpo".
        id: the run's id there; a new one by default, or the one that the folder keeps.
        offline: write to the folder only, for ``wandb sync``; so does ``WANDB_MODE=offline``.
    """

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | Path = "runs",
        version: int | str | None = None,
        folder: str | Path | None = None,
        resume: bool = True,
        project: str | None = None,
        id: str | None = None,
        offline: bool = False,
        **settings: Any,
    ) -> None:
        need(KIND, type(self).__name__)
        project = project or os.environ.get("WANDB_PROJECT") or "fgexpo"
        super().__init__(
            name=name, save_dir=save_dir, project=project, id=id, offline=offline, **settings
        )
        self.folder = own_folder_of(save_dir, name, version, folder)
        self.resume = resume
        self._row = 0
        self._last: dict[str, int] = {}

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The package's run, which is begun or continued by asking for it.

        Raises:
            EnvironmentFailure: when it cannot begin, as without a login.
        """
        if self._experiment is None:
            self._begin()
        return self._experiment

    def _begin(self) -> None:
        import wandb

        place = os.environ.get("WANDB_DIR") or self.folder or self._save_dir or "."
        Path(place).mkdir(parents=True, exist_ok=True)
        init = self._wandb_init
        init["dir"] = str(place)
        if init.get("id") is None and self.resume:
            init["id"] = kept_id(self.folder, KIND)
        if self._offline:
            init["mode"] = "offline"  # the package reads WANDB_MODE only once in a process
        init["settings"] = _quiet(wandb.Settings, init.get("settings"))
        if init.get("anonymous") is None:
            init.pop("anonymous", None)  # the package warns about it
        try:
            run: Any = super().experiment
        except wandb.Error as error:
            raise EnvironmentFailure(
                f"trainer.logger: Weights & Biases could not begin a run ({error}); run "
                "`wandb login`, or set WANDB_MODE=offline to keep the run on this machine"
            ) from error
        init["id"] = self._id = run.id
        keep_id(self.folder, KIND, run.id)
        self._look_back(run)
        rank_zero_info(_where(run))

    def _look_back(self, run: Any) -> None:
        """Find what earlier starts of this run have logged."""
        rows = []
        if not run.disabled:
            own = Path(run.settings.sync_dir)
            files = own.parent.glob(f"*run-*-{run.id}/run-{run.id}.wandb")
            rows = read_rows(sorted(path for path in files if path.parent != own), AXIS)
        if not run.offline:  # the server knows which rows it has
            rows = [row for row in rows if row.number < run.step]
        self._row = max([run.step, *(row.number + 1 for row in rows)])
        self._last = {}
        for row in rows:
            for tag in row.tags if row.step is not None else ():
                self._last[tag] = max(self._last.get(tag, -1), row.step or 0)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log one row: scalars, or the package's objects."""
        run = self.experiment
        join = f"{self._prefix}{self.LOGGER_JOIN_CHAR}" if self._prefix else ""
        new = fresh({join + tag: value for tag, value in metrics.items()}, step, self._last.get)
        if new:
            axis = {} if step is None else {AXIS: step}
            run.log({**new, **axis}, step=self._row, commit=True)
            self._row += 1

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the package's run: as finished, or as failed when the run was cut off."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            # A later `test` of the same trainer continues it.
            self._experiment, self.resume = None, True


class WandbPanelWriter:
    """Writes the package's histograms, images and tables."""

    def __init__(self, logger: WandbLogger) -> None:
        self.logger = logger

    @property
    def place(self) -> str:
        """The run's id."""
        return f"{KIND}:{self.logger.experiment.id}"

    def histogram(self, tag: str, values: Any, edges: np.ndarray, step: int) -> None:
        """Write a histogram with these bins."""
        import wandb

        found = np.histogram(np.asarray(values), edges)
        self.logger.log_metrics({tag: wandb.Histogram(np_histogram=found)}, step)  # pyright: ignore

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Write a picture."""
        import wandb

        self.logger.log_metrics({tag: wandb.Image(pixels)}, step)  # pyright: ignore

    def table(self, tag: str, table: Table, step: int) -> None:
        """Write a table, which the package shows for the last step and keeps for all."""
        import wandb

        head, *rows = table.flat()
        self.logger.log_metrics({tag: wandb.Table(head, rows)}, step)  # pyright: ignore

    def settings(
        self, values: Mapping[str, Any], scores: Sequence[str], first: Sequence[str]
    ) -> None:
        """Write the run's settings, and its folder, into its configuration there."""
        folder = getattr(self.logger, "folder", None)
        place = {} if folder is None else {"folder": str(folder)}
        self.logger.experiment.config.update({**values, **place}, allow_val_change=True)


def _quiet(kind: Any, given: Any) -> Any:
    """Settings without the package's banners, unless the user asks for some."""
    wanted: dict[str, Any] = {"x_transaction_log_flush_interval": FLUSH_SECONDS}
    if not {"WANDB_SILENT", "WANDB_QUIET"} & set(os.environ):
        wanted["silent"] = True
    ours = {name: value for name, value in wanted.items() if name in kind.model_fields}
    return given if isinstance(given, kind) else kind(**{**ours, **(given or {})})


def _where(run: Any) -> str:
    if run.disabled:
        return "Weights & Biases: disabled, so nothing is logged there"
    if run.offline:
        starts = Path(os.path.relpath(run.settings.sync_dir)).parent / f"offline-run-*-{run.id}"
        return f"Weights & Biases: offline run {run.id}; upload it by: wandb sync {starts}"
    return f"Weights & Biases: {run.url}"
