"""Compiled layers: the plain model's numbers to rounding, under the same names.

And for every variant of a model: a pass without gradients gives the bits of one with them.
"""

import importlib.util
import shutil

import pytest
import torch
from near import same
from torch import nn

from fgexpo.model import compiled
from fgexpo.model.compiled import check_compile, compile_layers
from fgexpo.model.kernels import use_kernels
from fgexpo.model.loading import load_model
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.lora import LoRA, adapt
from fgexpo.model.packing import enable_packing
from fgexpo.model.sequences import join_solutions

GPU = torch.cuda.is_available()
SHORT = join_solutions([[3, 4, 5], [6]], [[9, 10, 1], [11, 12, 13, 14, 1]])
LONG = join_solutions([[3, 4, 5, 6], [6, 7]], [[9, 10, 8, 7, 5, 9, 1], [11, 12, 13, 14, 9, 1]])


def logp(model, given=SHORT):
    return completion_logprobs(model, given.to(next(model.parameters()).device))[0]


def opened(folder, dtype="float64"):
    model = load_model(folder, dtype)
    assert enable_packing(model)
    return model.train()


def test_what_cannot_be_compiled_is_refused_in_a_sentence(monkeypatch):
    check_compile(False, "liger")
    with pytest.raises(ValueError, match=r"compile_layers = true and model\.kernels = liger both"):
        check_compile(True, "liger")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="needs a C\\+\\+ compiler"):
        check_compile(True, "none")


def test_generation_and_names_stay_as_they_are(model_folder, monkeypatch):
    calls = []

    def compile_(function, **options):
        assert options == {"dynamic": True, "options": {"emulate_precision_casts": True}}

        def called(*inputs, **named):
            calls.append(named.get("past_key_values"))
            return function(*inputs, **named)

        return called

    monkeypatch.setattr(torch, "compile", compile_)
    model = opened(model_folder)
    names, before = list(model.state_dict()), logp(model)
    compile_layers(model)
    assert list(model.state_dict()) == names and torch.equal(logp(model), before)
    layers = model.config.num_hidden_layers
    assert calls == [None] * layers
    model.eval()(input_ids=SHORT.tokens_NL, use_cache=True)
    assert len(calls) == layers
    model.get_decoder().layers = nn.ModuleDict()
    with pytest.raises(ValueError, match="does not hold its layers"):
        compile_layers(model)


FULL = pytest.param(True, marks=pytest.mark.full)


@pytest.mark.slow  # the C++ compiler, for each piece of a layer
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
@pytest.mark.parametrize("more", [False, FULL])
def test_compiled_layers_compute_the_same(model_folder, more):
    """More: adapters and checkpointing too."""
    plain, model = opened(model_folder), opened(model_folder)
    for one in (plain, model) if more else ():
        adapt(one, LoRA(rank=2, alpha=4), seed=0)
        one.gradient_checkpointing_enable({"use_reentrant": False})
    compile_layers(model)
    torch._dynamo.utils.counters.clear()
    for given in (SHORT, LONG):
        values, expected = logp(model, given), logp(plain, given)
        same(values, expected)
        for one, found in ((model, values), (plain, expected)):
            one.zero_grad()
            found.square().sum().backward()
        pairs = zip(model.named_parameters(), plain.parameters(), strict=True)
        gradients = [(w.grad, other.grad) for (_, w), other in pairs if w.requires_grad]
        assert gradients
        for found, wanted in gradients:
            same(found, wanted)
        with torch.no_grad():
            assert torch.equal(logp(model, given), values)
        print(torch._dynamo.utils.counters["stats"], torch._dynamo.utils.counters["graph_break"])


VARIANTS = ("plain", "bf16 weights", "liger", "compiled")


@pytest.mark.skipif(not GPU, reason="needs a GPU; what a CPU can show, other tests do")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_no_gradients_equal_gradients_on_a_gpu(model_folder, variant, checkpointing):
    if variant == "liger" and importlib.util.find_spec("liger_kernel") is None:
        pytest.skip("needs liger-kernel")
    model = opened(model_folder, "bfloat16" if variant == "bf16 weights" else "float32")
    if variant == "liger":
        use_kernels(model, "liger")
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if variant == "compiled":
        compile_layers(model)
    model.cuda()
    for given in (SHORT, LONG):
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            values = logp(model, given)
            with torch.no_grad():
                silent = logp(model, given)
        assert torch.equal(silent, values)
        values.sum().backward()
