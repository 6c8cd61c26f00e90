"""A run's scalars in one CSV file that a resumed run continues, and its panels as files."""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from ..files import whole_file, write_json
from ..outside import reading
from .csv_rows import CSVRows
from .text_table import Table

SETTINGS = "settings.json"


class CSVRun(CSVLogger):
    """Logs to ``metrics.csv`` in the run's folder; a resumed run continues it.

    Args:
        save_dir: where the folders of all runs are.
        name: of the folder that holds the run's starts.
        version: the run's own folder, below those; the next free one by default.
        resume: keep what the folder's file holds.
    """

    def __init__(
        self,
        save_dir: str | Path = "runs",
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        resume: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(save_dir=save_dir, name=name, version=version, **settings)
        self.resume = resume

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The rows, which are read or begun by asking for them."""
        if self._experiment is None:
            self._experiment: Any = CSVRows(Path(self.log_dir), self.resume)
            path = Path(self.log_dir) / SETTINGS
            if not self.resume:
                path.unlink(missing_ok=True)
            elif path.exists():
                write_json(path, {**_read_settings(path), "finished": False})
        return self._experiment

    @rank_zero_only
    def log_hyperparams(self, params: Any = None) -> None:
        """Write settings beside the rows."""
        path = Path(self.log_dir) / SETTINGS
        found = _read_settings(path) if path.exists() else {}
        known = {**found.get("settings", {}), **dict(params or {})}
        write_json(path, {"settings": known, "finished": False})

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left; mark the run as finished unless it was cut off."""
        super().finalize(status)
        path = Path(self.log_dir) / SETTINGS
        if self._experiment is not None and status == "success" and path.exists():
            write_json(path, {**_read_settings(path), "finished": True})


class CSVPanelWriter:
    """Writes pictures and tables as files in the run's folder; there are no histograms."""

    def __init__(self, logger: CSVLogger) -> None:
        self.logger = logger

    @property
    def place(self) -> str:
        """The file of the settings."""
        return os.path.join(self.logger.log_dir, SETTINGS)

    def histogram(self, tag: str, values: Any, edges: np.ndarray, step: int) -> None:
        """Write nothing: the pool's pass-rates are in ``pass_rates.json`` at the run's end."""

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Write a PNG file."""
        from matplotlib.image import imsave

        with whole_file(self._path(tag, step, "png")) as partial:
            imsave(partial, pixels.astype(np.uint8), format="png")

    def table(self, tag: str, table: Table, step: int) -> None:
        """Write a CSV file."""
        with (
            whole_file(self._path(tag, step, "csv")) as partial,
            partial.open("w", newline="") as file,
        ):
            csv.writer(file).writerows(table.flat())

    def settings(
        self, values: Mapping[str, Any], scores: Sequence[str], first: Sequence[str]
    ) -> None:
        """Write ``settings.json``."""
        if isinstance(self.logger, CSVRun):
            self.logger.log_hyperparams(values)

    def _path(self, tag: str, step: int, kind: str) -> Path:
        return Path(self.logger.log_dir) / tag / f"step={step:06d}.{kind}"


def _read_settings(path: Path) -> dict[str, Any]:
    with reading(path, "a run's settings (JSON)"):
        return dict(json.loads(path.read_text()))
