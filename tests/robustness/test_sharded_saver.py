"""A save in the background, on one process and without a run."""

import json
import threading
import time
import zlib
from types import SimpleNamespace

import pytest
import torch
from test_full_disk import files_of_at_most
from test_sharded import saved

from fgexpo.callbacks import RolloutCheckpoint
from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.heartbeat import read
from fgexpo.parallel.fsdp2 import FSDP2
from fgexpo.parallel.slices import PLACE, Slice
from fgexpo.robustness import sharded
from fgexpo.robustness.checkpoint import (
    AtomicCheckpointIO,
    is_complete,
    newest_complete,
    read_checkpoint,
)
from fgexpo.robustness.order import ORDER, Order
from fgexpo.robustness.sharded import ShardedSaver


def trainer_of_one(**options):
    """What a saver asks a trainer for, of a run on one process."""
    strategy = SimpleNamespace(broadcast=lambda value: value, root_device="cpu")
    return SimpleNamespace(
        is_global_zero=True, global_rank=0, world_size=1, strategy=strategy, **options
    )


@pytest.fixture
def cut(monkeypatch):
    """Tensors in a state are taken for slices, so that no process group is needed."""

    def take(state):
        slices = {name: Slice(value, 0, tuple(value.shape)) for name, value in state["w"].items()}
        return {**state, "w": {name: {PLACE: name} for name in slices}}, slices

    monkeypatch.setattr(sharded, "take_apart", take)


def state_of(tensor, number):
    return {"fgexpo": {}, "w": {"a": tensor}, ORDER: {"number": number, "step": number}}


class Gate:
    """Writes when it is opened."""

    def __init__(self, monkeypatch):
        self.open = threading.Event()
        self.started = threading.Event()
        write = sharded.write_shard

        def wait(*arguments):
            self.started.set()
            assert self.open.wait(60)
            return write(*arguments)

        monkeypatch.setattr(sharded, "write_shard", wait)


def test_what_is_saved_is_the_state_of_its_step_while_training_goes_on(cut, tmp_path, monkeypatch):
    gate, done, trainer = Gate(monkeypatch), [], trainer_of_one()
    saver = ShardedSaver(done.append)
    weight = torch.zeros(50, 3)
    saver.begin(trainer, state_of(weight, 1), saved(tmp_path, 1))
    assert gate.started.wait(60)
    weight += 1  # an update
    saver.look(trainer)
    assert not saved(tmp_path, 1).exists() and done == []
    gate.open.set()
    saver.finish(trainer)
    assert done == [saved(tmp_path, 1)] and [path.name for path in tmp_path.iterdir()] == [
        "step=000001.ckpt"
    ]
    assert torch.equal(read_checkpoint(done[0])["w"]["a"], torch.zeros(50, 3))
    # The next one uses the same memory for its copy.
    copy = saver._stage["a"].data_ptr()
    saver.begin(trainer, state_of(weight, 2), saved(tmp_path, 2))
    assert saver._stage["a"].data_ptr() == copy
    saver.finish(trainer)
    assert torch.equal(read_checkpoint(done[1])["w"]["a"], torch.ones(50, 3))


def test_a_save_waits_for_the_one_in_flight(tmp_path, monkeypatch):
    order = []
    saver = RolloutCheckpoint(sharded=True)
    monkeypatch.setattr(saver._saver, "finish", lambda trainer: order.append("finish"))
    monkeypatch.setattr(saver._saver, "begin", lambda *arguments: order.append("begin"))
    strategy = FSDP2()
    monkeypatch.setattr(strategy, "broadcast", lambda value: value)
    trainer = SimpleNamespace(
        strategy=strategy,
        save_checkpoint=lambda path, weights_only: strategy.save_checkpoint({}, path),
    )
    saver._begin(trainer, tmp_path / "a")
    assert order == ["finish", "begin"] and not strategy.hands_slices


@pytest.mark.parametrize("size", [500, 20_000])
def test_a_disk_that_fills_while_shards_are_written(cut, tmp_path, size):
    """500 bytes are less than the common part, 20,000 than the shard."""
    trainer, done = trainer_of_one(), []
    saver = ShardedSaver(done.append)
    saver.begin(trainer, state_of(torch.zeros(10), 1), saved(tmp_path, 1))
    saver.finish(trainer)
    with files_of_at_most(size):
        saver.begin(trainer, state_of(torch.zeros(50_000), 2), saved(tmp_path, 2))
        saver._thread.join()
    with pytest.raises(EnvironmentFailure, match=r"000002.ckpt' was not saved \(File too large\)"):
        saver.look(trainer)
    assert newest_complete(tmp_path.glob("*")) == (done[0], [])
    saver.look(trainer)
    saver.begin(trainer, state_of(torch.zeros(50_000), 3), saved(tmp_path, 3))
    saver.finish(trainer)
    assert done[1:] == [saved(tmp_path, 3)]


def test_a_save_that_will_not_fit_is_not_begun(cut, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=100_000))
    saver = ShardedSaver(None)
    with pytest.raises(EnvironmentFailure, match=r"wants 0\.2 MB and 0\.1 MB are free; older"):
        saver.begin(trainer_of_one(), state_of(torch.zeros(50_000), 1), saved(tmp_path / "new", 1))
    assert list((tmp_path / "new").iterdir()) == []


def test_a_hang_of_training_is_not_hidden_by_a_save(cut, tmp_path):
    """What is written is progress while training waits for it, and not while it runs."""
    trainer, saver = trainer_of_one(), ShardedSaver(lambda path: None)
    saver.begin(trainer, state_of(torch.zeros(10), 1), saved(tmp_path, 1))
    before = read().beats
    saver._thread.join()
    assert read().beats == before
    save = saver._save
    save.watched.set()
    save.progress()
    assert read().beats == before + 1
    saver.finish(trainer)


def test_a_folder_and_a_file_of_one_step_replace_each_other(cut, tmp_path):
    trainer, path = trainer_of_one(), saved(tmp_path, 1)
    AtomicCheckpointIO().save_checkpoint({"fgexpo": {}, "x": 1}, path)
    saver = ShardedSaver(lambda path: None)
    for number in (1, 2):
        saver.begin(trainer, state_of(torch.full((2,), number), number), path)
        saver.finish(trainer)
        assert read_checkpoint(path)["w"]["a"].tolist() == [number, number]
    trainer.save_checkpoint = lambda path, weights_only: AtomicCheckpointIO().save_checkpoint(
        {"fgexpo": {}, "x": 2}, path
    )
    callback = saver_in(tmp_path)
    callback._save_file(trainer, path, Order(3, 1))
    assert read_checkpoint(path)["x"] == 2
    callback._move_in()
    callback._leave()
    assert sorted(path.name for path in tmp_path.glob("*ckpt*")) == ["last.ckpt", path.name]


def saver_in(folder):
    callback = RolloutCheckpoint(dirpath=str(folder))
    callback.folder = folder
    return callback


@pytest.mark.parametrize("size", [500, 60_000])
def test_a_disk_that_fills_while_a_file_is_to_replace_a_folder(cut, tmp_path, size):
    """The folder is the only checkpoint there is, and goes last."""
    trainer, path, callback = trainer_of_one(), saved(tmp_path, 1), saver_in(tmp_path)
    saver = ShardedSaver(callback._committed)
    saver.begin(trainer, state_of(torch.ones(3), 1), path)
    saver.finish(trainer)

    def save(path, weights_only):
        AtomicCheckpointIO().save_checkpoint({"fgexpo": {}, "x": torch.zeros(50_000)}, path)

    trainer.save_checkpoint = save
    words = r"step=000001.ckpt' was not saved \(File too large\)"
    with pytest.raises(EnvironmentFailure, match=words), files_of_at_most(size):
        callback._save_file(trainer, path, Order(2, 1))
    assert sorted(found.name for found in tmp_path.iterdir()) == ["last.ckpt", path.name]
    assert newest_complete([tmp_path / "last.ckpt"])[0] is not None
    assert torch.equal(read_checkpoint(path)["w"]["a"], torch.ones(3))


def test_a_folder_of_a_strategy_that_writes_folders_is_replaced_whole(tmp_path):
    trainer, path, callback = trainer_of_one(), saved(tmp_path, 1), saver_in(tmp_path)

    def save(path, weights_only):
        path.mkdir(parents=True)
        (path / f"shard-{trainer.step}").touch()

    trainer.save_checkpoint = save
    for trainer.step in (1, 2):
        callback._save_file(trainer, path, Order(trainer.step, 1))
    assert is_complete(path) and (path / "shard-2").exists() and not (path / "shard-1").exists()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["last.ckpt", path.name]


def test_a_kill_between_the_two_names_of_a_save_loses_nothing(tmp_path):
    """At that moment the old one has a hidden name, with or without the new one in its place."""
    for step in (1, 2, 3):
        hidden = tmp_path / f".step={step:06d}.ckpt.7-0000000{step}.old"
        if step == 2:
            hidden.write_text("old")  # a file that a folder has replaced
        else:
            hidden.mkdir()
            (hidden / "a").write_text("old")
    saved(tmp_path, 2).mkdir()
    (saved(tmp_path, 2) / "a").write_text("new")
    saved(tmp_path, 3).write_text("new")
    stranger = tmp_path / ".other.ckpt.7-00000001.old"
    stranger.touch()
    callback = saver_in(tmp_path)
    callback._move_in()
    callback._leave()
    assert (saved(tmp_path, 1) / "a").read_text() == "old"
    assert (saved(tmp_path, 2) / "a").read_text() == saved(tmp_path, 3).read_text() == "new"
    assert list(tmp_path.glob(".*")) == [stranger]


def test_a_part_that_grows_after_an_error_is_waited_for(tmp_path, monkeypatch):
    """It takes five times as long as one that does not grow is waited for."""
    monkeypatch.setattr(sharded, "GIVE_UP_SECONDS", 0.4)
    known = {}

    def commit(grows):
        folder = tmp_path / f".{grows}.partial"
        folder.mkdir()
        save = sharded._Save(saved(tmp_path, grows), folder, 0, 2, b"common", 0, "")
        sharded._write(save, {})
        save.leaving.set()
        found = []
        waits = threading.Thread(target=lambda: found.append(sharded._commit(save)))
        waits.start()
        part = folder / sharded.shard_name(1, 2)
        with part.open("wb") as file:
            for _ in range(20 * grows):
                file.write(b"x")
                file.flush()
                time.sleep(0.1)
        if grows:
            known[part.name] = [part.stat().st_size, zlib.crc32(part.read_bytes())]
            sharded._note_of(save, 1).write_text(json.dumps(known))
        waits.join(60)
        return found

    assert commit(0) == [False]
    assert commit(1) == [True] and is_complete(saved(tmp_path, 1))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn, torch.uint16])
def test_a_rare_dtype_is_refused_before_anything_is_written(cut, tmp_path, dtype):
    saver, state = ShardedSaver(None), state_of(torch.zeros(3).to(dtype), 1)
    words = f"cannot save tensor 'a' of dtype {str(dtype)[6:]}, only float64, .*; set it to false"
    with pytest.raises(UserError, match=words):
        saver.begin(trainer_of_one(), state, saved(tmp_path, 1))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_half_written_is_not_last_and_is_cleared(cut, tmp_path, monkeypatch):
    """As after a kill while one process still writes: a folder without marker and without name."""
    trainer, done = trainer_of_one(), []
    saver = ShardedSaver(done.append)
    saver.begin(trainer, state_of(torch.zeros(10), 1), saved(tmp_path, 1))
    saver.finish(trainer)
    gate = Gate(monkeypatch)
    trainer.world_size = 2  # the other part never comes
    monkeypatch.setattr(sharded, "on_first", lambda trainer, work: work())
    saver.begin(trainer, state_of(torch.zeros(10), 2), saved(tmp_path, 2))
    gate.open.set()
    (partial,) = tmp_path.glob(".*.partial")
    assert not is_complete(partial)
    assert newest_complete(tmp_path.glob("step=*")) == (done[0], [])
    monkeypatch.setattr(sharded, "GIVE_UP_SECONDS", 0.0)
    saver.close()
    assert not saved(tmp_path, 2).exists()
    callback = saver_in(tmp_path)
    callback._move_in()
    callback._leave()
    assert not partial.exists() and is_complete(done[0])
