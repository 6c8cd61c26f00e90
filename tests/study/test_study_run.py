"""Whole studies on models that know nothing: killed, resumed, gathered, reported; as jobs too.

They are slow because each run is a training run with its validations.
"""

import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from processes import command_line, start, wait

from fgexpo.study.checks import Checked
from fgexpo.study.read_spec import read_study
from fgexpo.study.report import write_report
from fgexpo.study.results import read_results
from fgexpo.study.run import run_study
from fgexpo.study.slurm import SlurmLauncher
from fgexpo.study.spec import Slurm
from fgexpo.study.table import CORRECT

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STUDY = """
title: A study of nothing
folder: {folder}
configs: [{root}/configs/tiny.yaml]
rollouts: 128
bases:
  config: {root}/configs/tiny_base.yaml
  seeds: [0]
  settings:
    trainer.max_steps: 2
    trainer.val_check_interval: 2
    export.low: 0.0
    model.evaluation.rollouts: 1
    model.evaluation.ks: [1]
    model.evaluation.sampling.max_new_tokens: 4
    data.val.tiny.init_args.per_cell: 1
    data.val.stop.init_args.per_cell: 1
seeds: [0]
settings:
  model.mini_batch_questions: 4
  model.sampling.max_new_tokens: 8
  model.evaluation.sampling.max_new_tokens: 8
  model.evaluation.rollouts: 2
  model.evaluation.ks: [1, 2]
  data.questions_per_step: 8
  data.val.tiny.init_args.per_cell: 1
  data.val.stop: {{class_path: TinyArithmetic, init_args: {{split: validation, per_cell: 1}}}}
  trainer.val_check_interval: 1
  checkpoint.every_steps: 1
tune: {{setting: model.warmup_steps, values: [1, 2], seeds: [9], benchmark: stop}}
target: 0.5
arms:
  akl: {{settings: {{data.curriculum: Uniform}}, against: [matched]}}
  matched: {{settings: {{akl: null, data.curriculum: Uniform}}, match_kl: akl}}
"""


def test_a_study_from_a_kill_to_its_report(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    folder, path = tmp_path / "out", tmp_path / "study.yaml"
    path.write_text(STUDY.format(folder=folder, root=ROOT))
    command = ["study", str(path), "--jobs=2"]
    first = start(command_line, command, log=tmp_path / "first")
    while first.is_alive() and not (early := list(folder.glob("runs/*/finished.json"))):
        time.sleep(0.1)
    assert first.is_alive(), (tmp_path / "first").read_text()
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    made = {path: path.stat().st_mtime_ns for path in early}

    again = start(command_line, command, log=tmp_path / "again")
    assert wait([again], timeout=300) == [0], (tmp_path / "again").read_text()
    said = (tmp_path / "again").read_text()
    assert "are already finished" in said and "matched runs: 1/1 matched-base=0-seed=0" in said
    assert "base=0 started, log " in (tmp_path / "first").read_text()
    assert {path: path.stat().st_mtime_ns for path in early} == made

    # Nothing is ever right, so AKL's factor was (tanh(0) + 1) / 2 in every step.
    arguments = (folder / "runs" / "matched-base=0-seed=0" / "arguments.txt").read_text()
    assert "--model.kl_coef=0.01\n" in arguments
    # All values of the tuned setting are as good, so the first is taken.
    assert "--model.warmup_steps=1\n" in arguments

    table = pd.read_parquet(folder / "results.parquet")
    assert set(zip(table["arm"], table["seed"], strict=True)) == {
        ("akl", 0),
        ("matched", 0),
    }
    (model,) = set(table["model"])
    assert model.startswith(f"{folder}/bases/seed=0 ")
    akl = table[(table["arm"] == "akl") & (table["seed"] == 0)]
    scored = akl[akl["tag"] == CORRECT]
    # 24 questions before the first and after each of two steps of 8 x 8 rollouts.
    assert len(scored) == 3 * 24 and set(scored["n"]) == {2}
    assert sorted(set(zip(scored["step"], scored["rollouts"], scored["updates"], strict=True))) == [
        (0, 0, 0),
        (1, 64, 2),
        (2, 128, 4),
    ]
    beta = akl[akl["tag"] == "akl/kl_coef"]["value"]
    assert len(beta) == 2 and beta.tolist() == pytest.approx([0.01, 0.01])
    results = read_results(str(folder / "results.parquet"))
    assert results.arms["", "akl"].final(2).shape == (1, 24)
    report = (folder / "report.md").read_text()
    assert "**None of the 2 differences is clear.**" in report
    assert "| akl - matched | +0.000 [+0.000, +0.000] |" in report
    for figure in ("differences", "curves", "tradeoff", "traces"):
        # A blank picture has one colour; lettering and curves have dozens.
        with Image.open(folder / f"report-{figure}.png") as picture:
            assert len(picture.convert("RGB").getcolors(2**24) or []) > 20
        assert f"report-{figure}.png" in report

    # From the table alone, without any run.
    elsewhere = tmp_path / "docs" / "results.md"
    alone = ["study", str(path), f"--table={folder / 'results.parquet'}", f"--report={elsewhere}"]
    assert command_line(alone) == 0
    assert elsewhere.with_suffix(".parquet").is_file()
    assert elsewhere.read_text() == report.replace("(report", "(results")
    assert read_study(str(path)).title in report


def test_runs_are_jobs_that_start_from_a_model_that_exists(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    text = STUDY.format(folder=tmp_path / "out", root=ROOT)
    head, _, rest = text.partition("bases:")
    body, _, _ = rest[rest.index("seeds: [0]\nsettings") :].partition("tune:")
    body = body.replace("  data.val.stop: ", "  # ")
    path.write_text(f"{head}bases: {{models: [{model_folder}]}}\n{body}arms: {{grpo: {{}}}}\n")
    study, said = read_study(str(path)), []
    files = {file: file.stat().st_mtime_ns for file in Path(model_folder).iterdir()}
    launcher = SlurmLauncher(Slurm(gpus=0), tmp_path / "jobs", cluster="local", every=0.2)
    table = pd.read_parquet(run_study(study, launcher, Checked(), said.append))
    assert {file: file.stat().st_mtime_ns for file in Path(model_folder).iterdir()} == files
    (model,) = set(table["model"])
    assert model.startswith(f"{model_folder} ")
    seconds = table[(table["tag"] == "accuracy")]["seconds"]
    assert len(seconds) == 2 and seconds.min() > 0
    assert "runs: grpo-base=0-seed=0 started as job " in said[0]
    write_report(study, "study.yaml", str(tmp_path / "out/results.parquet"), "r.md")
    assert "1 base x 1 seed. They start from" in Path("r.md").read_text()
