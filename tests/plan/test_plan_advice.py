"""The settings that a plan advises."""

import pytest
import torch
from plans import full_size, job

from fgexpo.plan.advice import advise
from fgexpo.plan.generation import GIB
from fgexpo.plan.job import Engine
from fgexpo.plan.known_models import qwen3_8b_base, r1_distill_1p5b
from fgexpo.plan.memory import plan_memory


# In the fast suite the command line advises: tests/plan/test_plan_command.py.
@pytest.mark.slow
@pytest.mark.parametrize("memory", [24, 40, 80])
def test_advice_fits_and_nothing_of_it_can_be_left_out(memory):
    planned = full_size()
    assert not plan_memory(planned, memory * GIB).fits
    advice = advise(planned, memory * GIB)
    assert advice.job is not None and plan_memory(advice.job, memory * GIB).fits
    assert advice.memory == plan_memory(advice.job, memory * GIB)
    settings = {
        "--model.reference_offload": "offload",
        "--model.activation_checkpointing": "checkpointing",
        "--model.micro_batch_tokens": "micro_batch_tokens",
        "--trainer.strategy": "strategy",
        "--model.engine.memory": "engine",
        "--model.lora.rank": "adapters",
    }
    changed = {
        name for name in vars(planned) if getattr(planned, name) != getattr(advice.job, name)
    }
    named = {settings[flag.partition("=")[0]] for flag in advice.flags}
    assert changed == named
    for name in changed - {"adapters"}:
        without = advice.job.change(**{name: getattr(planned, name)})
        assert not plan_memory(without, memory * GIB).fits


def test_advice_lowers_what_is_missing_with_every_change():
    advice = advise(full_size(), 24 * GIB)
    left = [change.together for change in advice.changes]
    assert left == sorted(left, reverse=True) and len(set(left)) == len(left)
    assert left[-1] == 0


@pytest.mark.slow
def test_there_may_be_no_advice():
    advice = advise(full_size(config=qwen3_8b_base(), strategy="fsdp2", processes=1), 8 * GIB)
    assert advice.memory is None and not advice.flags and advice.changes


def test_an_engine_that_stays_awake_is_put_to_sleep_first():
    engine = Engine("VLLM", 0.6, 2, torch.bfloat16, False, 256)
    planned = full_size(engine=engine, offload=True, checkpointing=True, micro_batch_tokens=4096)
    advice = advise(planned, 96 * GIB)
    assert advice.flags == ["--model.engine.sleep=true"]


def test_native_decoding_is_cut_into_smaller_waves():
    planned = job(
        config=r1_distill_1p5b(),
        autocast=True,
        questions=64,
        group=8,
        mini_batch=64,
        max_new=1024,
        checkpointing=True,
        engine=Engine(rows=1024),
        micro_batch_tokens=2048,
        offload=True,
    )
    assert advise(planned, 45 * GIB).flags == ["--model.engine.max_rows=256"]
