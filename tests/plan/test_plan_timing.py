"""How long a plan says that a step takes."""

from dataclasses import replace

import pytest
import torch
from plans import job, small

from fgexpo.plan.generation import engine_bytes
from fgexpo.plan.gpus import GIB, GPUS
from fgexpo.plan.job import Engine
from fgexpo.plan.known_models import r1_distill_1p5b
from fgexpo.plan.memory import plan_memory
from fgexpo.plan.passes import (
    FP32_SLOWER,
    ONE_PASS,
    SLICES,
    USE_BANDWIDTH,
    USE_LINK,
    USE_PASSES,
    USE_STREAM,
    body_flops,
    communication,
    optimizer_seconds,
    pass_seconds,
    scorings,
)
from fgexpo.plan.shape import shape_of
from fgexpo.plan.state import state_of
from fgexpo.plan.timing import OTHER, generation, plan_timing


def test_operations_of_a_forward_pass():
    # q and o 8 x 8, k and v 4 x 8, three MLP matrices 12 x 8; scores and their sums over half of
    # the pairs, 2 heads of 4 channels.
    matrices = 2 * 64 + 2 * 32 + 3 * 96
    planned = job(config=small())
    assert body_flops(planned, shape_of(small()), 10) == 2 * matrices * 10 + 2 * 8 * 100


def test_collectives():
    gpu = GPUS["h100"]
    link = gpu.link * USE_LINK
    planned = job(processes=4, strategy="ddp", mini_batch=4)  # 2 updates
    shape = shape_of(planned.config)
    state = state_of(planned, shape)
    found = communication(planned, shape, state, gpu, 32)
    assert found == (0.0, pytest.approx(2 * 2 * 0.75 * 4 * shape.count / link))
    assert communication(job(), shape, state, gpu, 32) == (0.0, 0.0)
    # 8 rollouts of 32 tokens a process, of which 4 are an update's, make 2 micro-batches; the
    # reference scores both of them, the policy the second update's.
    sharded = planned.change(strategy="fsdp2", autocast=True)
    state = state_of(sharded, shape)
    gather, spread_out = 0.75 * 2 * shape.count / link, 0.75 * 4 * state.gradients / link
    found = communication(sharded, shape, state, gpu, 32)
    assert found == pytest.approx((1.5 * 2 * gather, 2 * (2 * gather + spread_out)))


def test_an_update_is_three_passes_and_its_optimizer():
    gpu = GPUS["h100"]
    planned = job(config=r1_distill_1p5b(), autocast=True, engine=Engine("VLLM", memory=0.3))

    def timing(changed):
        memory = plan_memory(changed, 140 * GIB)
        return plan_timing(changed, memory.state, memory.engine, gpu, 16.0)

    plain = timing(planned)
    assert (plain.prompt, plain.completion) == (0.15 * 16, 16.0)
    body = 32 * body_flops(planned, shape_of(planned.config), 16 + 0.15 * 16)
    head = 32 * 16 * 2 * 151936 * 1536
    state = state_of(planned, shape_of(planned.config))
    speed = USE_PASSES * 989e12
    read, write = (32 * 16 * 151936 * moved / (3.35e12 * USE_STREAM) for moved in ONE_PASS)
    adam = 7 * 4 * 1_777_088_000 / (3.35e12 * USE_BANDWIDTH)
    assert optimizer_seconds(planned, state, gpu) == pytest.approx(adam)
    update = (3 * body + 4 * head) / speed + read + write + adam
    assert plain.seconds["update"] == pytest.approx(update)
    halves = timing(planned.change(mini_batch=4))
    assert halves.seconds["score"] == pytest.approx(1.5 * ((body + head) / speed + read))
    again = timing(planned.change(checkpointing=True))
    assert again.seconds["update"] - plain.seconds["update"] == pytest.approx(body / speed)
    assert plain.seconds["other"] == OTHER
    alone = timing(planned.change(reference=False))
    assert alone.seconds["score"] == 0, "a single update is made with the old policy"
    full = timing(planned.change(autocast=False))
    assert full.seconds["score"] == pytest.approx(FP32_SLOWER * (body + head) / speed)
    assert plain.step == sum(plain.seconds.values())


# Of docs/gpu.md at db59886, whose LM head read its logits in slices: checkpointing, seconds.
MEASURED = {"score": (False, 0.86), "off": (False, 2.67), "on": (True, 3.27)}


@pytest.mark.parametrize("name", MEASURED)
def test_a_pass_takes_what_was_measured(name):
    """32 rollouts on an H200: a plan that is a tenth off would be told from a measurement."""
    checkpointing, seconds = MEASURED[name]
    given = job(
        config=r1_distill_1p5b(), autocast=True, questions=4, group=8, checkpointing=checkpointing
    ).change(mini_batch=2 if name == "score" else 4)
    shape = shape_of(given.config)
    found = pass_seconds(given, shape, state_of(given, shape), GPUS["h200"], 150, 1843, SLICES)
    # Half of the rows are scored by the policy, and all by the reference.
    planned = found.score / 1.5 if name == "score" else found.update
    assert 0.9 < planned / seconds < 1.1


def test_decoding_reads_weights_and_cache_for_every_token():
    gpu = GPUS["h100"]
    config = r1_distill_1p5b()
    engine = Engine("VLLM", memory=0.3, dtype=torch.bfloat16, rows=8)
    planned = job(config=config, autocast=True, engine=engine, max_prompt=20, max_new=100)
    shape = shape_of(config)
    matrices = shape.matrices + 151936 * 1536

    def seconds(rows, width, token_bytes):
        """Of a token of each, at 3 tokens of prompt and half of 60."""
        return (matrices * width + rows * 33 * token_bytes) / (3.35e12 * USE_BANDWIDTH) + 0.005

    bytes_here = engine_bytes(planned, shape, 80 * GIB)
    found, at_once = generation(planned, shape, bytes_here, gpu, 3.0, 60.0)
    prompts = 8 * body_flops(planned, shape, 3.0) / (0.4 * 989e12)
    token = 28 * 2 * 256 * 2
    # 32 rollouts, 8 at a time; then the longest ones go on for 40 tokens.
    decoding = 4 * 60 * seconds(8, 2, token) + 40 * seconds(1, 2, token)
    assert (found, at_once) == (pytest.approx(decoding + prompts), 8)

    crowded = replace(bytes_here, tokens=2 * 33 + 5)
    assert generation(planned, shape, crowded, gpu, 3.0, 60.0)[1] == 2

    # The policy itself reads its fp32 weights, and waits for the longest in each of 4 waves.
    native = planned.change(engine=Engine(rows=8))
    own = replace(bytes_here, token_bytes=2 * token)
    found, _ = generation(native, shape, own, gpu, 3.0, 60.0)
    decoding = 4 * (60 * seconds(8, 4, 2 * token) + 40 * seconds(1, 4, 2 * token))
    assert found == pytest.approx(decoding + prompts)


def test_a_kl_in_the_reward_needs_all_rows_scored():
    """By the reference, and by the policy itself: one update of four spares a quarter."""
    assert scorings(job(questions=8, mini_batch=2)) == 1.75
    assert scorings(job(questions=8, mini_batch=2, kl_in_reward=True)) == 2.0
