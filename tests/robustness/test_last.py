"""Where ``--ckpt_path=last`` looks."""

import fcntl

import pytest
from helpers import write_checkpoint
from jsonargparse import Namespace
from lightning.pytorch import Trainer, loggers

from fgexpo.files import run_folder
from fgexpo.robustness import resume
from fgexpo.robustness.resume import find_last, lock_of, stay_in_folder


def configuration(tmp_path, dirpath=None):
    logger = Namespace(
        class_path="lightning.pytorch.loggers.TensorBoardLogger",
        init_args=Namespace(save_dir=str(tmp_path), name="run", version=None),
    )
    saver = Namespace(class_path="RolloutCheckpoint", init_args=Namespace(dirpath=dirpath))
    return Namespace(trainer=Namespace(logger=logger), checkpoint=saver)


def test_last_is_looked_for_in_all_versions_of_the_run(tmp_path):
    config = configuration(tmp_path)
    assert find_last(config) is None
    for version, age in ((0, 10), (1, 20)):
        folder = tmp_path / "run" / f"version_{version}" / "checkpoints"
        folder.mkdir(parents=True)
        write_checkpoint(folder, 5, age)
    found = find_last(config)
    assert found is not None and found.parts[-3] == "version_0"
    stay_in_folder(config, found)
    assert config.trainer.logger.init_args.version == "version_0"


LOGGERS = [
    None,
    True,
    False,
    ("TensorBoardLogger", {"save_dir": "R", "name": "run"}),
    ("TensorBoardLogger", {"save_dir": "R", "name": None}),
    ("TensorBoardLogger", {"save_dir": "R", "name": ""}),
    ("TensorBoardLogger", {"save_dir": "R", "name": "run", "version": 3}),
    ("TensorBoardLogger", {"save_dir": "R", "name": "run", "version": "mine", "sub_dir": "tb"}),
    ("CSVLogger", {"save_dir": "R", "name": "run"}),
]


@pytest.mark.parametrize("spec", LOGGERS, ids=str)
def test_last_is_looked_for_where_a_trainer_with_that_logger_saves(tmp_path, monkeypatch, spec):
    monkeypatch.chdir(tmp_path)
    made = config = spec
    if isinstance(spec, tuple):
        kind, settings = spec
        made = getattr(loggers, kind)(**settings)
        config = Namespace(class_path=kind, init_args=Namespace(**settings))
    trainer = Trainer(logger=made, accelerator="cpu", default_root_dir=str(tmp_path))
    folder = run_folder(trainer) / "checkpoints"
    folder.mkdir(parents=True)
    path = write_checkpoint(folder, 5, age=1)
    stranger = tmp_path / "R" / "stranger" / "version_0" / "checkpoints"
    stranger.mkdir(parents=True)
    write_checkpoint(stranger, 9, age=0)
    found = find_last(
        Namespace(trainer=Namespace(logger=config, default_root_dir=str(tmp_path)), checkpoint=None)
    )
    assert found is not None and found.resolve() == path.resolve()
    if isinstance(spec, tuple):
        several = Namespace(logger=[config], default_root_dir=str(tmp_path))
        assert find_last(Namespace(trainer=several, checkpoint=None)) == found


def test_another_version_is_not_last(tmp_path):
    config = configuration(tmp_path)
    folder = tmp_path / "run" / "seed1" / "checkpoints"
    folder.mkdir(parents=True)
    write_checkpoint(folder, 5, age=1)
    assert find_last(config) is not None
    config.trainer.logger.init_args.version = "seed2"
    assert find_last(config) is None


def test_a_logger_that_does_not_say_where_needs_a_folder():
    trainer = Namespace(logger=Namespace(class_path="my.Logger", init_args=Namespace()))
    with pytest.raises(ValueError, match=r"my\.Logger.*set --checkpoint\.dirpath"):
        find_last(Namespace(trainer=trainer, checkpoint=None))


def test_last_is_looked_for_where_the_checkpoints_go(tmp_path):
    path = write_checkpoint(tmp_path, 5, age=1)
    config = configuration(tmp_path / "runs", dirpath=str(tmp_path))
    assert find_last(config) == path
    stay_in_folder(config, path)
    assert config.trainer.logger.init_args.version is None


def test_last_is_brought_back_when_a_kill_has_left_it_without_its_name(tmp_path, monkeypatch):
    folder = tmp_path / "run" / "version_0" / "checkpoints"
    folder.mkdir(parents=True)
    path, config = write_checkpoint(folder, 5, age=1), configuration(tmp_path)
    hidden = path.rename(folder / f".{path.name}.7-00000001.old")
    monkeypatch.setattr(resume, "_PATIENCE_SECONDS", 0.2)
    with lock_of(folder).file.open("w") as held:  # by a run that trains
        fcntl.flock(held, fcntl.LOCK_EX)
        assert find_last(config) is None and hidden.exists()
    assert find_last(config) == path
    assert [found.name for found in folder.iterdir()] == [path.name]
