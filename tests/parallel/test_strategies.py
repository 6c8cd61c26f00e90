"""Every strategy, on two gloo processes, makes the run that one process makes."""

from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, make_data, make_module, make_trainer
from near import ROUNDING, logged, same
from processes import run_ranks
from test_distributed import DIFFERENCES
from torch.distributed.tensor import DTensor

from fgexpo.callbacks import AKLCallback, RolloutCheckpoint
from fgexpo.model.lora import LoRA
from fgexpo.robustness.checkpoint import AtomicCheckpointIO, read_checkpoint

STEPS, CUT = 4, 2
ADAPTERS = LoRA(rank=4, alpha=8)


def adamw(params):
    return torch.optim.AdamW(params, lr=1e-2, weight_decay=0.1)


def train(folder, out, devices, strategy, options, ckpt_path=None, steps=STEPS, **trainer_options):
    """A run with validation in it; its checkpoints are in ``out``."""
    torch.manual_seed(0)
    saver = RolloutCheckpoint(every_steps=CUT, keep=None, dirpath=out)
    trainer = make_trainer(
        Path(out),
        steps,
        [AKLCallback(), saver],
        devices=devices,
        strategy=strategy,
        plugins=[AtomicCheckpointIO()],
        limit_val_batches=1.0,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        enable_checkpointing=True,
        **trainer_options,
    )
    module = make_module(
        folder,
        **{
            "verifier": EvenIsRight(),
            "kl_coef": 0.1,
            "max_grad_norm": 0.5,
            "optimizer": adamw,
            "micro_batch_tokens": 40,
            **options,
        },
    )
    trainer.fit(module, make_data(decay=0.5, refresh="step"), ckpt_path=ckpt_path)
    sharded = [isinstance(weight, DTensor) for weight in module.policy.parameters()]
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
    torch.save((metrics, all(sharded)), f"{out}/end-{module.global_rank}")


def final(out):
    return read_checkpoint(Path(out) / f"step={STEPS:06d}.ckpt")


def same_weights(one, two):
    assert one["state_dict"].keys() == two["state_dict"].keys()
    for name, weight in one["state_dict"].items():
        same(two["state_dict"][name], weight)


def same_moments(one, two):
    for number, values in one["optimizer_states"][0]["state"].items():
        for name, value in values.items():
            found = two["optimizer_states"][0]["state"][number][name]
            same(found.double(), value.double())  # "step" is float32, and whole


def same_metrics(one, two):
    timed = ("time/", "reward/seconds", "step_time")
    assert one.keys() == two.keys()
    for tag, value in one.items():
        if tag in DIFFERENCES:
            assert max(two[tag], value) < ROUNDING, tag
        elif not tag.startswith(timed):
            logged(two[tag], value)


# What one process is compared with may differ where the strategy has no such thing.
CASES = {
    "ddp": ("ddp", {}),
    "fsdp2": ("fsdp2", {}),
    "ddp-checkpointing": ("ddp", {"activation_checkpointing": True}),
    "fsdp2-checkpointing": ("fsdp2", {"activation_checkpointing": True}),
    "ddp-offload": ("ddp", {"reference_offload": True}),
    "fsdp2-offload": ("fsdp2", {"reference_offload": True}),
    "ddp-lora": ("ddp", {"lora": ADAPTERS}),
    "fsdp2-lora": ("fsdp2", {"lora": ADAPTERS, "activation_checkpointing": True}),
}
FAST = ("fsdp2",)
MARKED = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES]


@pytest.mark.parametrize("name", MARKED)
def test_two_processes_make_the_run_of_one(model_folder, tmp_path, name):
    strategy, options = CASES[name]
    plain = {key: value for key, value in options.items() if key == "lora"}
    train(model_folder, str(tmp_path / "one"), 1, "auto", plain)
    run_ranks(
        train, model_folder, str(tmp_path / "two"), 2, strategy, options, log=tmp_path / "log"
    )
    one, two = final(tmp_path / "one"), final(tmp_path / "two")
    start = read_checkpoint(tmp_path / "one" / f"step={CUT:06d}.ckpt")["state_dict"]
    assert any((start[name] - one["state_dict"][name]).abs().max() > 1e-3 for name in start)
    same_weights(one, two)
    same_moments(one, two)
    ends = [torch.load(tmp_path / "two" / f"end-{rank}") for rank in range(2)]
    alone, _ = torch.load(tmp_path / "one" / "end-0")
    assert "val/tiny/pass@1" in alone and alone["kl"] > 0
    for metrics, sharded in ends:
        same_metrics(alone, metrics)
        assert sharded == (strategy == "fsdp2")


def go_on(folder, out, devices, strategy, options, start):
    path = f"{start}/step={CUT:06d}.ckpt"
    train(folder, out, devices, strategy, options, ckpt_path=path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fsdp2", "fsdp2-lora"])
def test_a_sharded_run_resumes_exactly_and_elsewhere(model_folder, tmp_path, name):
    strategy, options = CASES[name]
    two, log = str(tmp_path / "two"), tmp_path / "log"
    run_ranks(train, model_folder, two, 2, strategy, options, log=log)
    whole = final(two)
    for out, devices, kind in [("same", 2, strategy), ("ddp", 2, "ddp"), ("one", 1, "auto")]:
        arguments = (model_folder, str(tmp_path / out), devices, kind, options, two)
        if devices == 2:
            run_ranks(go_on, *arguments, log=log)
        else:
            go_on(*arguments)
        again = final(tmp_path / out)
        same_weights(whole, again)
        same_moments(whole, again)
        if out == "same":
            for key, weight in whole["state_dict"].items():
                assert torch.equal(again["state_dict"][key], weight), key
    # And the other way: what one process has saved goes on sharded.
    train(model_folder, str(tmp_path / "fresh"), 1, "auto", options, steps=CUT)
    arguments = (2, strategy, options, str(tmp_path / "fresh"))
    run_ranks(go_on, model_folder, str(tmp_path / "back"), *arguments, log=log)
    same_weights(whole, final(tmp_path / "back"))
