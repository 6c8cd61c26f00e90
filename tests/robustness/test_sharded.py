"""Sharded checkpoints: every process writes its part while training goes on."""

import errno
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, make_data, make_module, make_trainer
from lightning.pytorch import Callback
from processes import run_ranks, start_ranks, wait
from test_strategies import same_moments, same_weights

from fgexpo.callbacks import AKLCallback, GracefulStop, RolloutCheckpoint
from fgexpo.cli.export import export
from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.parallel.slices import Slices
from fgexpo.robustness import sharded
from fgexpo.robustness.checkpoint import (
    AtomicCheckpointIO,
    is_complete,
    newest_complete,
    read_checkpoint,
)
from fgexpo.robustness.content import COMMON, MARKER
from fgexpo.robustness.order import Order, order_of
from fgexpo.robustness.shards import shard_name
from fgexpo.update import Averaged


def run(folder, out, steps, devices=1, strategy="fsdp2", parts=True, resume=None, **options):
    """Rollout steps with a save after each; gives back the module."""
    saver = RolloutCheckpoint(every_steps=1, keep=None, dirpath=str(out), sharded=parts)
    trainer = make_trainer(
        Path(out),
        steps,
        [AKLCallback(), saver],
        enable_checkpointing=True,
        plugins=[AtomicCheckpointIO()],
        devices=devices,
        strategy=strategy,
    )
    settings = {
        "verifier": EvenIsRight(),
        "kl_coef": 0.1,
        "optimizer": lambda params: torch.optim.AdamW(params, lr=1e-2),
    }
    module = make_module(folder, **settings, **options)
    trainer.fit(module, make_data(decay=0.5), ckpt_path=None if resume is None else str(resume))
    return module


def saved(out, step):
    return Path(out) / f"step={step:06d}.ckpt"


def equal(one, two):
    """Two states are the same to the bit; a tensor in slices is put together first."""
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


def same_checkpoints(one, two):
    """All of it, but for the seconds that callbacks keep."""
    one, two = read_checkpoint(one), read_checkpoint(two)
    assert one.keys() == two.keys()
    for key in one:
        assert equal(one[key], two[key]), key


def on_two(folder, out, single, resumed):
    run(folder, out, 3, devices=2)
    run(folder, single, 3, devices=2, parts=False)
    # From the middle, sharded both times; and each kind from the other.
    run(folder, f"{resumed}/sharded", 3, devices=2, resume=saved(out, 1))
    run(folder, f"{resumed}/to-single", 3, devices=2, parts=False, resume=saved(out, 1))
    run(folder, f"{resumed}/to-sharded", 3, devices=2, resume=saved(single, 1))


def test_a_folder_holds_what_the_file_would_and_resumes_to_the_bit(model_folder, tmp_path):
    out, single, resumed = (str(tmp_path / name) for name in ("out", "single", "resumed"))
    run_ranks(on_two, model_folder, out, single, resumed, log=tmp_path / "log")
    assert sorted(path.name for path in saved(out, 3).iterdir()) == [
        COMMON,
        MARKER,
        shard_name(0, 2),
        shard_name(1, 2),
    ]
    for step in (1, 3):
        assert saved(single, step).is_file() and is_complete(saved(out, step))
        same_checkpoints(saved(out, step), saved(single, step))
    for kind in ("sharded", "to-single", "to-sharded"):
        same_checkpoints(saved(f"{resumed}/{kind}", 3), saved(single, 3))
    assert os.readlink(Path(out) / "last.ckpt") == "step=000003.ckpt"
    orders = [order_of(saved(out, step)) for step in (1, 2, 3)]
    assert orders == [Order(1, 1), Order(2, 2), Order(3, 3)]
    # On one process: the same strategy, and one that knows no slices.
    for name, strategy in (("one", "fsdp2"), ("plain", "auto")):
        run(model_folder, tmp_path / name, 3, 1, strategy, strategy == "fsdp2", saved(out, 1))
        again, whole = read_checkpoint(saved(tmp_path / name, 3)), read_checkpoint(saved(out, 3))
        same_weights(whole, again)
        same_moments(whole, again)


def moving(folder, out, single, again):
    def options():
        return {"devices": 2, "reference_update": Averaged(0.75), "reference_offload": True}

    run(folder, out, 3, **options())
    run(folder, single, 3, parts=False, **options())
    run(folder, again, 3, resume=saved(out, 2), **options())


@pytest.mark.slow  # three runs of two processes
def test_a_reference_that_moves_is_saved_in_parts_too(model_folder, tmp_path):
    out, single, again = (str(tmp_path / name) for name in ("out", "single", "again"))
    run_ranks(moving, model_folder, out, single, again, log=tmp_path / "log")
    for found in (out, again):
        same_checkpoints(saved(found, 3), saved(single, 3))
    places = read_checkpoint(saved(out, 3), whole=False)["fgexpo"]["reference"]
    assert places and all(isinstance(each, Slices) for each in places.values())


def from_one(folder, out, start):
    devices = int(os.environ["WORLD_SIZE"])
    run(folder, out, 3, devices=devices, resume=start, mini_batch_questions=4)


@pytest.mark.slow  # starts two and four processes
@pytest.mark.parametrize("world_size", [2, 4])
def test_what_one_process_saved_goes_on_on_more(model_folder, tmp_path, world_size):
    run(model_folder, tmp_path / "one", 3, mini_batch_questions=4)
    arguments = (str(tmp_path / "more"), saved(tmp_path / "one", 1))
    log = tmp_path / "log"
    run_ranks(from_one, model_folder, *arguments, log=log, world_size=world_size)
    one = read_checkpoint(saved(tmp_path / "one", 3))
    more = read_checkpoint(saved(tmp_path / "more", 3))
    same_weights(one, more)
    same_moments(one, more)


def test_settings_that_do_not_go_together(model_folder, tmp_path):
    saver = RolloutCheckpoint(sharded=True, dirpath=str(tmp_path))
    trainer = make_trainer(tmp_path, 1, [saver], enable_checkpointing=True)
    with pytest.raises(
        UserError, match=r"checkpoint\.sharded: true needs trainer\.strategy: fsdp2"
    ):
        trainer.fit(make_module(model_folder), make_data())


class Signal(Callback):
    """Sends itself a signal, or fails, after its second step."""

    def __init__(self, fails):
        self.fails = fails

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if pl_module.rollout_step == 2:
            if self.fails:
                raise RuntimeError("a bug")
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("fails", [False, True])
def test_a_stop_and_an_error_leave_the_save_in_flight_complete(
    model_folder, tmp_path, monkeypatch, fails
):
    write = sharded.write_shard

    def slowly(*arguments):
        time.sleep(0.3)
        return write(*arguments)

    monkeypatch.setattr(sharded, "write_shard", slowly)
    saver = RolloutCheckpoint(every_steps=None if not fails else 1, sharded=True, dirpath=tmp_path)
    saver_first = [saver, Signal(fails), GracefulStop()]
    trainer = make_trainer(tmp_path, 9, saver_first, enable_checkpointing=True, strategy="fsdp2")
    with pytest.raises(RuntimeError if fails else SystemExit):
        trainer.fit(make_module(model_folder), make_data())
    found = newest_complete(tmp_path.glob("step=*"))
    assert found == (saved(tmp_path, 1 if fails else 2), [])
    assert os.readlink(tmp_path / "last.ckpt") == found[0].name
    assert list(tmp_path.glob(".*.partial")) == []


def test_an_export_of_a_folder_is_that_of_the_file(model_folder, tmp_path):
    for name, kind in (("file", False), ("folder", True)):
        run(model_folder, tmp_path / name, 1, parts=kind)
        export(str(saved(tmp_path / name, 1)), str(tmp_path / f"{name}-out"))
    names = [path.name for path in (tmp_path / "file-out").iterdir() if path.suffix != ".md"]
    for name in names:
        one, two = (tmp_path / f"{kind}-out" / name for kind in ("file", "folder"))
        assert one.read_bytes() == two.read_bytes(), name


def one_cannot_write(folder, out):
    rank, write = int(os.environ["LOCAL_RANK"]), sharded.write_shard

    def fail(path, slices, progress):
        if rank == 1 and "step=000002" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, slices, progress)

    sharded.write_shard = fail
    with pytest.raises(EnvironmentFailure, match=r"000002.ckpt' was not saved \(No space left"):
        run(folder, out, 9, devices=2)


def test_when_one_process_cannot_write_all_say_so(model_folder, tmp_path):
    out = tmp_path / "out"
    run_ranks(one_cannot_write, model_folder, str(out), log=tmp_path / "log")
    assert sorted(path.name for path in out.glob("*ckpt*")) == ["last.ckpt", "step=000001.ckpt"]
    assert is_complete(saved(out, 1)) and list(out.glob(".*.partial")) == []


def half_way(folder, out):
    """It stands still in the middle of the second save."""
    write = sharded.write_shard

    def stand(path, slices, progress):
        def stop():
            if "step=000002" in str(path):
                path.with_name(f"half-{os.environ['LOCAL_RANK']}").touch()
                time.sleep(600)

        return write(path, slices, stop)

    sharded.write_shard = stand
    run(folder, out, 9, devices=2)


def go_on(folder, out, start):
    run(folder, out, 3, devices=2, resume=start)


@pytest.mark.slow  # starts two processes twice, and kills two
def test_killed_while_it_writes_the_one_before_is_last(model_folder, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    processes = start_ranks(half_way, model_folder, str(out), log=log)
    while len(list(out.glob(".*.partial/half-*"))) < 2:
        assert all(process.is_alive() for process in processes), Path(f"{log}-0").read_text()
        time.sleep(0.05)
    for process in processes:
        process.kill()
    wait(processes)
    assert newest_complete(out.glob("step=*")) == (saved(out, 1), [])
    run_ranks(go_on, model_folder, str(out), saved(out, 1), log=log)
    assert newest_complete(out.glob("step=*")) == (saved(out, 3), [])
    assert list(out.glob(".*.partial")) == []
