"""`profile` on a tiny untrained model: what it prints and leaves, and the run after it."""

import csv
import json
import os
from pathlib import Path

from near import same
from processes import command_line, start, wait

from fgexpo.evaluation.printed import say

ROOT = Path(__file__).parents[2]
SETTINGS = [
    *(
        "--config",
        str(ROOT / "configs/tiny.yaml"),
        "--prepare=null",
        "--model.verifier=EvenIsRight",
    ),
    *("--data.questions_per_step=4", "--model.mini_batch_questions=2", "--model.group_size=2"),
    *("--data.train.per_cell=1", "--model.sampling.max_new_tokens=8", "--steps=10"),
    # Of a run that is to come: its file is not there yet.
    "--data.warm_start=rates.json",
]
PARTS = ("first", "again", "refused", "other", "fit")


def commands(model_folder, folder):
    """A profile, the same again, two that are refused, and the run that comes after it."""
    os.chdir(folder)
    settings = [*SETTINGS, f"--model.name={model_folder}"]
    profile = ["profile", *settings, "--rollouts=4", "--out=rates.json"]
    Path("mine.json").write_text('{"question": "1 + 1"}')
    own = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    logged = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=.", "--steps=1"]
    logged += ["--trainer.logger.name=runs"]
    statuses = []
    for number, arguments in enumerate(
        (
            profile,
            profile,
            [*profile, "--out=mine.json"],
            [*profile, *own],
            ["fit", *settings, *logged, "--trainer.limit_val_batches=0"],
        )
    ):
        say(f"=== {PARTS[number]}")
        statuses.append(command_line(arguments))
    Path("statuses.json").write_text(json.dumps(statuses))


def test_profile_then_fit(model_folder, tmp_path):
    log = tmp_path / "log"
    process = start(
        commands, model_folder, str(tmp_path), log=log, environment={"FGEXPO_PLUGINS": "helpers"}
    )
    assert wait([process]) == [0], log.read_text()
    said = log.read_text()
    assert json.loads((tmp_path / "statuses.json").read_text()) == [0, 0, 2, 2, 0], said
    first, again, refused, other, _ = (part.partition("\n")[2] for part in said.split("=== ")[1:])
    for words in (
        "train: asked 24 of 24 questions",
        "4 rollouts of each question",
        "family=add",
        "--- cut off: a completion of question",
        "completion tokens: mean",
        "pass-rates: rates.json",
        "seconds a step: ",
        "10 steps: about ",
        "curriculum with these rates: effective sample size",
        "advice: ",
    ):
        assert words in first, first
    assert "train: 24 of 24 questions are finished" in again and "train: asked" not in again
    assert "--out: 'mine.json' exists and holds no pass-rates" in refused
    assert "profile runs on one process, and the trainer has 2" in other

    rates = json.loads((tmp_path / "rates.json").read_text())
    assert len(rates) == 24 and {found["rollouts"] for found in rates.values()} == {4}
    shares = [found["right"] / 4 for found in rates.values()]
    (path,) = tmp_path.glob("profiles/*/profile.json")
    found = json.loads(path.read_text())
    same(found["overall"]["pass@1"]["mean"], sum(shares) / 24)
    assert 0 < found["overall"]["frontier"]["mean"] < 1
    assert len(found["seconds"]["steps"]) == 2

    # The run starts where the profile has ended.
    (metrics,) = tmp_path.glob("runs/version_*/metrics.csv")
    (row,) = [row for row in csv.DictReader(metrics.open()) if row["curriculum/frac_seen"]]
    assert float(row["curriculum/frac_seen"]) == 1
    size = float(row["curriculum/effective_sample_size"])
    same(size, found["seconds"]["effective_sample_size"])
    assert size < 24
    left = {path.name for path in tmp_path.iterdir()} - {"log"}
    assert left == {"runs", "mine.json", "profiles", "rates.json", "statuses.json"}
