"""Every logger gives a run a folder of its own, and --ckpt_path=last finds the right run."""

from pathlib import Path

import pytest
from helpers import write_checkpoint
from jsonargparse import Namespace
from lab import Lab
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from plants import OneForAll
from processes import wait

from fgexpo.cli.own_folder import OwnFolder, own_folder
from fgexpo.files import run_folder
from fgexpo.robustness.resume import find_last

MADE = {"TensorBoardLogger": TensorBoardLogger, "CSVLogger": CSVLogger, "OneForAll": OneForAll}
LOGGERS = {
    "none": False,
    "default": True,
    "unset": None,
    "tensorboard": [("TensorBoardLogger", {"save_dir": "R", "name": "run", "version": None})],
    "csv": [("CSVLogger", {"save_dir": "R", "name": "run", "version": None})],
    "wandb": [("OneForAll", {"save_dir": "R", "name": "run"})],
    "wandb without a name": [("OneForAll", {"save_dir": "R"})],
    "wandb first": [
        ("OneForAll", {"save_dir": "W"}),
        ("TensorBoardLogger", {"save_dir": "R", "name": "run", "version": None}),
    ],
    "both": [
        ("TensorBoardLogger", {"save_dir": "R", "name": "run", "version": None}),
        ("CSVLogger", {"save_dir": "R", "name": "run", "version": None}),
    ],
}


def configuration(spec):
    if isinstance(spec, list):
        spec = [
            Namespace(class_path=kind, init_args=Namespace(**options)) for kind, options in spec
        ]
    return Namespace(trainer=Namespace(logger=spec, default_root_dir=None), checkpoint=None)


def make_trainer(config):
    """A trainer as the command line makes it of a configuration."""
    logger = config.trainer.logger
    if isinstance(logger, Namespace):
        logger = [logger]
    if isinstance(logger, list):
        logger = [MADE[spec.class_path.split(".")[-1]](**spec.init_args) for spec in logger]
    return Trainer(logger=logger, accelerator="cpu", enable_progress_bar=False)


@pytest.mark.parametrize("kind", LOGGERS)
def test_two_runs_never_share_a_folder_and_last_goes_on_in_the_newest(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    config, folders = configuration(LOGGERS[kind]), []
    before = config.clone()
    for number in (1, 2):
        assert (find_last(config) is None) == (number == 1)
        with own_folder(config, None) as own:
            trainer = make_trainer(config)
            own.settle(trainer)
        folders.append(run_folder(trainer))
        assert run_folder(trainer) == folders[-1] and folders[-1].is_dir()
        (folders[-1] / "checkpoints").mkdir()
        saved = write_checkpoint(folders[-1] / "checkpoints", 3, age=number, number=number)
    assert folders[0] != folders[1] and Path() not in folders
    found = find_last(config)
    assert found is not None and found.samefile(saved)
    with own_folder(config, found) as own:
        trainer = make_trainer(config)
        own.settle(trainer)
    # CSV's logger would delete the rows that it finds.
    assert (run_folder(trainer).resolve() == folders[1].resolve()) == (kind != "csv")
    # Written down as it came: used again, it must not name this folder.
    assert config == before


def test_last_does_not_take_another_runs_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "other"):
        config = configuration([("OneForAll", {"save_dir": "R", "name": name})])
        assert find_last(config) is None
        with own_folder(config, None) as own:
            trainer = make_trainer(config)
            own.settle(trainer)
        folder = run_folder(trainer) / "checkpoints"
        folder.mkdir()
        write_checkpoint(folder, 3, age=0, number=1)
        assert find_last(config).parent.samefile(folder)


def test_a_refused_run_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for spec in (LOGGERS["tensorboard"], LOGGERS["wandb"], False):
        with pytest.raises(ZeroDivisionError), own_folder(configuration(spec), None):
            1 / 0  # noqa: B018
    assert not list(tmp_path.rglob("version_*"))


def test_a_folder_with_work_in_it_keeps_its_configuration(tmp_path):
    run = tmp_path / "x" / "version_0"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    own = OwnFolder(claimed=[run, run.parent])
    (run / "checkpoints" / "last.ckpt").touch()
    own.give_back()
    assert (run / "config.yaml").exists() and (run / "checkpoints" / "last.ckpt").exists()
    (run / "checkpoints" / "last.ckpt").unlink()
    own.give_back()
    assert not run.parent.exists()


@pytest.mark.slow  # four runs of the command line
@pytest.mark.parametrize("kind", ["none", "wandb"])
def test_a_second_run_leaves_the_first_ones_files_alone(tmp_path, kind):
    lab = Lab(tmp_path, steps=3)
    arguments = [part for part in lab.arguments("x") if "ckpt_path" not in part]
    arguments = [part for part in arguments if "trainer.logger" not in part]
    arguments += ["--trainer.logger=false", f"--trainer.default_root_dir={tmp_path}"]
    if kind == "wandb":
        arguments[-2:] = ["--trainer.logger=plants.OneForAll"]
        arguments.append(f"--trainer.logger.save_dir={tmp_path / 'runs'}")
    # The logger's name is that of configs/tiny.yaml.
    runs = tmp_path / "runs" / ("tiny" if kind == "wandb" else "")
    before = {}
    for number in range(2):
        steps = f"--steps={3 + number}"
        assert wait([lab.start([*arguments, steps], f"run-{number}")]) == [0]
        mine = runs / f"version_{number}"
        assert all(path.read_bytes() == content for path, content in before.items())
        names = sorted(path.name for path in (mine / "checkpoints").iterdir())
        assert names[0] == "last.ckpt" and len(names) == 3
        assert f"steps: {3 + number}" in (mine / "config.yaml").read_text()
        before |= {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    assert wait([lab.start([*arguments, "--steps=5", "--ckpt_path=last"], "again")]) == [0]
    assert (runs / "version_1/checkpoints/step=000005.ckpt").is_file()
    assert not (runs / "version_2").exists()
