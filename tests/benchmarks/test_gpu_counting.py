"""What the GPU check counts: operations, data sheets, lengths."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedConfig

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from gpu import generation, work
from gpu.flops import flops_of, peak_flops
from gpu.products import weights_of
from gpu.scale import SCALES, Decoding, Setting, tiny_config

from fgexpo.model import packing
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.plan.job import Job
from fgexpo.plan.known_models import r1_distill_1p5b
from fgexpo.plan.passes import body_flops
from fgexpo.plan.shape import shape_of

TINY = Setting("tiny", "cpu")


def test_flops_of_the_true_shape():
    found = flops_of(r1_distill_1p5b())
    assert found.matrices == 28 * (2 * 1536 * 1536 + 2 * 1536 * 256 + 3 * 1536 * 8960)
    assert (found.head, found.width) == (151936 * 1536, 28 * 12 * 128)
    job = Job(r1_distill_1p5b())
    assert found.body(2000) == body_flops(job, shape_of(job.config), 2000)
    # 2 x 100 x matrices, and each new token looks back on 500.5 tokens on average.
    assert found.body(550, 450) == 200 * found.matrices + 4 * found.width * 100 * 500


def test_the_timed_products_are_all_of_the_model():
    for config in (r1_distill_1p5b(), tiny_config()):
        timed = weights_of(config, 0.5)
        assert sum(one.count * one.outputs * one.inputs for one in timed) == (
            flops_of(config).matrices + flops_of(config).head
        )
        assert [one.share for one in timed if one.name == "LM head"] == [0.5]


def counted(run, backend=SDPBackend.FLASH_ATTENTION):
    """What PyTorch counts; of a CPU's attention nothing, unless it goes by plain products."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(backend):
        run()
    return counter.get_total_flops()


def test_flops_of_passes_are_those_that_pytorch_counts():
    policy, flops = work.open_policy(TINY), flops_of(tiny_config())
    completions = [16, 16, 16, 16]
    rollouts = work.draw_rollouts(TINY, [8, 8], completions, 2)
    # Counted is what rows take that share no prompt.
    rollouts.sequences.prompt_N = torch.arange(4)

    def forward():
        with torch.no_grad():
            return completion_logprobs(policy, rollouts.sequences, entropy=True)

    layers, head = 4 * 2 * 24 * flops.matrices, 2 * 64 * flops.head
    attention = 4 * 2 * flops.width * 24**2
    assert flops.forward([8] * 4, completions) == layers + head + attention
    assert counted(forward) == layers + head
    # The mask leaves half of what plain products compute.
    assert counted(forward, SDPBackend.MATH) == layers + head + 2 * attention

    def backward():
        # In float32 a product is added in place, which PyTorch does not count.
        with work.autocast("cpu"):
            completion_logprobs(policy, rollouts.sequences)[0].sum().backward()

    # An update is three forward passes, and the LM head's logits are made once more than that.
    assert counted(backward) == 3 * (layers + head) + head


def test_flops_of_generation_are_those_that_pytorch_counts():
    policy, flops = work.open_policy(TINY).eval(), flops_of(tiny_config())
    decoding = Decoding(questions=1, prompt=8, new=6, repeats=1)
    group = TINY.size.group
    [prompt] = work.prompt_lengths(decoding)
    run = lambda: generation.generate(policy, TINY, decoding)  # noqa: E731
    read = prompt + group * 5  # the last token of a completion is never read
    linear = 2 * read * flops.matrices + 2 * (1 + group * 5) * flops.head
    # On a CPU the newest token's attention goes by plain products.
    plain = sum(group * 4 * flops.width * (prompt + t) for t in range(1, 6))
    assert counted(run) == linear + plain
    attention = 2 * flops.width * (prompt**2 + group * ((prompt + 5) ** 2 - prompt**2))
    assert flops.generate([prompt], group, 6) == linear + attention


def test_utilisation_needs_a_known_data_sheet():
    for name, expected in {
        "NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H200": 989e12, "NVIDIA H20": 148e12,
        "NVIDIA A100-SXM4-40GB": 312e12, "NVIDIA A100 80GB PCIe": 312e12,
        "NVIDIA GeForce RTX 4090": 165e12, "NVIDIA L40S": 362e12, "NVIDIA B200": 2250e12,
        "NVIDIA H100 PCIe": None, "NVIDIA H100 NVL": None, "NVIDIA GeForce RTX 4090 D": None,
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb": None, "NVIDIA A100-SXM4-40GB MIG 1g.5gb": None,
        "NVIDIA L40": None, "Tesla T4": None, "a CPU": None,
    }.items():  # fmt: skip
        assert peak_flops(name) == expected, name


def test_rollouts_have_real_lengths():
    rollouts = work.real_rollouts(Setting("r1-1.5b", "cpu"))
    lengths_N = rollouts.completions.lengths_N
    assert int(lengths_N.max()) == 3072 and len(lengths_N) == 32
    assert float(lengths_N.float().mean()) == pytest.approx(0.6 * 3072, rel=0.01)
    assert len({len(prompt) for prompt in rollouts.source.prompts} | {100, 200}) == 4
    policy = SimpleNamespace(config=PreTrainedConfig(attn_implementation=packing.ATTENTION))
    for micro_tokens in SCALES["r1-1.5b"].micro_tokens:
        cuts = work.cut_rollouts(policy, rollouts, micro_tokens)
        tokens = [int(rollouts.sequences.lengths_N[rows].sum()) for rows in cuts]
        assert max(tokens) <= micro_tokens and max(tokens) > 0.8 * micro_tokens
        assert sum(len(rows) for rows in cuts) == 32
