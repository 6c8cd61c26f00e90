"""The LM head in slices against the same arithmetic on whole logits."""

import pytest
import torch
from near import rounded, same
from torch import nn
from transformers import AutoModelForCausalLM, Gemma2Config

from fgexpo.model import head_slices, lm_head
from fgexpo.model.lm_head import check_head, head_logprobs
from fgexpo.model.precision import precise

TOKENS, HIDDEN, VOCABULARY = 7, 5, 23


def inputs(dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(HIDDEN, VOCABULARY, bias=False, dtype=dtype)
    with torch.no_grad():
        head.weight.copy_(torch.randn(VOCABULARY, HIDDEN, generator=generator) * scale)
    hidden = torch.randn(TOKENS, HIDDEN, generator=generator).to(dtype).requires_grad_()
    target = torch.randint(VOCABULARY, (TOKENS,), generator=generator)
    return head, hidden, target


def whole(head, hidden, target, temperature):
    logits = head(hidden)
    logp = (logits.to(precise(logits.dtype)) / temperature).log_softmax(-1)
    return logp.gather(1, target[:, None])[:, 0], -(logp.exp() * logp).sum(-1)


def gradients(outputs, *wanted):
    factor = torch.linspace(-1, 2, TOKENS)
    total = sum((x * factor.roll(i)).sum() for i, x in enumerate(outputs))
    return torch.autograd.grad(total, wanted, retain_graph=True)


@pytest.mark.parametrize("width", [1, 4, VOCABULARY, 1000])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_values_and_gradients(width, temperature, monkeypatch):
    monkeypatch.setitem(head_slices.LOGITS_PER_CHUNK, "cpu", width * TOKENS)
    head, hidden, target = inputs()
    expected = whole(head, hidden, target, temperature)
    found = head_logprobs(head, hidden, target, temperature, entropy=True)
    alone, nothing = head_logprobs(head, hidden, target, temperature)
    assert nothing is None
    same(alone, expected[0])
    for outputs in (found, (alone,)):
        for a, b in zip(
            gradients(outputs, hidden, head.weight),
            gradients(expected[: len(outputs)], hidden, head.weight),
            strict=True,
        ):
            same(a, b)
    same(found[1], expected[1])


def test_an_output_that_is_only_looked_at_changes_no_gradient():
    head, hidden, target = inputs()
    logp, entropy = head_logprobs(head, hidden, target, entropy=True)
    alone, _ = head_logprobs(head, hidden, target)
    wanted = (hidden, head.weight)
    expected = torch.autograd.grad(alone.square().sum(), wanted)
    found = torch.autograd.grad(logp.square().sum(), wanted, retain_graph=True)
    assert all(map(torch.equal, found, expected))
    by_entropy = torch.autograd.grad(whole(head, hidden, target, 1.0)[1].sum(), wanted)
    found = torch.autograd.grad(entropy.sum(), wanted)
    for a, b in zip(found, by_entropy, strict=True):
        same(a, b)


def test_the_gradient_is_that_of_finite_differences(monkeypatch):
    monkeypatch.setitem(head_slices.LOGITS_PER_CHUNK, "cpu", 4 * TOKENS)
    head, hidden, target = inputs(torch.float64)

    def outputs(hidden, weight):
        linear = nn.Linear(HIDDEN, VOCABULARY, bias=False)
        linear.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight)
        return lm_head._Head.apply(hidden, weight, target, 0.7, True, torch.float64)

    assert torch.autograd.gradcheck(outputs, (hidden, head.weight))


@pytest.mark.parametrize("kind", ["bfloat16", "autocast"])
def test_half_precision_rounds_as_the_linear_layer_does(kind):
    head, hidden, target = inputs(torch.bfloat16 if kind == "bfloat16" else torch.float32)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        expected = whole(head, hidden, target, 1.0)
        found = head_logprobs(head, hidden, target, entropy=True)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        rounded(a, b, 1e-5)
    pairs = zip(
        gradients(found, hidden, head.weight),
        gradients(expected, hidden, head.weight),
        (hidden, head.weight),
        strict=True,
    )
    for a, b, given in pairs:
        assert a.dtype == given.dtype
        rounded(a, b, 2e-2)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_float32_is_float64_rounded(temperature):
    head, hidden, target = inputs(torch.float32)
    found = head_logprobs(head, hidden, target, temperature, entropy=True)
    for a, b in zip(found, whole(head.double(), hidden.double(), target, temperature), strict=True):
        assert a.dtype == torch.float32
        rounded(a, b, 3e-6)


def test_logits_that_overflow_an_exponential():
    head, hidden, target = inputs(scale=1e4)
    expected = whole(head, hidden, target, 1.0)
    found = head_logprobs(head, hidden, target, entropy=True)
    # Together: an entropy near 0 is a difference of such logits.
    same(torch.stack(found), torch.stack(expected), rel=1e-12)


def test_a_frozen_head_gets_no_gradient():
    head, hidden, target = inputs()
    head.requires_grad_(False)
    logp, _ = head_logprobs(head, hidden, target)
    logp.sum().backward()
    assert head.weight.grad is None and hidden.grad.abs().sum() > 0


def test_without_tokens():
    head, hidden, target = inputs()
    logp, entropy = head_logprobs(head, hidden[:0], target[:0], entropy=True)
    assert logp.shape == entropy.shape == (0,)
    logp.sum().backward()
    assert head.weight.grad.abs().sum() == 0


def test_heads_that_do_more_are_refused(model):
    check_head(model)
    config = Gemma2Config(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, head_dim=8,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"final_logit_softcapping = 30.0 changes its logits"):
        check_head(AutoModelForCausalLM.from_config(config))
    model.lm_head = nn.Linear(4, 8, bias=True)
    with pytest.raises(ValueError, match="without bias is needed"):
        check_head(model)
