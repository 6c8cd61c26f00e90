"""Models with parts that no log-prob depends on, and models that cannot be sharded."""

import sys
from pathlib import Path

import pytest
import torch
from helpers import make_data, make_module, make_trainer, sgd, weights
from near import same
from processes import run_ranks

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from architectures import write_tiny

from fgexpo.errors import UserError
from fgexpo.model.loading import load_model
from fgexpo.parallel.sharding import shard


def train(folder, out, devices):
    strategy = "ddp" if devices > 1 else "auto"
    trainer = make_trainer(Path(out).parent, 2, devices=devices, strategy=strategy)
    module = make_module(folder, optimizer=sgd)
    trainer.fit(module, make_data())
    if trainer.is_global_zero:
        torch.save(weights(module), out)


@pytest.mark.slow
def test_two_processes_train_a_model_of_images_as_one_does(tmp_path):
    """Slow: two processes. DDP would wait for gradients of the vision tower."""
    folder = tmp_path / "model"
    write_tiny("gemma3", folder)
    train(str(folder), f"{tmp_path}/one", 1)
    run_ranks(train, str(folder), f"{tmp_path}/two", 2, log=tmp_path / "log")
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one", "two"))
    same(two, one)


def test_what_is_not_used_is_frozen(tmp_path):
    write_tiny("gemma3", tmp_path / "model")
    module = make_module(str(tmp_path / "model"))
    make_trainer(tmp_path, 1).fit(module, make_data())
    for name, weight in module.policy.named_parameters():
        unused = "vision" in name or "multi_modal" in name
        assert weight.requires_grad != unused, name
        assert unused == (weight.grad is None), name


def test_layers_that_are_not_found_cannot_be_sharded(tmp_path):
    write_tiny("gpt2", tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    with pytest.raises(UserError, match=r"^trainer\.strategy: fsdp2 cannot shard a GPT2LMHead"):
        shard(model, make_trainer(tmp_path, 1))
