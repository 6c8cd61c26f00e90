import pytest
import torch

from fgexpo import logprobs
from fgexpo.logprobs import completion_logprobs
from fgexpo.sequences import join_solutions


@pytest.fixture
def sequences():
    return join_solutions([[3, 4, 5], [6], [7, 8]], [[9, 10, 1], [11, 12, 13, 14, 1], [1]])


def full_logits(model, sequences, temperature):
    """Log-probs row by row from the model's own forward, without padding."""
    found = torch.zeros(len(sequences.lengths_N), sequences.width)
    entropy = torch.zeros_like(found)
    for n, (prompt, length) in enumerate(
        zip(
            sequences.prompt_lengths_N.tolist(),
            sequences.completion_lengths_N.tolist(),
            strict=True,
        )
    ):
        tokens = sequences.tokens_NL[n : n + 1, : prompt + length]
        logp = (model(tokens).logits[0].double() / temperature).log_softmax(-1)
        for t in range(length):
            found[n, t] = logp[prompt + t - 1, tokens[0, prompt + t]]
            entropy[n, t] = -(logp[prompt + t - 1].exp() * logp[prompt + t - 1]).sum()
    return found, entropy


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_against_the_models_own_logits(model, sequences, temperature):
    expected, expected_entropy = full_logits(model, sequences, temperature)
    found, entropy = completion_logprobs(model, sequences, temperature, entropy=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(entropy, expected_entropy, atol=1e-5, rtol=0)
    assert not entropy.requires_grad


def test_chunks_change_neither_values_nor_gradients(model, sequences, monkeypatch):
    def gradient():
        model.zero_grad()
        logp, _ = completion_logprobs(model, sequences)
        (logp * torch.arange(logp.numel()).view_as(logp)).sum().backward()
        return logp.detach(), [p.grad.clone() for p in model.parameters()]

    whole, whole_gradients = gradient()
    monkeypatch.setattr(logprobs, "LOGITS_PER_CHUNK", 2 * model.config.vocab_size)
    chunked, chunked_gradients = gradient()
    torch.testing.assert_close(chunked, whole, atol=1e-6, rtol=0)
    for a, b in zip(chunked_gradients, whole_gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-5)


def test_a_row_does_not_depend_on_its_company(model, sequences):
    together, _ = completion_logprobs(model, sequences)
    alone, _ = completion_logprobs(model, sequences.select(torch.tensor([0])))
    torch.testing.assert_close(alone[0], together[0], atol=1e-6, rtol=0)
