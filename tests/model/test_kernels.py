"""liger-kernel's kernels: of one model and no other, refused where they cannot run.

Triton's interpreter runs them on a CPU where both packages are installed.
"""

import importlib.util
import os
from functools import partial

import pytest
import torch
from near import rounded
from transformers import LlamaConfig
from transformers.models.qwen2 import modeling_qwen2

from fgexpo.model import kernels
from fgexpo.model.kernels import check_kernels, use_kernels
from fgexpo.model.loading import load_model
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.lora import LoRA, adapt
from fgexpo.model.packing import enable_packing
from fgexpo.model.sequences import join_solutions

GPU = torch.cuda.is_available()
HERE = all(importlib.util.find_spec(name) for name in ("triton", "liger_kernel"))
RUNS = HERE and (GPU or os.environ.get("TRITON_INTERPRET") == "1")


def test_what_cannot_run_is_refused_in_a_sentence(monkeypatch):
    check_kernels("none", "qwen2", on_gpu=False)
    with pytest.raises(ValueError, match=r"model\.kernels = liger needs a CUDA GPU"):
        check_kernels("liger", "qwen2", on_gpu=False)
    with pytest.raises(ValueError, match="must be liger or none, got 'fast'"):
        check_kernels("fast", "qwen2", on_gpu=True)
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs liger-kernel: `pip install -e '\.\[liger\]'`"):
        check_kernels("liger", "qwen2", on_gpu=True)


def rotate_twice(q, k, cos, sin):
    """Stands for liger-kernel's rotary function."""
    q, k = ORIGINAL(q, k, cos, sin)
    return ORIGINAL(q, k, cos, sin)


ORIGINAL = modeling_qwen2.apply_rotary_pos_emb


def patch(model=None, **parts):
    """Patches the process as liger-kernel does."""
    assert parts == {
        "rope": True, "rms_norm": True, "swiglu": True,
        "cross_entropy": False, "fused_linear_cross_entropy": False,
    }  # fmt: skip
    modeling_qwen2.apply_rotary_pos_emb = rotate_twice
    modeling_qwen2.Qwen2MLP = None


def logp(model):
    given = join_solutions([[3, 4, 5], [6]], [[9, 10, 1], [11, 12, 13, 14, 1]])
    device = next(model.parameters()).device
    return completion_logprobs(model, given.to(device))[0]


def test_one_model_is_changed_and_no_other(model_folder, monkeypatch):
    monkeypatch.setattr(kernels, "_patch_of", lambda model_type: patch)
    model, plain = load_model(model_folder), load_model(model_folder)
    names = list(model.state_dict())
    assert torch.equal(logp(model), logp(plain))
    before = logp(plain)
    use_kernels(model, "liger")
    assert modeling_qwen2.apply_rotary_pos_emb is ORIGINAL and modeling_qwen2.Qwen2MLP
    assert not torch.equal(logp(model), before)
    assert torch.equal(logp(plain), before) and torch.equal(logp(load_model(model_folder)), before)
    assert list(model.state_dict()) == names


def test_a_model_whose_rotary_function_is_not_found_is_refused(model_folder, monkeypatch):
    monkeypatch.setattr(kernels, "_patch_of", lambda model_type: lambda model, **parts: None)
    with pytest.raises(ValueError, match="rotary embedding and SwiGLU for a 'qwen2' model"):
        use_kernels(load_model(model_folder), "liger")


@pytest.mark.skipif(not HERE, reason="needs liger-kernel and Triton")
@pytest.mark.parametrize(
    ("kind", "known"),
    [("qwen2", True), ("llama", True), ("qwen3", True), ("gemma2", False), ("gpt2", False)],
)
def test_the_models_that_it_knows(kind, known):
    assert LlamaConfig.model_type == "llama"
    if known:
        check_kernels("liger", kind, on_gpu=True)
        return
    with pytest.raises(ValueError, match=f"for a '{kind}' model here; set it to none"):
        check_kernels("liger", kind, on_gpu=True)


def numbers_as_compiled(monkeypatch):
    """Mend Triton 3.9's interpreter: floats are float32, and there is no CUDA library."""
    import numpy
    from liger_kernel.ops import rms_norm
    from triton import language
    from triton.runtime import interpreter

    convert = interpreter._implicit_cvt

    def converted(argument):
        if not isinstance(argument, float):
            return convert(argument)
        handle = interpreter.TensorHandle(numpy.array([argument], numpy.float32), language.float32)
        return language.tensor(handle, language.float32)

    monkeypatch.setattr(interpreter, "_implicit_cvt", converted)
    semantic = interpreter.interpreter_semantic
    rsqrt = partial(language.math.rsqrt, _semantic=semantic)
    monkeypatch.setattr(rms_norm, "rsqrt", rsqrt)


@pytest.mark.slow  # Triton's interpreter
@pytest.mark.skipif(not RUNS, reason="needs liger-kernel, and a GPU or TRITON_INTERPRET=1")
@pytest.mark.parametrize("adapters", [False, True])
def test_it_computes_what_the_model_does(model_folder, adapters, monkeypatch):
    if not GPU:
        numbers_as_compiled(monkeypatch)
    device = "cuda" if GPU else "cpu"
    plain, fused = (load_model(model_folder) for _ in range(2))
    use_kernels(fused, "liger")
    found = {}
    for name, model in (("plain", plain), ("fused", fused)):
        if adapters:
            adapt(model, LoRA(rank=2, alpha=4), seed=0)
        assert enable_packing(model)
        model.to(device).train()
        values = logp(model)
        values.square().sum().backward()
        weights = {k: w.grad for k, w in model.named_parameters() if w.requires_grad}
        with torch.no_grad():
            assert torch.equal(logp(model), values), name
        found[name] = (values, weights)
    rounded(found["fused"][0], found["plain"][0], 1e-5)
    for weight, gradient in found["plain"][1].items():
        rounded(found["fused"][1][weight], gradient, 1e-4)
