"""What a plan counts for parameters, gradients and the optimizer."""

from dataclasses import replace

import pytest
import torch
from plans import ADAM, job, small
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM

from fgexpo.model.lora import LoRA, adapt
from fgexpo.plan.adapters import Adapters
from fgexpo.plan.count_bytes import StorageCounter
from fgexpo.plan.job import Optimizer
from fgexpo.plan.known_models import qwen3_8b_base, r1_distill_1p5b
from fgexpo.plan.shape import shape_of
from fgexpo.plan.state import state_of


def size(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_built_in_shapes_have_the_published_numbers_of_parameters():
    assert shape_of(r1_distill_1p5b()).count == 1_777_088_000
    assert shape_of(qwen3_8b_base()).count == 8_190_735_360


def test_a_tied_head_counts_once():
    tied, own = (shape_of(small(tie_word_embeddings=tied)) for tied in (True, False))
    assert own.count - tied.count == 21 * 8
    assert (tied.head, tied.tied, own.tied) == ((21, 8), True, False)


OPTIMIZERS = [
    ADAM,
    Optimizer("torch.optim.AdamW", {"lr": 1e-3, "amsgrad": True, "betas": [0.9, 0.99]}),
    Optimizer("torch.optim.SGD", {"lr": 1e-3, "momentum": 0.9}),
    Optimizer("torch.optim.SGD", {"lr": 1e-3}),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lora", [None, LoRA(3), LoRA(2, targets=["q_proj", "up_proj"])], ids=str)
def test_state_is_that_of_a_real_model_to_the_byte(optimizer, dtype, lora):
    config = small(num_hidden_layers=2)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if lora is not None:
        adapt(model, lora, seed=0)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    made = getattr(torch.optim, optimizer.class_path.rpartition(".")[2])(
        trained, **optimizer.arguments
    )
    model(input_ids=torch.zeros(1, 5, dtype=torch.int64)).logits.sum().backward()
    made.step()
    kept = [(key, value) for state in made.state.values() for key, value in state.items()]
    kept = [(key, value) for key, value in kept if isinstance(value, torch.Tensor)]

    adapters = None
    if lora is not None:
        targets = lora.targets if isinstance(lora.targets, str) else tuple(lora.targets)
        adapters = Adapters(lora.rank, targets)
    planned = job(config=config, dtype=dtype, optimizer=optimizer, adapters=adapters)
    found = state_of(planned, shape_of(config))
    assert found.weights == size(model.parameters())
    assert found.gradients == size(parameter.grad for parameter in trained)
    assert found.optimizer_host == size(value for key, value in kept if key == "step")
    assert found.optimizer == size(value for key, value in kept if key != "step")
    frozen = size(AutoModelForCausalLM.from_config(config, dtype=dtype).parameters())
    assert found.reference == (0 if lora else frozen)
    assert not found.guessed


def test_counters_of_a_fused_optimizer_are_on_the_device():
    fused = Optimizer("torch.optim.AdamW", {"lr": 1e-3, "fused": True})
    shape = shape_of(small())
    plain, found = (state_of(job(config=small(), optimizer=o), shape) for o in (ADAM, fused))
    assert found.optimizer == plain.optimizer + plain.optimizer_host
    assert (plain.optimizer_host, found.optimizer_host) == (4 * len(shape.sizes), 0)
    assert found.step == 0


def test_an_optimizer_that_needs_values_is_said_to_be_guessed():
    found = state_of(job(optimizer=Optimizer("torch.optim.Adafactor")), shape_of(job().config))
    assert found.guessed and found.optimizer == 2 * found.weights


def test_fsdp2_holds_ceil_of_the_rows_of_every_weight():
    # Rows over 4 processes, rounded up, times columns: embedding and head 6 x 8 each, last norm 2;
    # q 2 x 8 + 2, k and v 1 x 8 + 1 each, o 2 x 8, gate and up 3 x 8 each, down 2 x 12, norms 2
    # each.
    own = 48 + 48 + 2 + 18 + 9 + 9 + 16 + 24 + 24 + 24 + 2 + 2
    planned = job(config=small(), processes=4, strategy="fsdp2", autocast=True)
    found = state_of(planned, shape_of(small()))
    assert own == 226
    assert (found.weights, found.gradients, found.reference) == (4 * own, 4 * own, 4 * own)
    assert (found.optimizer, found.buckets) == (8 * own, 0)
    assert found.step == 2 * 4 * 48


def test_shards_are_those_that_fsdp2_makes():
    from torch.distributed import destroy_process_group, init_process_group
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    config = small(num_hidden_layers=2)
    init_process_group("fake", rank=0, world_size=3, store=FakeStore())
    try:
        model = Qwen2ForCausalLM(config)
        fully_shard(model, mesh=init_device_mesh("cpu", (3,)))
        own = size(parameter.to_local() for parameter in model.parameters())
    finally:
        destroy_process_group()
    found = state_of(job(config=config, processes=3, strategy="fsdp2"), shape_of(config))
    assert found.weights == own


def test_ddp_has_flat_copies_of_the_gradients_unless_they_are_views():
    planned = job(processes=2, strategy="ddp")
    shape = shape_of(planned.config)
    assert state_of(planned, shape).buckets == 4 * shape.count
    assert state_of(planned.change(bucket_view=True), shape).buckets == 0


@pytest.mark.parametrize("foreach", [True, False])
def test_temporaries_of_a_real_step(foreach):
    sizes = [(30, 7), (5, 5), (11,)]
    parameters = [torch.nn.Parameter(torch.zeros(s)) for s in sizes]
    made = torch.optim.AdamW(parameters, foreach=foreach)
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        known = [*parameters, *(p.grad for p in parameters)]
        known += [v for state in made.state.values() for v in state.values()]
        counter = StorageCounter(known)
        with counter:
            made.step()
    optimizer = Optimizer("torch.optim.AdamW", {"foreach": foreach})
    layered = replace(shape_of(small()), root=tuple(sizes), layers=())
    found = state_of(job(optimizer=optimizer), layered).step
    # Besides, scalars.
    assert 0 <= counter.peak - found <= 32
