"""What a plan counts for the engine and its rollouts."""

from dataclasses import replace

import pytest
import torch
from plans import full_size, job, small
from transformers import Qwen2ForCausalLM

from fgexpo.plan.advice import advise
from fgexpo.plan.count_bytes import StorageCounter
from fgexpo.plan.decoding import copied_weights, count_wave, wave_of
from fgexpo.plan.generation import ENGINE_RESIDUE, ENGINE_WORKSPACE, GIB, engine_bytes
from fgexpo.plan.gpus import GPUS
from fgexpo.plan.job import Call, Engine
from fgexpo.plan.known_models import r1_distill_1p5b
from fgexpo.plan.memory import plan_memory
from fgexpo.plan.shape import shape_of
from fgexpo.plan.timing import plan_timing
from fgexpo.rollout import Native, RolloutRequest, Sampling
from fgexpo.rollout.native import decode_in_place
from fgexpo.rollout.native_graphs import unrecorded


def request(prompts, group, new):
    return RolloutRequest(
        prompts=[[3] * (16 - n % 2) for n in range(prompts)],
        seeds=[list(range(group))] * prompts,
        sampling=Sampling(max_new_tokens=new),
        stop_ids=[],
        device=torch.device("cpu"),
        longest=16 + new,
    )


@pytest.mark.parametrize(("new", "room"), [(2, 17 + 32), (200, 215 + 32)])
def test_decoding_takes_what_the_engine_takes(new, room):
    config = small(num_hidden_layers=3, hidden_size=64, intermediate_size=2000, vocab_size=50)
    planned = job(config=config, max_new=new)
    counted = count_wave(config, wave_of(planned.change(cpu=True), planned.calls[0]))
    model = Qwen2ForCausalLM(config).eval()
    asked = request(8, 4, new)
    counter = StorageCounter([*model.parameters(), *model.buffers()])
    with counter:
        Native().generate(model, asked)
    assert counted.peak == pytest.approx(counter.peak, rel=0.03)
    # Keys and values of one head of 32 channels, fp32, in 3 layers.
    assert counted.kept == 32 * room * 3 * 2 * 32 * 4


class InPlace(Native):
    def reader(self, policy, request):
        return decode_in_place(policy, request, unrecorded)


@pytest.mark.parametrize(("new", "length", "autocast"), [(2, 64, False), (55, 128, True)])
def test_decoding_in_place_takes_what_the_engine_takes(new, length, autocast):
    config = small(num_hidden_layers=3, hidden_size=64, intermediate_size=2000, vocab_size=50)
    planned = job(config=config, max_new=new, autocast=autocast)
    wave = wave_of(planned, planned.calls[0])
    counted, copied = count_wave(config, wave), copied_weights(config, wave)
    model = Qwen2ForCausalLM(config).eval()
    asked = request(8, 4, new)
    counter = StorageCounter([*model.parameters(), *model.buffers()])
    with counter, wave.precision:
        InPlace().generate(model, asked)
    assert counted.peak == pytest.approx(counter.peak, rel=0.03)
    # Keys and values of one head of 32 channels in 3 layers; what the layers multiply by.
    width = 2 if autocast else 4
    assert counted.kept - copied == pytest.approx(32 * length * 3 * 2 * 32 * width, rel=0.03)
    layer = 64 * 64 * 2 + 64 * 32 * 2 + 64 + 32 * 2 + 3 * 64 * 2000
    assert copied == (2 * (3 * layer + 50 * 64) if autocast else 0)


def test_weights_are_copied_where_they_are_not_in_the_compute_dtype_yet():
    planned = full_size(engine=Engine(rows=64), processes=1, strategy="one process", max_new=512)
    copied, shape = {}, shape_of(planned.config)
    for name, changes in {
        "mixed": {},
        "gathered": {"strategy": "fsdp2"},
        "float32": {"autocast": False},
        "off": {"engine": Engine(rows=64, graphs=False)},
        "cpu": {"cpu": True},
    }.items():
        changed = planned.change(**changes)
        copied[name] = copied_weights(planned.config, wave_of(changed, changed.calls[0]))
    embedding, norms = 151936 * 1536, 57 * 1536
    assert copied.pop("mixed") == 2 * (shape.count - embedding - norms)
    assert not any(copied.values())


def test_native_waves_hold_whole_groups_and_the_worse_of_training_and_validation():
    planned = job(engine=Engine(rows=10))
    assert wave_of(planned, planned.calls[0]).prompts == 2
    assert wave_of(planned, Call(3, 16, 16)).prompts == 1
    alone = engine_bytes(planned, shape_of(planned.config), GIB)
    longer = planned.change(evaluation=Call(1, 4, 200))
    both = engine_bytes(longer, shape_of(planned.config), GIB)
    assert both.cache > alone.cache and both.at_once == alone.at_once == 8


def test_vllm_fills_its_share_with_the_cache():
    config = r1_distill_1p5b()
    engine = Engine("VLLM", memory=0.5, tensor_parallel=2, dtype=torch.bfloat16, rows=256)
    planned = job(
        config=config, processes=8, engine=engine, questions=256, group=8, autocast=True, max_new=48
    )
    found = engine_bytes(planned, shape_of(config), 80 * GIB)
    assert found.weights == 1_777_088_000 * 2 // 2
    assert found.weights + found.cache + found.rest == 40 * GIB
    # Keys and values of 1 of the 2 heads, of 128 channels in 28 layers, in bf16.
    assert found.token_bytes == 28 * 2 * 128 * 2
    assert found.tokens == found.cache // found.token_bytes
    assert (found.asleep, found.missing, found.at_once) == (ENGINE_RESIDUE, 0, 256)
    awake = planned.change(engine=replace(engine, sleep=False))
    assert engine_bytes(awake, shape_of(config), 80 * GIB).asleep == 40 * GIB


def test_a_share_without_room_for_one_sequence_does_not_fit():
    config = r1_distill_1p5b()
    engine = Engine("VLLM", memory=0.05, dtype=torch.bfloat16)
    planned = job(config=config, engine=engine, autocast=True, checkpointing=True)
    memory = plan_memory(planned, 80 * GIB)
    weights, sequence = 2 * 1_777_088_000, 32 * 28 * 2 * 256 * 2
    assert memory.engine.missing == weights + ENGINE_WORKSPACE + sequence - 4 * GIB
    assert memory.spare > 0 and not memory.fits
    advice = advise(planned, 80 * GIB)
    assert advice.flags == ["--model.engine.memory=0.15"]


def test_an_untied_copy_is_counted_for_a_tied_model():
    engine = Engine("VLLM", memory=0.5)
    tied = job(config=small(tie_word_embeddings=True), engine=engine)
    own = job(config=small(), engine=engine)
    found = [engine_bytes(one, shape_of(one.config), GIB).weights for one in (tied, own)]
    assert found[0] == found[1] == 4 * shape_of(small()).count


def test_a_server_takes_nothing_here():
    planned = job(engine=Engine("VLLMServer"))
    memory = plan_memory(planned, GIB)
    assert not any(size for kind, size in memory.phases["generate"].items() if "engine" in kind)
    timing = plan_timing(planned, memory.state, memory.engine, GPUS["h100"], None)
    assert timing.seconds["generate"] == 0
