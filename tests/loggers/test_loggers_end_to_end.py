"""The command line on two processes, killed and resumed, with every logger but TensorBoard's."""

import time

import pytest
from lab import Lab
from logged import csv_scalars, mlflow_runs, mlflow_scalars, wandb_ends, wandb_rows, wandb_scalars
from processes import wait

from fgexpo.loggers.csv_rows import read_rows
from fgexpo.loggers.mlflow import metric_name

LOGGERS = """
trainer:
  logger:
    - {{class_path: WandbLogger, init_args: {{save_dir: {runs}, name: mine}}}}
    - {{class_path: MLflowRun, init_args: {{save_dir: {runs}, name: mine}}}}
    - {{class_path: CSVLogger, init_args: {{save_dir: {runs}, name: mine}}}}
"""
STEPS = 16


@pytest.mark.slow  # two starts of the command line on two processes
def test_two_processes_log_once_and_a_killed_run_goes_on(tmp_path, monkeypatch):
    for name in ("WANDB_DIR", "WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    lab, runs = Lab(tmp_path, steps=STEPS), tmp_path / "runs"
    (tmp_path / "loggers.yaml").write_text(LOGGERS.format(runs=runs))
    more = [f"--config={tmp_path / 'loggers.yaml'}", "--checkpoint.every_steps=3"]
    options = {
        "devices": 2,
        "more": more,
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
    }
    folder = runs / "mine" / "version_0"

    first = lab.run("first", **options)
    # The step after the first checkpoint is logged, so that the resumed run repeats it.
    while not (folder / "metrics.csv").exists() or 4 not in read_rows(folder / "metrics.csv"):
        first[0].join(0.05)
        assert first[0].is_alive(), (tmp_path / "first.log-0").read_text()
    time.sleep(0.5)  # longer than what a kill may lose in Weights & Biases
    for process in first:
        process.kill()
    wait(first)
    assert wait(lab.run("second", **options)) == [0, 0], (tmp_path / "second.log-0").read_text()

    assert [path.name for path in (runs / "mine").iterdir()] == ["version_0"]
    found = csv_scalars(folder)
    assert [step for step, _ in found["accuracy"]] == list(range(1, STEPS + 1))
    assert wandb_ends(folder) == [None, 0]
    numbers = [row["_step"] for row in wandb_rows(folder)]
    assert numbers == list(range(len(numbers)))
    in_wandb = wandb_scalars(folder)
    client, [run] = mlflow_runs(runs / "mine")
    in_mlflow = mlflow_scalars(client, run)
    for tag, points in found.items():
        steps = [step for step, _ in points]
        assert [step for step, _ in in_mlflow[metric_name(tag)]] == steps, tag
        assert [step for step, _ in in_wandb[tag]] == steps, tag
    said = (tmp_path / "second.log-0").read_text() + (tmp_path / "second.log-1").read_text()
    assert said.count("Weights & Biases: ") == said.count("MLflow: ") == 1
    assert "wandb: " not in said
