import os
import stat
import time
from types import SimpleNamespace

import pytest
import torch
from helpers import Clock, fit, make_data, make_module, make_trainer, write_checkpoint

from fgexpo.callbacks import RolloutCheckpoint
from fgexpo.errors import UserError
from fgexpo.robustness.checkpoint import (
    AtomicCheckpointIO,
    by_age,
    commit_folder,
    is_complete,
    newest_complete,
    read_checkpoint,
)


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
        with pytest.raises(UserError, match=r"evil\.ckpt.* cannot be read as a checkpoint"):
            load(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("spoil", ["cut", "byte", "empty"])
def test_the_newest_whole_one_is_found_behind_torn_ones(tmp_path, spoil):
    write_checkpoint(tmp_path, 1, age=30)
    whole = write_checkpoint(tmp_path, 2, age=20)
    torn = write_checkpoint(tmp_path, 3, age=10, spoil=spoil)
    assert newest_complete(tmp_path.glob("step=*")) == (whole, [torn])
    assert newest_complete([torn]) == (None, [torn])
    words = {"byte": r"step=000003\.ckpt' cannot be read as a checkpoint \(BadZipFile: Bad CRC-32"}
    for load in (AtomicCheckpointIO().load_checkpoint, read_checkpoint):
        with pytest.raises(ValueError, match=words.get(spoil, "is incomplete .* --ckpt_path=last")):
            load(torn)


def test_newest_goes_by_the_number_of_the_save(tmp_path):
    # A run that was resumed from step 5 has an abandoned future; the clock has gone back since.
    write_checkpoint(tmp_path, 9, age=10, number=9)
    newest = write_checkpoint(tmp_path, 6, age=20, number=10)
    # Saved before there were numbers: by step.
    old = [write_checkpoint(tmp_path, step, age=-step) for step in (30, 40)]
    assert newest_complete(tmp_path.glob("step=*")) == (newest, [])
    assert newest_complete(old) == (old[1], [])
    assert by_age(tmp_path.glob("step=*")) == [*old, tmp_path / "step=000009.ckpt", newest]


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
    write_checkpoint(tmp_path, 90, age=20)
    write_checkpoint(tmp_path, 100, age=10, spoil="cut")
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


def test_whichever_byte_is_spoilt_what_passes_can_be_loaded(tmp_path):
    path = tmp_path / "x.ckpt"
    torch.save({"x": torch.arange(50)}, path)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        if is_complete(path):
            assert torch.equal(torch.load(path, weights_only=True)["x"], torch.arange(50))
