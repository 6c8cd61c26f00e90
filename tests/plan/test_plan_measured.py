"""What a plan counts on fake tensors, against what the same work takes of this machine."""

import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.packing import enable_packing
from fgexpo.model.sequences import Sequences
from fgexpo.plan.activations import Work, count, spread
from fgexpo.plan.adapters import Adapters

TOKENS, LONGEST, PROMPT = 1536, 512, 16


def shape(layers, heads, vocabulary):
    """12 layers of 10 heads: 0.12 B parameters. Over four layers are counted from two and three."""
    return Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=64 * heads,
        intermediate_size=256 * heads,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        tie_word_embeddings=False,
    )


def micro_batch(vocabulary):
    """Padded rows as a rollout step has them, with the lengths that a plan takes for granted."""
    lengths_N = torch.tensor(spread(TOKENS, LONGEST))
    tokens_NL = torch.randint(vocabulary, (len(lengths_N), int(lengths_N.max())))
    prompts_N = torch.full_like(lengths_N, PROMPT)
    numbers_N = torch.arange(len(lengths_N))
    width = tokens_NL.shape[1] - PROMPT
    return Sequences(tokens_NL, prompts_N, lengths_N - PROMPT, numbers_N, width)


def measure(size, work, autocast, checkpointing, adapters):
    """Peak bytes above weights and gradients, of an update's second micro-batch or of scoring."""
    torch.manual_seed(0)
    torch.set_num_threads(2)
    model = Qwen2ForCausalLM(shape(*size))
    enable_packing(model)
    if adapters is not None:
        adapters.put_into(model)
    if checkpointing:
        model.train().gradient_checkpointing_enable({"use_reentrant": False})
    sequences = micro_batch(size[-1])

    def go(part):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast, cache_enabled=False):
            logp_NT, _ = completion_logprobs(model, part, entropy=True)
            if work == "update":
                logp_NT.mean().backward()

    with torch.set_grad_enabled(work == "update"):
        go(sequences.select(torch.tensor([len(sequences.tokens_NL) - 1])))
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = memory("VmRSS")
        go(sequences)
    return memory("VmHWM") - before


def memory(key):
    """Bytes of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"this kernel does not tell a process's {key}")


CASES = [
    ("update", False, False, None),
    ("update", False, True, None),
    ("update", True, False, None),
    ("update", False, False, Adapters(16)),
    ("score", False, False, None),
]


@pytest.mark.slow
# A CPU without bfloat16 of its own takes minutes for the logits of a large vocabulary.
@pytest.mark.parametrize(
    "size", [(5, 6, 4096), pytest.param((12, 10, 32768), marks=pytest.mark.full)]
)
@pytest.mark.parametrize(("work", "autocast", "checkpointing", "adapters"), CASES)
def test_activations_are_those_of_a_measured_run(
    size, work, autocast, checkpointing, adapters, monkeypatch
):
    # Whatever is set free goes back to the system at once, so that resident is what is alive.
    monkeypatch.setitem(os.environ, "MALLOC_MMAP_THRESHOLD_", "65536")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        measured = pool.apply(measure, (size, work, autocast, checkpointing, adapters))
    wanted = Work(
        TOKENS,
        LONGEST,
        autocast=autocast,
        backward=work == "update",
        entropy=True,
        checkpointing=checkpointing,
        adapters=adapters,
        device="cpu",
    )
    counted = count(shape(*size), wanted)
    print(f"{work}: counted {counted.peak / 2**20:.1f} MiB, measured {measured / 2**20:.1f} MiB")
    assert counted.peak == pytest.approx(measured, rel=0.15)
