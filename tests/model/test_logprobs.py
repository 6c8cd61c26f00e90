import pytest
import torch
from near import same
from transformers import GPT2Config, GPT2LMHeadModel

from fgexpo.model import head_slices
from fgexpo.model.loading import load_model
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.sequences import join_solutions


@pytest.fixture
def sequences():
    return join_solutions([[3, 4, 5], [6], [7, 8]], [[9, 10, 1], [11, 12, 13, 14, 1], [1]])


def full_logits(model, sequences, temperature):
    """Log-probs row by row from the model's own forward, without padding."""
    found = torch.zeros(len(sequences.lengths_N), sequences.width, dtype=torch.float64)
    entropy = torch.zeros_like(found)
    for n, (prompt, length) in enumerate(
        zip(
            sequences.prompt_lengths_N.tolist(),
            sequences.completion_lengths_N.tolist(),
            strict=True,
        )
    ):
        tokens = sequences.tokens_NL[n : n + 1, : prompt + length]
        logp = (model(tokens).logits[0] / temperature).log_softmax(-1)
        for t in range(length):
            found[n, t] = logp[prompt + t - 1, tokens[0, prompt + t]]
            entropy[n, t] = -(logp[prompt + t - 1].exp() * logp[prompt + t - 1]).sum()
    return found, entropy


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_against_the_models_own_logits(model, sequences, temperature):
    expected, expected_entropy = full_logits(model, sequences, temperature)
    found, entropy = completion_logprobs(model, sequences, temperature, entropy=True)
    same(found, expected)
    same(entropy, expected_entropy)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("width", [None, 3])
def test_gradients_are_those_of_the_full_logits(model, sequences, temperature, width, monkeypatch):
    if width is not None:
        tokens = int(sequences.completion_lengths_N.sum())
        monkeypatch.setitem(head_slices.LOGITS_PER_CHUNK, "cpu", width * tokens)
    weight_NT = torch.randn(3, sequences.width, generator=torch.Generator().manual_seed(0))

    def gradients(logp_NT, entropy_NT):
        model.zero_grad()
        (weight_NT * logp_NT + 0.5 * weight_NT.flip(0) * entropy_NT).sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    expected = gradients(*full_logits(model, sequences, temperature))
    found = gradients(*completion_logprobs(model, sequences, temperature, entropy=True))
    assert any(gradient.abs().max() > 0.1 for gradient in expected)
    for a, b in zip(found, expected, strict=True):
        same(a, b)


def test_a_row_does_not_depend_on_its_company(model, sequences):
    together, _ = completion_logprobs(model, sequences)
    alone, _ = completion_logprobs(model, sequences.select(torch.tensor([0])))
    same(alone[0], together[0])


def test_a_models_own_dropout_is_left_out(tmp_path, sequences):
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 16, "vocab_size": 20, "n_positions": 32}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=1)).save_pretrained(tmp_path)
    assert GPT2Config.from_pretrained(tmp_path).attn_pdrop == 0.1, "as it came"
    model = load_model(str(tmp_path))
    evaluated, _ = completion_logprobs(model.eval(), sequences)
    trained, _ = completion_logprobs(model.train(), sequences)
    assert torch.equal(trained, evaluated)
