"""Sharded checkpoints: every process writes its part while training goes on."""

import os
from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, make_data, make_module, make_trainer
from processes import run_ranks
from test_strategies import same_moments, same_weights

from fgexpo.callbacks import AKLCallback, RolloutCheckpoint
from fgexpo.robustness.checkpoint import (
    AtomicCheckpointIO,
    is_complete,
    read_checkpoint,
)
from fgexpo.robustness.content import COMMON, MARKER
from fgexpo.robustness.order import Order, order_of
from fgexpo.robustness.shards import shard_name


def run(folder, out, steps, devices=1, strategy="fsdp2", sharded=True, resume=None, **options):
    """Rollout steps with a save after each; gives back the module."""
    saver = RolloutCheckpoint(every_steps=1, keep=None, dirpath=str(out), sharded=sharded)
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
    run(folder, single, 3, devices=2, sharded=False)
    # From the middle, sharded both times; and each kind from the other.
    run(folder, f"{resumed}/sharded", 3, devices=2, resume=saved(out, 1))
    run(folder, f"{resumed}/to-single", 3, devices=2, sharded=False, resume=saved(out, 1))
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


def from_one(folder, out, start):
    run(folder, out, 3, devices=int(os.environ["WORLD_SIZE"]), resume=start)


@pytest.mark.slow  # starts two and four processes
@pytest.mark.parametrize("world_size", [2, 4])
def test_what_one_process_saved_goes_on_on_more(model_folder, tmp_path, world_size):
    run(model_folder, tmp_path / "one", 3)
    arguments = (str(tmp_path / "more"), saved(tmp_path / "one", 1))
    log = tmp_path / "log"
    run_ranks(from_one, model_folder, *arguments, log=log, world_size=world_size)
    one = read_checkpoint(saved(tmp_path / "one", 3))
    more = read_checkpoint(saved(tmp_path / "more", 3))
    same_weights(one, more)
    same_moments(one, more)
