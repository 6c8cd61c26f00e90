"""Where a run's scalars and panels go; those that a resumed run continues are here."""

from .csv import CSVRun
from .mlflow import MLflowRun
from .panels import PanelWriter, Table, panel_writers
from .wandb import WandbRun

__all__ = ["CSVRun", "MLflowRun", "PanelWriter", "Table", "WandbRun", "panel_writers"]
