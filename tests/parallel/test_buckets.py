"""Sharded weights gathered in buckets: the same bits as one after the other."""

import os

import torch
import torch.distributed as dist
from processes import run_ranks
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from fgexpo.model.loading import load_model
from fgexpo.model.lora import LoRA, adapt
from fgexpo.parallel import buckets
from fgexpo.parallel.buckets import gather_named
from fgexpo.parallel.whole_weights import full_weights

BF16 = torch.bfloat16


def weights(mesh):
    """Rows that divide or do not, fewer rows than processes; columns, copies, whole, integers."""
    torch.manual_seed(0)

    def cut(shape, place=Shard(0), dtype=torch.float32):
        whole = torch.randn(shape)
        return distribute_tensor(whole.to(dtype), mesh, [place])

    return {
        "even": cut((6, 5)),
        "odd": cut((7, 3)),
        "few": cut((1, 4)),
        "vector": cut((5,)),
        "columns": cut((4, 6), Shard(1)),
        "copied": cut((3, 2), Replicate()),
        "whole": torch.randn(4, 4),
        "half": cut((5, 2), dtype=BF16),
        "double": cut((5, 2), dtype=torch.float64),
        "numbers": torch.arange(3),
        "deep": cut((4, 2, 3)),
    }


def gathering():
    dist.init_process_group(
        "gloo", rank=int(os.environ["LOCAL_RANK"]), world_size=int(os.environ["WORLD_SIZE"])
    )
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    named = weights(mesh)
    one_by_one = {
        name: weight.full_tensor() if hasattr(weight, "full_tensor") else weight
        for name, weight in named.items()
    }
    for limit in (1, 100, 2**28):
        for dtype in (None, BF16, torch.float32):
            found = list(gather_named(named.items(), dtype, limit))
            assert [name for name, _ in found] == list(named)
            for name, weight in found:
                expected = one_by_one[name]
                wider = expected.is_floating_point() and dtype is not None
                if wider and expected.dtype.itemsize > dtype.itemsize:
                    expected = expected.to(dtype)
                assert weight.dtype == expected.dtype, (name, dtype)
                assert torch.equal(weight, expected), (name, dtype, limit)
    dist.destroy_process_group()


def test_every_form_of_weight_has_the_bits_of_one_collective_each(tmp_path):
    run_ranks(gathering, log=tmp_path / "log", world_size=3)


def few_collectives():
    dist.init_process_group(
        "gloo", rank=int(os.environ["LOCAL_RANK"]), world_size=int(os.environ["WORLD_SIZE"])
    )
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    layers = nn.Sequential(*(nn.Linear(8, 8) for _ in range(50)))
    fully_shard(layers, mesh=mesh)
    calls, bytes_sent, plain = [], [], buckets._all_gather

    def counted(out, own, group):
        calls.append(1)
        bytes_sent.append(own.numel() * own.itemsize)
        return plain(out, own, group)

    buckets._all_gather = counted
    whole = dict(gather_named(layers.state_dict().items()))
    assert len(calls) == 1, calls
    dict(gather_named(layers.state_dict().items(), BF16))
    assert bytes_sent[1] * 2 == bytes_sent[0]
    assert sum(weight.numel() for weight in whole.values()) == 50 * 72
    dist.destroy_process_group()


def test_a_bucket_takes_one_collective_and_bf16_half_the_bytes(tmp_path):
    run_ranks(few_collectives, log=tmp_path / "log")


def test_what_an_engine_in_bf16_loads_is_what_it_would_have_rounded_itself(model_folder):
    model = load_model(model_folder, "float32")
    adapt(model, LoRA(rank=2), seed=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    whole, halved = dict(full_weights(model)), dict(full_weights(model, BF16))
    assert whole.keys() == halved.keys()
    for name, weight in whole.items():
        assert weight.dtype == torch.float32 and halved[name].dtype == BF16
        # Merged in float32, and only then rounded.
        assert torch.equal(halved[name], torch.empty_like(weight, dtype=BF16).copy_(weight)), name
    names = list(model.state_dict())
    assert any("lora_B" in name for name in names)
