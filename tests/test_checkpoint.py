import os
import stat
import time
from types import SimpleNamespace

import pytest
import torch
from helpers import Clock, fit, make_data, make_module, make_trainer
from jsonargparse import Namespace
from lightning.pytorch import Trainer, loggers

from fgexpo.callbacks import RolloutCheckpoint
from fgexpo.checkpoint import (
    AtomicCheckpointIO,
    commit_folder,
    is_complete,
    newest_complete,
    read_checkpoint,
)
from fgexpo.folders import run_folder
from fgexpo.resume import find_last, stay_in_folder


class Unsaveable:
    def __reduce__(self):
        raise OSError("no space left on device")


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "step=000001.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": torch.ones(3)}, path)
    with pytest.raises(OSError, match="no space left"):
        AtomicCheckpointIO().save_checkpoint({"x": torch.zeros(3), "y": Unsaveable()}, path)
    assert torch.equal(torch.load(path)["x"], torch.ones(3))
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_the_file_is_flushed_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    replace = os.replace

    def flushed(descriptor):
        found = os.fstat(descriptor)
        kind = "folder" if stat.S_ISDIR(found.st_mode) else f"file of {found.st_size} bytes"
        calls.append(kind)

    def renamed(source, target):
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": torch.ones(10_000)}, path)
    assert calls == [f"file of {path.stat().st_size} bytes", "rename", "folder"]
    assert path.stat().st_size > 40_000


class Touch:
    """Unpickling it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_loading_runs_no_code(tmp_path):
    path = tmp_path / "evil.ckpt"
    torch.save({"x": Touch(str(tmp_path / "executed"))}, path)
    for load in (AtomicCheckpointIO().load_checkpoint, read_checkpoint):
        with pytest.raises(Exception, match="Weights only load failed"):
            load(path)
    assert not (tmp_path / "executed").exists()


def checkpoint(folder, step, age, spoil=None):
    path = folder / f"step={step:06d}.ckpt"
    AtomicCheckpointIO().save_checkpoint({"fgexpo": {}, "x": torch.arange(1000)}, path)
    content = bytearray(path.read_bytes())
    if spoil == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif spoil == "byte":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif spoil == "empty":
        path.write_bytes(b"")
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


@pytest.mark.parametrize("spoil", ["cut", "byte", "empty"])
def test_the_newest_whole_one_is_found_behind_torn_ones(tmp_path, spoil):
    checkpoint(tmp_path, 1, age=30)
    whole = checkpoint(tmp_path, 2, age=20)
    torn = checkpoint(tmp_path, 3, age=10, spoil=spoil)
    assert newest_complete(tmp_path.glob("step=*")) == (whole, [torn])
    assert newest_complete([torn]) == (None, [torn])
    if spoil != "byte":
        with pytest.raises(ValueError, match="is torn or no checkpoint; --ckpt_path=last"):
            read_checkpoint(torn)


def test_newest_goes_by_time_not_by_step(tmp_path):
    # A run that was resumed from step 5 has an abandoned future.
    checkpoint(tmp_path, 9, age=20)
    newest = checkpoint(tmp_path, 6, age=10)
    assert newest_complete(tmp_path.glob("step=*"))[0] == newest


def test_a_directory_counts_once_its_marker_stands(tmp_path):
    folder = tmp_path / "step=000003.ckpt"
    (folder / "shards").mkdir(parents=True)
    (folder / "shards" / "0.distcp").write_bytes(b"weights")
    assert not is_complete(folder)
    commit_folder(folder)
    assert is_complete(folder)


def saver_of(tmp_path, **options):
    saver = RolloutCheckpoint(**{"every_minutes": None, **options})
    saver.folder = tmp_path
    return saver


def directory_trainer(path_of_save):
    """A strategy that writes a directory, as a sharded one does."""

    def save_checkpoint(path, weights_only):
        path.mkdir()
        (path / "shard").write_text("weights")
        path_of_save.append(path)

    return SimpleNamespace(save_checkpoint=save_checkpoint, is_global_zero=True, world_size=1)


def test_directories_are_committed_pointed_to_and_retained(tmp_path):
    saver, saves = saver_of(tmp_path, every_steps=1, keep=2), []
    for step in (1, 2, 3):
        saver.save(directory_trainer(saves), SimpleNamespace(rollout_step=step))
        time.sleep(0.01)
    assert len(saves) == 3 and all(is_complete(path) for path in saves[1:])
    assert not saves[0].exists()
    assert (tmp_path / "last.ckpt").resolve() == saves[2].resolve()


def test_retention_never_deletes_what_was_just_written(tmp_path):
    # Left by a run that was further: one is whole, one is torn, and both have larger numbers.
    checkpoint(tmp_path, 90, age=20)
    checkpoint(tmp_path, 100, age=10, spoil="cut")
    saver, saves = saver_of(tmp_path, keep=1), []
    saver.save(directory_trainer(saves), SimpleNamespace(rollout_step=60))
    assert sorted(path.name for path in tmp_path.glob("step=*")) == ["step=000060.ckpt"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"every_steps": 2, "every_minutes": None}, [2, 4, 5]),
        ({"every_steps": None, "every_minutes": None}, [5]),
        ({"every_steps": None, "every_minutes": 1.5}, [2, 4, 5]),
        ({"every_steps": None, "every_minutes": 60.0}, [5]),
    ],
)
def test_saves_by_steps_by_minutes_and_at_the_end(
    model_folder, tmp_path, monkeypatch, options, expected
):
    clock = Clock(seconds_a_step=60)
    monkeypatch.setattr("fgexpo.callbacks.rollout_checkpoint.time", clock)
    saver = RolloutCheckpoint(keep=None, dirpath=str(tmp_path), **options)
    fit(model_folder, tmp_path, 5, [saver, clock], trainer={"enable_checkpointing": True})
    names = sorted(path.name for path in tmp_path.glob("step=*"))
    assert names == [f"step={step:06d}.ckpt" for step in expected]
    assert os.readlink(tmp_path / "last.ckpt") == names[-1]


def test_what_a_killed_run_left_half_written_is_cleared(model_folder, tmp_path):
    for number, age in ((1, 3600), (2, 1)):
        partial = tmp_path / f".step={number:06d}.ckpt.7.partial"
        partial.write_text("half")
        os.utime(partial, (time.time() - age,) * 2)
    saver = RolloutCheckpoint(dirpath=str(tmp_path))
    fit(model_folder, tmp_path, 1, [saver], trainer={"enable_checkpointing": True})
    # The younger one may belong to another run.
    assert [path.name for path in tmp_path.glob(".*.partial")] == [".step=000002.ckpt.7.partial"]


def test_a_callback_that_is_used_again_saves_again(model_folder, tmp_path):
    saver = RolloutCheckpoint(dirpath=str(tmp_path))
    for _ in range(2):
        fit(model_folder, tmp_path, 2, [saver], trainer={"enable_checkpointing": True})
        (tmp_path / "step=000002.ckpt").unlink()


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
        checkpoint(folder, 5, age)
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
    path = checkpoint(folder, 5, age=1)
    stranger = tmp_path / "R" / "stranger" / "version_0" / "checkpoints"
    stranger.mkdir(parents=True)
    checkpoint(stranger, 9, age=0)
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
    checkpoint(folder, 5, age=1)
    assert find_last(config) is not None
    config.trainer.logger.init_args.version = "seed2"
    assert find_last(config) is None


def test_a_logger_that_does_not_say_where_needs_a_folder():
    trainer = Namespace(logger=Namespace(class_path="my.Logger", init_args=Namespace()))
    with pytest.raises(ValueError, match=r"my\.Logger.*set --checkpoint\.dirpath"):
        find_last(Namespace(trainer=trainer, checkpoint=None))


def test_last_is_looked_for_where_the_checkpoints_go(tmp_path):
    path = checkpoint(tmp_path, 5, age=1)
    config = configuration(tmp_path / "runs", dirpath=str(tmp_path))
    assert find_last(config) == path
    stay_in_folder(config, path)
    assert config.trainer.logger.init_args.version is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every_steps": 0}, "checkpoint.every_steps"),
        ({"every_minutes": 0}, "checkpoint.every_minutes"),
        ({"keep": 0}, "checkpoint.keep"),
    ],
)
def test_bad_settings(options, words):
    with pytest.raises(ValueError, match=words):
        RolloutCheckpoint(**options)


def test_a_checkpoint_holds_plain_values_alone(model_folder, tmp_path):
    saver = RolloutCheckpoint(dirpath=str(tmp_path))
    trainer = make_trainer(tmp_path, 1, [saver], enable_checkpointing=True)
    trainer.fit(make_module(model_folder), make_data())
    assert "fgexpo" in torch.load(tmp_path / "last.ckpt", weights_only=True)
