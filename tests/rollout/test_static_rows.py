"""Decoding with a cache that stays in place: what a GPU records is recorded and run again here."""

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from types import MethodType, SimpleNamespace

import pytest
import torch
from near import rounded, same
from test_rollout import FOURS, PROMPTS, request, rows
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from fgexpo.errors import UserError
from fgexpo.groups import Groups
from fgexpo.model.compiled import compile_layers
from fgexpo.model.exactness import Trial
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.lora import LoRA, adapt
from fgexpo.model.packing import enable_packing
from fgexpo.model.sequences import join
from fgexpo.rollout import Native, native_graphs, native_static
from fgexpo.rollout.native import decode_in_place
from fgexpo.rollout.native_graphs import CudaGraphs
from fgexpo.rollout.native_rows import Rows, forced_logprobs
from fgexpo.rollout.native_static import StaticRows, is_static, length_for, rows_for
from fgexpo.rollout.native_weights import decoding_copy

CPU = torch.device("cpu")
SHAPE = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


class Tape(TorchDispatchMode):
    """A CUDA graph's stand-in: operations with their tensors, none of which may wait."""

    waits = ("_local_scalar_dense", "nonzero", "masked_select", "unique")

    def __init__(self, step):
        super().__init__()
        self.calls = []
        with self:
            step()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(name in str(func) for name in self.waits), f"{func} waits for the host"
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, found))
        return found

    def replay(self):
        now = {}  # by the tensor of the recording

        def swap(x):
            return now.get(id(x), x) if isinstance(x, torch.Tensor) else x

        for func, args, kwargs, found in self.calls:
            again = func(*tree_map(swap, args), **tree_map(swap, kwargs))
            now.update(zip(map(id, tree_leaves(found)), tree_leaves(again), strict=True))


class InPlace(Native):
    """Decodes on a CPU as on a GPU; the tape of each shape is run again for every token."""

    recorded = 0

    def reader(self, policy, request):
        return decode_in_place(policy, request, self.recorder)

    def recorder(self, device):
        def record(step):
            self.recorded += 1
            return Tape(step).replay

        return record


@pytest.fixture
def small_steps(monkeypatch):
    """Short completions cross several lengths and numbers of rows."""
    for name, value in {"BLOCK": 2, "SHORTEST": 6, "FEWEST": 2}.items():
        monkeypatch.setattr(native_static, name, value)


@pytest.mark.parametrize(
    ("max_rows", "sampling"), [(1024, {}), (7, {"temperature": 0.6, "top_p": 0.9})]
)
def test_tokens_and_logprobs_are_those_of_the_growing_cache(model, small_steps, max_rows, sampling):
    enable_packing(model)
    whole = request(group=12, max_new_tokens=18, **sampling)
    ragged = replace(whole, seeds=[whole.seeds[0][:1], whole.seeds[1], whole.seeds[2][2:7]])
    for asked in (whole, ragged):
        expected = Native(max_rows).generate(model, asked)
        engine = InPlace(max_rows)
        found = engine.generate(model, asked)
        assert torch.equal(found.tokens_NT, expected.tokens_NT)
        assert torch.equal(found.lengths_N, expected.lengths_N)
        assert found.finish == expected.finish and {"stop", "length"} == set(found.finish)
        same(found.logp_NT, expected.logp_NT)
        waves = 1 if max_rows > 36 else 3
        assert waves < engine.recorded <= waves * (6 + 5)  # numbers of rows and lengths on the way


def test_the_recording_is_of_places_not_of_numbers(model):
    """A single recording serves every token between two lengths."""
    engine = InPlace()
    asked = request(group=1, max_new_tokens=24, temperature=0.0)
    asked.stop_ids = []
    assert rows(engine.generate(model, asked)) == rows(Native().generate(model, asked))
    assert engine.recorded == 1


def test_stops_in_the_middle(model):
    asked = request(group=64)
    found, expected = InPlace().generate(model, asked), Native().generate(model, asked)
    assert rows(found) == rows(expected) and found.finish == expected.finish
    assert len(set(found.lengths_N.tolist())) > 8, "the example must end at many places"
    assert (found.tokens_NT[~found.mask_NT] == 0).all() and (
        found.logp_NT[~found.mask_NT] == 0
    ).all()
    same(
        found.logp_NT,
        completion_logprobs(model, join(PROMPTS, found, Groups([64] * 3)))[0].detach(),
    )


def forced(model, read):
    completions = Native().generate(model, request())
    with torch.no_grad():
        return forced_logprobs(decoding_copy(model, CPU), join(PROMPTS, completions, FOURS), read)


@pytest.mark.parametrize(("autocast", "off"), [(False, 1e-5), (True, 0.02)])
def test_in_float32_and_in_bf16(model, small_steps, autocast, off):
    model = model.float()
    enable_packing(model)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast, cache_enabled=False):
        expected = forced(model, Rows)
        found = forced(model, partial(StaticRows, new=12))
    rounded(found.float(), expected.float(), off)


def test_numbers_of_rows_and_lengths():
    assert [rows_for(n) for n in (1, 8, 9, 13, 17, 100, 1000)] == [8, 8, 12, 16, 24, 128, 1024]
    assert [length_for(n) for n in (1, 256, 257, 3000)] == [256, 256, 384, 4032]
    for n in range(9, 5000):
        assert n <= rows_for(n) <= 1.5 * n
        assert n <= length_for(n + 256) - 256 and length_for(n + 256) <= 1.5 * (n + 256)


def test_models_that_decode_in_place():
    def of(config):
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)

    plain = of(LlamaConfig(**SHAPE))
    assert is_static(plain)
    enable_packing(plain)
    assert is_static(plain)
    assert not is_static(of(MistralConfig(**SHAPE, sliding_window=8)))
    scaled = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    assert not is_static(of(LlamaConfig(**SHAPE, rope_parameters=scaled)))


def test_the_trial_finds_what_decoding_in_place_gets_wrong(model, monkeypatch):
    trial = Trial(model)
    assert Native().try_in_place(model, trial) is None
    monkeypatch.setattr(StaticRows, "keep", lambda self, kept: self._show(len(kept)))
    monkeypatch.setattr("fgexpo.model.exactness._found", {})
    assert "is off by" in Native().try_in_place(model, trial)


def test_decoding_weights_are_rounded_once_with_the_same_bits(model):
    model = model.float()
    adapt(model, LoRA(rank=2), seed=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight += 0.3
    model.register_forward_pre_hook(lambda *_: pytest.fail("hooks are left out"))
    tokens = torch.tensor([PROMPTS[0]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        copied = decoding_copy(model.eval(), CPU)
        found = copied(tokens).logits
        model._forward_pre_hooks.clear()
        assert torch.equal(found, model(tokens).logits)
    head, embedding = copied.get_output_embeddings(), copied.get_input_embeddings()
    assert head.weight.dtype == torch.bfloat16 and embedding.weight.dtype == torch.float32
    assert embedding.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert decoding_copy(model, CPU).get_output_embeddings().weight.dtype == torch.float32


def bound(model):
    """Forward passes in the modules' objects, as kernels put them there."""
    for layer in model.model.layers:
        for part in (layer.mlp, layer.self_attn):
            part.forward = MethodType(type(part).forward, part)


@pytest.mark.parametrize("change", [bound, compile_layers])
def test_a_copy_with_other_forward_passes_reads_its_own_weights(model, change, monkeypatch):
    model = model.float().eval()
    change(model)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        copied, seen = decoding_copy(model, CPU), []
        plain = nn.Linear.forward
        monkeypatch.setattr(
            nn.Linear, "forward", lambda self, states: seen.append(self) or plain(self, states)
        )
        with torch.no_grad():
            copied(input_ids=torch.tensor([PROMPTS[0]]), use_cache=True)
    own = {id(module) for module in copied.modules()}
    assert len(seen) > 7 and all(id(module) in own for module in seen)
    assert {module.weight.dtype for module in seen} == {torch.bfloat16}


@pytest.mark.parametrize("packed", [False, True])
def test_keys_are_cached_in_the_compute_dtype_with_the_same_bits(model, packed, monkeypatch):
    model = model.float()
    if packed:
        enable_packing(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        layer = Rows(model, PROMPTS, CPU)._cache.layers[0]
        assert layer.keys.dtype == layer.values.dtype == torch.bfloat16
        found = Native().generate(model, request())
        monkeypatch.setattr("fgexpo.rollout.native_cache.as_attended", lambda states: states)
        layer = Rows(model, PROMPTS, CPU)._cache.layers[0]
        assert layer.keys.dtype == torch.float32
        expected = Native().generate(model, request())
    assert torch.equal(found.tokens_NT, expected.tokens_NT)
    assert torch.equal(found.logp_NT, expected.logp_NT)


class FakeGPU:
    """The few calls of torch.cuda that record a graph; ending a recording may fail."""

    def __init__(self, monkeypatch):
        self.log, self.end = [], None
        stream = SimpleNamespace(device=0, wait_stream=lambda other: self.log.append("wait"))
        calls = {
            "Stream": lambda device: stream,
            "current_stream": lambda device: stream,
            "stream": nullcontext,
            "graph_pool_handle": lambda: "pool",
            "CUDAGraph": lambda: SimpleNamespace(replay=lambda: self.log.append("replay")),
            "graph": self.graph,
        }
        for name, call in calls.items():
            monkeypatch.setattr(torch.cuda, name, call)
        native_graphs._stream.cache_clear()

    @contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        self.log.append((pool, capture_error_mode))
        try:
            yield
        finally:
            if self.end is not None:
                raise self.end


def test_a_step_is_run_once_then_recorded(monkeypatch):
    gpu = FakeGPU(monkeypatch)
    CudaGraphs(CPU)(lambda: gpu.log.append("step"))()
    assert gpu.log == ["wait", "step", "wait", ("pool", "thread_local"), "step", "replay"]


def test_what_cannot_be_recorded_is_said_and_lack_of_memory_stays_that(monkeypatch):
    gpu = FakeGPU(monkeypatch)
    gpu.end = RuntimeError("a previous error during capture")
    calls = []

    def failing(error):
        calls.append(error)
        if len(calls) % 2 == 0:  # after the first run
            raise error

    said = r"model\.engine\.graphs.*\(RuntimeError: waits for the host\).* false"
    with pytest.raises(UserError, match=said):
        CudaGraphs(CPU)(partial(failing, RuntimeError("waits for the host")))
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        CudaGraphs(CPU)(partial(failing, torch.OutOfMemoryError("full")))
    native_graphs._stream.cache_clear()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize(("autocast", "off"), [(False, 1e-4), (True, 0.05)])
def test_graphs_on_a_gpu(model, autocast, off):
    device = torch.device("cuda")
    model = model.float().to(device)
    enable_packing(model)
    asked = replace(request(group=32, max_new_tokens=300), device=device)
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast, cache_enabled=False):
        completions = Native(graphs=False).generate(model, asked)
        sequences = join(PROMPTS, completions, Groups([32] * 3))
        read = partial(StaticRows, new=300, recorder=CudaGraphs)
        with torch.no_grad():
            expected = forced_logprobs(model, sequences)
            found = forced_logprobs(decoding_copy(model, device), sequences, read)
            again = Native().generate(model, asked)
            expected_again = forced_logprobs(model, join(PROMPTS, again, Groups([32] * 3)))
    rounded(found.float(), expected.float(), off)
    # Not the tokens: a last bit at the border between two of them is another draw.
    rounded(again.logp_NT.float(), expected_again.float(), off)
