"""Reads back what a run has logged with each logger."""

import csv
import json
from collections import defaultdict
from pathlib import Path

from fgexpo.loggers.wandb import AXIS
from fgexpo.loggers.wandb_file import messages


def wandb_records(folder):
    """The records of every start of a run in Weights & Biases, in order."""
    from wandb.proto.wandb_internal_pb2 import Record

    files = sorted(Path(folder).glob("wandb/offline-run-*/run-*.wandb"))
    return [[Record.FromString(found) for found in messages(file.read_bytes())] for file in files]


def wandb_rows(folder):
    """Every row of every start: what was logged, with its number."""
    starts = wandb_records(folder)
    rows = [record.history for start in starts for record in start if record.HasField("history")]
    return [_values(row) for row in rows]


def _values(row):
    found = {}
    for item in row.item:
        tag, *part = [item.key] if item.key else item.nested_key
        value = json.loads(item.value_json)
        if part:
            found.setdefault(tag, {})["/".join(part)] = value
        else:
            found[tag] = value
    return found


def wandb_scalars(folder):
    """Steps and values by tag, in the order written."""
    found = defaultdict(list)
    for row in wandb_rows(folder):
        for tag, value in row.items():
            if not isinstance(value, dict) and tag[0] != "_" and tag != AXIS:
                found[tag].append((row[AXIS], value))
    return dict(found)


def wandb_objects(folder):
    """Steps by tag of what is no scalar, with the kind of the package's object."""
    found = defaultdict(list)
    for row in wandb_rows(folder):
        for tag, value in row.items():
            if isinstance(value, dict) and tag[0] != "_":
                found[tag, value.get("_type", "")].append(row[AXIS])
    return dict(found)


def wandb_ends(folder):
    """The exit status of every start; None if it was killed."""
    ends = [
        [r.exit.exit_code for r in start if r.HasField("exit")] for start in wandb_records(folder)
    ]
    return [end[0] if end else None for end in ends]


def mlflow_runs(folder):
    """MLflow's client, and all runs of the store beside the run's folder."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient((Path(folder).parent / "mlruns").resolve().as_uri())
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return client, client.search_runs(ids)


def mlflow_scalars(client, run):
    """Steps and values by name, in the order written."""
    return {
        name: [
            (metric.step, metric.value)
            for metric in client.get_metric_history(run.info.run_id, name)
        ]
        for name in run.data.metrics
    }


def csv_scalars(folder):
    """Steps and values by tag, in the order of the file."""
    found = defaultdict(list)
    with (Path(folder) / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for tag, value in row.items():
                if value and tag != "step":
                    found[tag].append((int(row["step"]), float(value)))
    return dict(found)
