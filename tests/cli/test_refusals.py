"""Bad arguments, settings and configurations: one sentence that names them, and no work."""

import os
from pathlib import Path

import pytest
import torch
from refusals import BOMB, refused, write_bad

ROOT = Path(__file__).parents[2]

ARGUMENTS = [
    (["fitt"], "'fitt'"),
    (["fit", "--bogus=1"], "--bogus: no setting is named 'bogus'", "fgexpo options"),
    (["fit", "--config"], "config"),
    (["compare"], "a, b"),
    (["compare", "a", "b", "c"], "there is no place for 'c'"),
    (["export"], "ckpt_path"),
    (["export", "--ckpt_path=nowhere.ckpt", "--out=x"], "nowhere.ckpt"),
    (["study"], "study"),
    (["study", "x.yaml", "--jobs=many"], "--jobs: expected a whole number, got 'many'"),
    (["study", "x.yaml", "--jobs=0"], "--jobs must be at least 1"),
    (["plan", "--gpus=many"], "--gpus", "many"),
    (["plan", "--config=tiny", "--gpu-memory=0"], "--gpu-memory must be positive"),
    (["profile", "--config=tiny", "--rollouts=-1"], "--rollouts must be at least 1, got -1"),
    (["profile", "--config=tiny", "--questions=0"], "--questions must be at least 1, got 0"),
    (["profile", "--config=tiny", "--out=rates.txt"], "--out: expected a .json file"),
    (["profile", "--config=tiny", f"--out={__file__}/r.json"], "--out: ", "is a file"),
]


@pytest.mark.parametrize("row", ARGUMENTS, ids=lambda row: " ".join(row[0]))
def test_arguments_are_refused_without_a_page_of_usage(capsys, row):
    arguments, *words = row
    refused(arguments, capsys, *words)


TINY = ["--config", str(ROOT / "configs/tiny.yaml"), "--prepare=null"]
SETTINGS = [
    (
        "--trainer.gradient_clip_val=x",
        "trainer.gradient_clip_val: expected a number or null",
        "'x'",
    ),
    ("--akl.rho=Tan", "akl.rho: ", "Tan"),
    ("--akl.rhoo=Tanh", "--akl.rhoo: ", "did you mean rho?"),
    ("--model=Gone", "model: ", "Gone"),
    ("--trainer.precision=17", "trainer.precision: ", "17"),
    ("--data.train.split=train", "data.train.split: expected 'held_out'", "train"),
    ("--model.rewards=[os.system]", "model.rewards[0]: ", "os.system"),
    ("--data.val={../x: TinyArithmetic}", "data.val: '../x' cannot be the name of a set"),
    ("--data.curriculum.std=0", "data.curriculum.std must be above 0"),
    ("--data.curriculum.mean=.inf", "data.curriculum.mean must be finite"),
    ("--seed_everything=-5", "seed_everything must be between 0 and 4294967295"),
    ("--trainer.logger=CometLogger", "comet", "pip install"),
]


# Each builds the whole parser of `fit`, about half a second; a few stand for the others.
FEW = ("gradient_clip_val", "=Tan", "data.val", "CometLogger")
MORE = ("utf16", "list", "folder", "missing")
SLOW = pytest.mark.slow
COMMANDS = ("validate", "test", "predict")
ROWS = [
    pytest.param(row, id=row[0], marks=[] if any(few in row[0] for few in FEW) else SLOW)
    for row in SETTINGS
]


@pytest.mark.parametrize("row", ROWS)
def test_fit_names_the_setting(model_folder, tmp_path, capsys, row):
    flag, *words = row
    there = [f"--model.name={model_folder}", f"--trainer.logger.save_dir={tmp_path}"]
    there = [] if "logger" in flag else there
    refused(["fit", *TINY, *there, flag], capsys, *words)


@pytest.mark.parametrize(
    "kind", ["binary", "deep", *[pytest.param(kind, marks=pytest.mark.slow) for kind in MORE]]
)
def test_fit_and_plan_refuse_a_bad_config(tmp_path, capsys, kind):
    path = write_bad(tmp_path, kind, "x.yaml")
    for command in ("fit", "plan"):
        refused([command, "--config", path], capsys, "--config")


def test_a_bomb_of_anchors_is_no_config(tmp_path, capsys):
    (tmp_path / "x.yaml").write_text(BOMB)
    refused(["fit", "--config", tmp_path / "x.yaml"], capsys, "more than 200,000 values")


def test_a_vanished_folder_is_told(tmp_path, capsys, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    os.rmdir(gone)
    for command in (["compare", "a.json", "b.json"], ["fit", *TINY], ["study", "x.yaml"]):
        refused(command, capsys, "the current folder was deleted", status=1)


@pytest.mark.parametrize("command", ["fit", *(pytest.param(c, marks=SLOW) for c in COMMANDS)])
def test_a_torn_checkpoint_is_refused_before_anything_opens_it(
    model_folder, tmp_path, capsys, command
):
    path = tmp_path / "step=000001.ckpt"
    torch.save({"fgexpo": {}, "state_dict": {"w": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:-500])
    arguments = [command, *TINY, f"--model.name={model_folder}", f"--ckpt_path={path}"]
    refused(arguments, capsys, f"--ckpt_path: '{path}' is incomplete", "its end is missing")
