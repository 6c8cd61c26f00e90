"""The LM head's one pass over 16-bit logits against its slices, and against whole float32 logits.

Triton's interpreter runs the very kernels on a CPU where Triton is installed. Elsewhere a twin in
plain PyTorch stands in for them, so that all around them is tested anyway.
"""

import importlib.util
import os
from types import SimpleNamespace

import pytest
import torch
from near import rounded
from torch import nn

from fgexpo.model import head_slices
from fgexpo.model.head_slices import OnePass, Slices
from fgexpo.model.lm_head import head_logprobs

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
TOKENS, HIDDEN, VOCABULARY = 11, 24, 300
# What bf16 keeps of a gradient; log-probs and entropies are float32 from the same bf16 logits.
COARSE, FINE = 2e-2, 3e-6


class Twin:
    """What head_kernels computes, on whole rows in float32."""

    @staticmethod
    def summarise(logits_Mv, target_M, start, temperature, chosen_M, mean):
        logits = logits_Mv.float() / temperature
        place_M = target_M - start
        here_M = (place_M >= 0) & (place_M < logits.shape[1])
        chosen_M[here_M] = logits[here_M, place_M[here_M]]
        found = (logits.softmax(1) * logits).sum(1) if mean else None
        return logits.logsumexp(1), found

    @staticmethod
    def gradient_(
        logits_Mv, target_M, start, temperature, lse_M, by_logp_M, entropy_M, by_entropy_M
    ):
        logp = logits_Mv.float() / temperature - lse_M[:, None]
        factor = by_logp_M[:, None].expand_as(logp)
        if by_entropy_M is not None:
            factor = factor + (logp + entropy_M[:, None]) * by_entropy_M[:, None]
        chosen = torch.arange(logp.shape[1], device=logp.device) == (target_M - start)[:, None]
        found = chosen * by_logp_M[:, None] - logp.exp() * factor
        return logits_Mv.copy_(found / temperature)


def kernels():
    """Those of Triton, in small blocks, or None where they cannot run."""
    if importlib.util.find_spec("triton") is None:
        return None
    if not GPU and os.environ.get("TRITON_INTERPRET") != "1":
        return None
    from fgexpo.model import head_kernels

    return head_kernels


@pytest.fixture(params=["twin", "triton"])
def one_pass(request, monkeypatch):
    """Use the one pass wherever the head is computed in 16 bits, in slices of 128 tokens."""
    found = Twin if request.param == "twin" else kernels()
    if found is None:
        pytest.skip("needs a GPU, or Triton with TRITON_INTERPRET=1")
    if request.param == "triton":
        monkeypatch.setattr(found, "BLOCK", 32)
    monkeypatch.setattr(head_slices, "_kernels", lambda: found)
    monkeypatch.setitem(head_slices.LOGITS_PER_CHUNK, DEVICE, 150 * TOKENS)

    def switch(on):
        kind = OnePass if on else Slices
        monkeypatch.setattr("fgexpo.model.lm_head.slices", kind)

    return switch


def inputs(dtype=torch.bfloat16, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(HIDDEN, VOCABULARY, bias=False, dtype=dtype)
    with torch.no_grad():
        head.weight.copy_(torch.randn(VOCABULARY, HIDDEN, generator=generator) * scale)
    hidden = torch.randn(TOKENS, HIDDEN, generator=generator).to(DEVICE, dtype).requires_grad_()
    # The first and last token of every slice of 128, and others.
    target = torch.tensor([0, 127, 128, 255, 256, 299, 5, 130, 298, 129, 77])
    return head.to(DEVICE), hidden, target.to(DEVICE)


def gradients(outputs, *wanted):
    factor = torch.linspace(-1, 2, TOKENS, device=DEVICE)
    total = sum((x * factor.roll(i)).sum() for i, x in enumerate(outputs))
    return torch.autograd.grad(total, wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("entropy", [False, True])
def test_the_numbers_are_those_of_slices(one_pass, temperature, entropy, dtype):
    head, hidden, target = inputs(dtype)
    found = {}
    for on in (False, True):
        one_pass(on)
        outputs = head_logprobs(head, hidden, target, temperature, entropy)[: 1 + entropy]
        found[on] = (outputs, gradients(outputs, hidden, head.weight))
    assert all(new.dtype == torch.float32 for new in found[True][0])
    # Together: an entropy is a difference of numbers as large as logits.
    rounded(torch.stack(found[True][0]), torch.stack(found[False][0]), FINE)
    for new, old in zip(found[True][1], found[False][1], strict=True):
        assert new.dtype == dtype
        rounded(new, old, COARSE)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_under_autocast_they_are_those_of_whole_logits(one_pass, temperature):
    head, hidden, target = inputs(torch.float32)
    one_pass(True)
    with torch.autocast(DEVICE, torch.bfloat16):
        found = head_logprobs(head, hidden, target, temperature, entropy=True)
        logp = (head(hidden).float() / temperature).log_softmax(1)
    expected = (logp.gather(1, target[:, None])[:, 0], -(logp.exp() * logp).sum(1))
    rounded(torch.stack(found), torch.stack(expected), FINE)
    pairs = zip(
        gradients(found, hidden, head.weight),
        gradients(expected, hidden, head.weight),
        strict=True,
    )
    for new, old in pairs:
        assert new.dtype == torch.float32
        rounded(new, old, COARSE)


def test_looking_changes_nothing_and_neither_do_gradients(one_pass):
    head, hidden, target = inputs()
    one_pass(True)
    logp, entropy = head_logprobs(head, hidden, target, entropy=True)
    alone, _ = head_logprobs(head, hidden, target)
    with torch.no_grad():
        silent = head_logprobs(head, hidden, target, entropy=True)
    assert torch.equal(silent[0], logp) and torch.equal(silent[1], entropy)
    assert torch.equal(alone, logp)
    looked_at, expected = (gradients((x,), hidden, head.weight) for x in (logp, alone))
    assert all(map(torch.equal, looked_at, expected))


def test_a_row_does_not_hang_on_its_neighbours(one_pass):
    head, hidden, target = inputs()
    one_pass(True)
    logits = (hidden @ head.weight.t()).detach()[:, :128].contiguous()

    def summary(rows):
        part = SimpleNamespace(kernels=head_slices._kernels, temperature=0.6)
        chosen = torch.zeros(len(rows), device=DEVICE)
        return OnePass.summarise(part, rows, 0, target[: len(rows)], chosen, True)

    for whole, few in zip(summary(logits), summary(logits[:3]), strict=True):
        if head_slices._kernels() is Twin:  # PyTorch promises no such thing
            rounded(few, whole[:3], FINE)
        else:
            assert torch.equal(few, whole[:3])


def test_logits_that_overflow_an_exponential(one_pass):
    head, hidden, target = inputs(scale=1e4)
    found = {}
    for on in (False, True):
        one_pass(on)
        found[on] = torch.stack(head_logprobs(head, hidden, target, entropy=True))
    rounded(found[True], found[False], FINE)


def test_a_number_that_is_not_one_is_told(one_pass):
    head, hidden, target = inputs()
    one_pass(True)
    with torch.no_grad():
        hidden[2, 3] = float("nan")
    logp, entropy = head_logprobs(head, hidden, target, entropy=True)
    assert logp.isnan().nonzero().flatten().tolist() == [2]
    assert entropy.isnan().nonzero().flatten().tolist() == [2]


def test_without_tokens(one_pass):
    head, hidden, target = inputs()
    one_pass(True)
    logp, entropy = head_logprobs(head, hidden[:0], target[:0], entropy=True)
    assert logp.shape == entropy.shape == (0,)
    logp.sum().backward()
    assert head.weight.grad.abs().sum() == 0


def test_one_buffer_of_16_bits_with_aligned_rows():
    hidden, weight = torch.zeros(1000, 8, dtype=torch.bfloat16), torch.zeros(151_936, 8)
    parts = OnePass(hidden.to("meta"), weight.to("meta"), 1.0)
    assert parts.width == 2**27 // 1000 // 128 * 128
    assert parts._logits.dtype == torch.bfloat16 and parts._logits.numel() == 1000 * parts.width
    assert OnePass(hidden[:1].to("meta"), weight[:21].to("meta"), 1.0).width == 21


def test_a_cpu_float32_and_a_machine_without_a_compiler_take_slices(monkeypatch):
    weight = torch.zeros(21, 8)
    for dtype in (torch.float32, torch.bfloat16):
        assert type(head_slices.slices(torch.zeros(3, 8, dtype=dtype), weight, 1.0)) is Slices
    said = []
    monkeypatch.setattr(head_slices, "rank_zero_info", said.append)
    monkeypatch.setattr(head_slices, "_tools", {})
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(head_slices.shutil, "which", lambda name: None)
    assert not head_slices.kernels_work() and not head_slices.kernels_work()
    assert len(said) == 1 and "a C compiler (gcc or clang)" in said[0]
    # A compiler alone would fail at the first kernel, where Python's headers are not there.
    said.clear()
    monkeypatch.setattr(head_slices, "_tools", {})
    monkeypatch.setattr(head_slices.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(head_slices.sysconfig, "get_paths", lambda: {"include": "none"})
    assert not head_slices.kernels_work()
    assert "Python's headers" in said[0] and "C compiler" not in said[0]


@pytest.mark.slow  # four kernels through Triton's compiler
def test_the_kernels_compile_for_a_gpu_that_is_not_here():
    found = (
        None if os.environ.get("TRITON_INTERPRET") == "1" else importlib.util.find_spec("triton")
    )
    if found is None:
        pytest.skip("needs Triton, without TRITON_INTERPRET")
    import triton
    from triton.backends.compiler import GPUTarget

    from fgexpo.model import head_kernels

    numbers = {"logits": "*bf16", "targets": "*i64", "start": "i32", "width": "i32"}
    for kernel, option in ((head_kernels._summarise, "MEAN"), (head_kernels._gradient, "ENTROPY")):
        for on in (False, True):
            constants = {"SCALED": on, option: on, "BLOCK": head_kernels.BLOCK}
            kinds = {
                name: "constexpr" if name in constants else numbers.get(name, "*fp32")
                for name in kernel.arg_names
            }
            source = triton.compiler.ASTSource(
                kernel, {**kinds, "temperature": "fp32"}, constexprs=constants
            )
            options = {"num_warps": head_kernels.WARPS}
            built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
            assert built.asm["cubin"] and built.metadata.num_warps == head_kernels.WARPS
