"""What each phase of a planned step takes altogether."""

from math import prod

import torch
from plans import full_size, job

from fgexpo.plan.activations import Work, count
from fgexpo.plan.adapters import Adapters, adapter_sizes
from fgexpo.plan.generation import ENGINE_RESIDUE, GIB
from fgexpo.plan.job import Engine
from fgexpo.plan.known_models import r1_distill_1p5b
from fgexpo.plan.memory import RESERVE, plan_memory
from fgexpo.plan.shape import shape_of

PASSES = ("score", "update")


def test_phases_are_the_sums_of_their_kinds():
    engine = Engine("VLLM", memory=0.3, dtype=torch.bfloat16)
    planned = job(config=r1_distill_1p5b(), processes=2, strategy="ddp", engine=engine)
    memory = plan_memory(planned, 80 * GIB)
    whole = 4 * 1_777_088_000
    # Weights, gradients, two moments, buckets, reference.
    assert memory.totals["generate"] == 6 * whole + 24 * GIB
    assert memory.totals["step"] == 7 * whole + ENGINE_RESIDUE
    work = count(planned.config, Work(256, 32, entropy=True, device="cuda"))
    assert memory.totals["update"] == 6 * whole + ENGINE_RESIDUE + work.peak
    work = count(planned.config, Work(256, 32, backward=False, entropy=True))
    assert memory.totals["score"] == 6 * whole + ENGINE_RESIDUE + work.peak
    assert memory.spare == 77 * GIB - max(memory.totals.values())
    assert memory.reserve == RESERVE == 3 * GIB


def test_the_reference_rests_on_the_host():
    planned = job(config=r1_distill_1p5b(), processes=2, strategy="ddp")
    here, away = (plan_memory(planned.change(offload=o), 80 * GIB) for o in (False, True))
    whole = 4 * 1_777_088_000
    saved = {phase: here.totals[phase] - away.totals[phase] for phase in here.totals}
    assert saved == {"generate": whole, "score": 0, "update": whole, "step": whole}
    assert away.host["reference at rest"] == 2 * whole
    sharded = plan_memory(planned.change(offload=True, strategy="fsdp2"), 80 * GIB)
    assert sharded.phases["score"]["reference"] == 0
    assert here.host["weights while they are loaded"] == 2 * 2 * whole
    assert sharded.host["weights while they are loaded"] == 2 * whole
    assert sharded.host["checkpoint while it is saved"] == 3 * whole
    # In parts, each of two nodes copies a half.
    parts = planned.change(strategy="fsdp2", nodes=2, sharded=True)
    assert plan_memory(parts, 80 * GIB).host["checkpoint while it is saved"] == 3 * whole // 2


def test_fsdp2_gathers_layers_and_to_decode_everything():
    planned = full_size(strategy="fsdp2", engine=Engine(), max_new=63, max_prompt=1, mini_batch=256)
    phases = plan_memory(planned, 80 * GIB).phases
    shape = shape_of(planned.config)
    root = 2 * 151936 * 1536 + 1536
    assert phases["generate"]["gathered weights"] == 2 * (shape.count + root)
    layer = shape.largest_layer
    assert 28 * layer + root == shape.count
    assert phases["score"]["gathered weights"] == 2 * (root + 4 * layer)
    # With all activations there: the head's gradient, one layer's, and two layers' in fp32.
    middle = 2 * (root + 4 * layer) + 2 * (151936 * 1536 + layer) + 4 * 2 * layer
    assert phases["update"]["gathered weights"] == middle

    tiny = plan_memory(planned.change(micro_batch_tokens=32, max_new=31), 80 * GIB).phases
    work = {
        phase: tiny[phase]["activations"] + tiny[phase]["LM head, transients"] for phase in PASSES
    }
    # Before any layer: the root and the buffer that it came in. After all: its gradients too.
    assert tiny["score"]["gathered weights"] == 2 * 2 * root - work["score"]
    assert tiny["update"]["gathered weights"] == 8 * root + 4 * layer - work["update"]
    # A single process keeps its bf16 copy of all weights until the backward pass.
    alone = plan_memory(planned.change(processes=1), 140 * GIB).phases
    assert alone["score"]["gathered weights"] == 2 * (shape.count + 2 * layer)
    more = phases["update"]["gathered weights"] - phases["score"]["gathered weights"]
    assert alone["update"]["gathered weights"] == alone["score"]["gathered weights"] + more
    # vLLM gets whole weights, in its dtype, before its cache is there, unless it stays awake.
    for sleep, gathered in ((True, 0), (False, 2 * 2 * 151936 * 1536)):
        with_vllm = planned.change(engine=Engine("VLLM", dtype=torch.bfloat16, sleep=sleep))
        phases = plan_memory(with_vllm, 80 * GIB).phases
        assert phases["generate"]["gathered weights"] == gathered


def test_a_reference_that_moves_needs_no_second_copy_but_of_adapters():
    """Every phase holds the adapters twice, scoring sets the policy's aside, a save gathers all."""
    planned = job(processes=2, strategy="fsdp2")
    still, moved = (plan_memory(planned.change(moves=moves), 80 * GIB) for moves in (False, True))
    assert moved.phases == still.phases
    grown = "checkpoint while it is saved"
    assert moved.host[grown] - still.host[grown] == 4 * shape_of(planned.config).count
    adapted = job(adapters=Adapters(4))
    still, moved = (plan_memory(adapted.change(moves=moves), 80 * GIB) for moves in (False, True))
    own = 4 * sum(map(prod, adapter_sizes(adapted.config, Adapters(4))))
    more = {phase: moved.totals[phase] - still.totals[phase] for phase in moved.totals}
    assert more == {"generate": own, "score": 2 * own, "update": own, "step": own}
