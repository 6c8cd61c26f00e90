"""What the engines ask of vLLM, its answers as completions, and where its processes meet."""

import os
import random
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fgexpo.errors import EnvironmentFailure
from fgexpo.rollout import VLLM, RolloutRequest, Sampling
from fgexpo.rollout.vllm.engine import only_dtype
from fgexpo.rollout.vllm.formats import read_samples, to_completions
from fgexpo.rollout.vllm.needs import VERSIONS, check_names, stay_on_this_node
from fgexpo.rollout.vllm.tensor_parallel import EngineGroup

CPU = torch.device("cpu")


def test_an_old_vllm_is_told_what_it_lacks_and_which_versions_have_it():
    check_names({"LLM": (("a", "b"), ["b", "a", "c"])}, "0.30.0")
    with pytest.raises(ValueError) as refused:
        check_names({"LLM": (("a",), {"a": 1}), "SamplingParams": (("flat", "n"), ["n"])}, "0.9.1")
    assert str(refused.value) == (
        "model.engine: VLLM needs 'flat' of SamplingParams, which the installed vLLM 0.9.1 does "
        f"not have; install {VERSIONS}"
    )


def test_the_versions_named_are_those_of_the_extra():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["optional-dependencies"]["vllm"] == [VERSIONS]


def rows(count=50, longest=40):
    draw = random.Random(0)
    lengths = [draw.randint(1, longest) for _ in range(count)]
    tokens = [[draw.randrange(2**17) for _ in range(length)] for length in lengths]
    return tokens, [[-10 * draw.random() for _ in row] for row in tokens]


@pytest.mark.parametrize("form", [list, np.array])
def test_completions_have_the_bits_that_torch_makes_of_lists(form):
    tokens, logps = rows()
    width = max(map(len, tokens))
    found = to_completions(
        [form(row) for row in tokens], [form(row) for row in logps], ["stop"] * 50, CPU
    )
    padded = [row + [0] * (width - len(row)) for row in tokens]
    logp = [row + [0.0] * (width - len(row)) for row in logps]
    for tensor, expected in ((found.tokens_NT, padded), (found.logp_NT, logp)):
        assert tensor.dtype == torch.tensor(expected).dtype
        assert torch.equal(tensor, torch.tensor(expected))
    assert found.lengths_N.tolist() == [len(row) for row in tokens]


def sample(tokens, logps, of=None):
    flat = SimpleNamespace(token_ids=tokens if of is None else of, logprobs=logps)
    return SimpleNamespace(token_ids=tuple(tokens), logprobs=flat, finish_reason="stop")


def test_flat_log_probs_are_those_of_the_tokens_drawn():
    found = read_samples([sample([3, 1], [-1.0, -2.0]), sample([4], [-3.0])])
    assert found == ([[3, 1], [4]], [[-1.0, -2.0], [-3.0]], ["stop", "stop"])
    with pytest.raises(RuntimeError, match="log-probs of 3 tokens for a rollout of 2"):
        read_samples([sample([3, 1], [-1.0, -2.0, -3.0], of=[3, 5, 1])])
    with pytest.raises(RuntimeError, match="other tokens than it drew"):
        read_samples([sample([3, 1], [-1.0, -2.0], of=[3, 2])])
    # numpy would spread one over the row.
    with pytest.raises(RuntimeError, match="not one per token"):
        to_completions([[3, 1]], [[-1.0]], ["stop"], CPU)


@pytest.mark.parametrize(("temperature", "asked"), [(1.0, 4), (0.0, 1)])
def test_no_rollout_of_the_engine_is_counted_twice(temperature, asked):
    request = RolloutRequest([[3]], [[1, 2, 3, 4]], Sampling(temperature=temperature), [1], CPU, 9)
    for number in (1, 2, 4, 8):
        samples = [sample([g + 5], [-1.0]) for g in range(number)]
        for index, made in enumerate(samples):
            made.index = index
        answers = [SimpleNamespace(outputs=samples[::-1])]
        if number == asked:
            found = VLLM._completions(None, answers, request).tokens_NT[:, 0].tolist()
            assert found == ([5, 6, 7, 8] if asked == 4 else [5] * 4)
        else:
            with pytest.raises(EnvironmentFailure, match=f"{number} rollouts instead of {asked}"):
                VLLM._completions(None, answers, request)


def test_weights_are_rounded_early_only_where_the_engine_rounds_them_all():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)).bfloat16()
    worker = SimpleNamespace(get_model=lambda: model)
    assert only_dtype(worker) == torch.bfloat16
    model[1].float()  # as vLLM keeps some weights of some models
    assert only_dtype(worker) is None


def test_one_process_is_one_node_and_the_users_address_stays(monkeypatch):
    assert EngineGroup(1, CPU).one_node
    monkeypatch.delenv("VLLM_HOST_IP", raising=False)
    stay_on_this_node()
    assert os.environ["VLLM_HOST_IP"] == "127.0.0.1"
    monkeypatch.setenv("VLLM_HOST_IP", "10.0.0.7")
    stay_on_this_node()
    assert os.environ["VLLM_HOST_IP"] == "10.0.0.7"


def test_hosts_with_different_names_are_several_nodes(monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")

    names = ["", "node7"]  # the other's; empty where it is the same

    def gather(hosts, own):
        hosts[:] = [own, names.pop() or own]

    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    assert not EngineGroup(1, CPU).one_node
    assert EngineGroup(1, CPU).one_node
