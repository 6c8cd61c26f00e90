"""A run in MLflow that a resumed run continues, and its panels."""

import csv
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any

import numpy as np
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from ..errors import EnvironmentFailure
from .fresh import fresh
from .ids import keep_id, kept_id, need, own_folder_of
from .text_table import Table

KIND = "mlflow"
STORE = "mlruns"
# A setting's longest text in MLflow.
LONGEST = 6000
LONGEST_ANSWER = 200


class MLflowRun(MLFlowLogger):
    """Logs to MLflow; a resumed run continues the same one.

    Without a ``tracking_uri`` or ``MLFLOW_TRACKING_URI``, all runs share the store
    ``save_dir/mlruns``, since MLflow compares the runs of one store.

    Args:
        name: of the folder that holds the run's starts, and of the experiment.
        save_dir: where the folders of all runs are.
        version: the run's own folder, below those; the next free one by default.
        folder: the run's folder in full, instead of these three.
        resume: continue the run whose id the folder keeps.
        experiment_name: of MLflow; the name by default.
        run_name: of MLflow; that of the run's folder by default.
        tracking_uri: of the server or store.
        run_id: of MLflow; a new one by default, or the one that the folder keeps.
    """

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | Path = "runs",
        version: int | str | None = None,
        folder: str | Path | None = None,
        resume: bool = True,
        experiment_name: str | None = None,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        run_id: str | None = None,
        **settings: Any,
    ) -> None:
        need(KIND, type(self).__name__)
        self.folder = own_folder_of(save_dir, name, version, folder)
        self.resume = resume
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        uri = uri or (Path(save_dir) / STORE).resolve().as_uri()
        if "://" not in uri or uri.startswith("file:"):
            # MLflow 3.13 and later refuse a folder as a store without it.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        # It would report the use of its functions over the network.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        super().__init__(
            experiment_name=experiment_name or name or "fgexpo",
            run_name=run_name or (None if self.folder is None else self.folder.name),
            tracking_uri=uri,
            run_id=run_id,
            **settings,
        )
        self._resumed = False
        self._steps: dict[str, int | None] = {}
        self._images: set[str] = set()

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """MLflow's client; the run is begun or continued by asking for it.

        Raises:
            EnvironmentFailure: when it cannot begin, as when the server does not answer.
        """
        if not self._initialized:
            self._begin()
        return self._mlflow_client

    def _begin(self) -> None:
        if self._run_id is None and self.resume:
            self._run_id = kept_id(self.folder, KIND)
        self._resumed = self._run_id is not None
        with asked(self):
            if not self._resumed:
                self._find_or_make_experiment()
            client: Any = super().experiment
            if self._resumed:
                client.update_run(self._run_id, status="RUNNING")
                found = client.list_artifacts(self._run_id, "images")
                self._images = {Path(each.path).name.partition("+timestamp")[0] for each in found}
        keep_id(self.folder, KIND, str(self._run_id))
        self._steps.clear()
        rank_zero_info(
            f"MLflow: run {self._run_id} of experiment {self._experiment_name!r} in "
            f"{self._tracking_uri}"
        )

    def _find_or_make_experiment(self) -> None:
        """Make the experiment, unless there is one: Lightning would warn that there is none."""
        from mlflow.exceptions import MlflowException

        client = self._mlflow_client
        if client.get_experiment_by_name(self._experiment_name) is None:
            try:
                client.create_experiment(self._experiment_name, self._artifact_location)
            except MlflowException:  # another run that starts now may have made it
                if client.get_experiment_by_name(self._experiment_name) is None:
                    raise

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log scalars under MLflow's spelling of their tags."""
        from mlflow.entities import Metric

        client: Any = self.experiment
        join = f"{self._prefix}{self.LOGGER_JOIN_CHAR}" if self._prefix else ""
        spelled = {metric_name(join + tag): float(value) for tag, value in metrics.items()}
        now = int(time() * 1000)
        with asked(self):
            new = fresh(spelled, step, self._last_step)
            batch = [Metric(name, value, now, step or 0) for name, value in new.items()]
            if batch:
                client.log_batch(self._run_id, metrics=batch, **self._log_batch_kwargs)

    def _last_step(self, tag: str) -> int | None:
        """Of what earlier starts of this run have logged under a tag."""
        if not self._resumed:
            return None
        if tag not in self._steps:
            found = self._mlflow_client.get_metric_history(str(self._run_id), tag)
            self._steps[tag] = max((metric.step for metric in found), default=None)
        return self._steps[tag]

    def has_image(self, tag: str, step: int) -> bool:
        """Whether an earlier start of this run has logged this picture."""
        return f"{tag.replace('/', '~')}+step+{step}" in self._images

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Mark the run as finished; as killed or failed when it was cut off."""
        if status == "failed" and isinstance(sys.exc_info()[1], SystemExit | KeyboardInterrupt):
            status = "KILLED"
        with asked(self):
            super().finalize(status)


@contextmanager
def asked(logger: MLFlowLogger) -> Iterator[None]:
    """Name the server or store in what it answers to a call in this block.

    Raises:
        EnvironmentFailure: when it refuses, or does not answer.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException  # of a server that takes no files

    try:
        yield
    except (MlflowException, RequestException) as error:
        text = " ".join(str(error).split())[:LONGEST_ANSWER]
        raise EnvironmentFailure(
            f"trainer.logger: MLflow at {logger._tracking_uri!r} failed ({text}); rerun with "
            "--ckpt_path=last to go on once it works"
        ) from error


class MLflowPanelWriter:
    """Writes images and tables as artifacts; MLflow has no histograms."""

    def __init__(self, logger: MLFlowLogger) -> None:
        self.logger = logger

    @property
    def place(self) -> str:
        """The run's id."""
        return f"{KIND}:{self.logger.run_id}"

    def histogram(self, tag: str, values: Any, edges: np.ndarray, step: int) -> None:
        """Write nothing: MLflow cannot show one."""

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Write a picture, which MLflow shows with a slider over the steps."""
        tag, logger = spelling(tag), self.logger
        with asked(logger):
            client = logger.experiment
            if not (isinstance(logger, MLflowRun) and logger.has_image(tag, step)):
                client.log_image(str(logger.run_id), pixels, key=tag, step=step)

    def table(self, tag: str, table: Table, step: int) -> None:
        """Write a CSV file, which MLflow shows as a table."""
        text = io.StringIO()
        csv.writer(text).writerows(table.flat())
        path = f"{spelling(tag)}/step={step:06d}.csv"
        with asked(self.logger):
            self.logger.experiment.log_text(str(self.logger.run_id), text.getvalue(), path)

    def settings(
        self, values: Mapping[str, Any], scores: Sequence[str], first: Sequence[str]
    ) -> None:
        """Write the run's settings, and its folder as a tag; MLflow cannot change one later."""
        from mlflow.entities import Param

        spelled = {spelling(tag): str(value)[:LONGEST] for tag, value in values.items()}
        folder = getattr(self.logger, "folder", None)
        with asked(self.logger):
            client, run_id = self.logger.experiment, str(self.logger.run_id)
            known = client.get_run(run_id).data.params
            new = [Param(tag, value) for tag, value in spelled.items() if tag not in known]
            client.log_batch(run_id, params=new)
            if folder is not None:
                client.set_tag(run_id, "folder", str(folder))


def metric_name(tag: str) -> str:
    """A scalar's name in MLflow; ``reward`` is ``train/reward`` there.

    A store of files keeps ``reward`` as a file, and ``reward/timeout_frac`` in a folder of that
    name. So no scalar is left outside of all folders.
    """
    return spelling(tag if "/" in tag else f"train/{tag}")


def spelling(tag: str) -> str:
    """A tag in the letters that MLflow allows: ``pass@8`` is ``pass_at_8`` there."""
    return re.sub(r"[^\w/. :-]", "_", tag.replace("@", "_at_"), flags=re.ASCII)
