"""Every layer that a pass gets through is progress; nothing else of the pass changes."""

import pytest
import torch
from torch import nn

from fgexpo import heartbeat
from fgexpo.model.beats import beat_by_layer
from fgexpo.model.loading import load_model
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.sequences import join_solutions
from fgexpo.rollout import Native, RolloutRequest, Sampling

LAYERS = 2


def beats():
    return heartbeat.read().beats


def loss_of(model):
    sequences = join_solutions([[3, 4, 5], [6]], [[7, 8, 9], [4, 4]])
    logp_NT, _ = completion_logprobs(model, sequences, 1.0)
    return logp_NT.sum()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_forward_and_backward_passes_beat_by_layer(model_folder, checkpointing):
    found = []
    for hook in (lambda model: model, beat_by_layer):
        model = hook(load_model(model_folder, "float32"))
        if checkpointing:
            model.train().gradient_checkpointing_enable({"use_reentrant": False})
        start = beats()
        loss = loss_of(model)
        middle = beats()
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        found.append((middle - start, beats() - middle, loss.detach(), gradient))
    plain, hooked = found
    assert hooked[0] - plain[0] == LAYERS
    # Recomputing a layer passes through it forwards once more, up to what the gradient needs.
    assert LAYERS <= hooked[1] - plain[1] <= 2 * LAYERS
    assert torch.equal(plain[2], hooked[2]) and torch.equal(plain[3], hooked[3])


def test_a_prefill_beats_between_two_tokens(model_folder):
    """One new token: the prefill is all that there is."""
    model = beat_by_layer(load_model(model_folder))
    request = RolloutRequest([[3, 4, 5]] * 2, [[1], [2]], Sampling(1), [0], torch.device("cpu"), 8)
    start = beats()
    Native().generate(model, request)
    assert beats() - start == LAYERS + 1


def test_experts_inside_a_layer_do_not_beat():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList([nn.Linear(2, 2) for _ in range(8)])

        def forward(self, x):
            for expert in self.experts:
                x = expert(x)
            return x, None

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([Layer(), Layer()])

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)[0]
            return x

    model = beat_by_layer(nn.Sequential(Body()))
    start = beats()
    model(torch.ones(1, 2)).sum().backward()
    assert beats() - start == 4
