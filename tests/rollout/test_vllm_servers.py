"""Rollouts from vLLM servers, without vLLM: what they are asked, and what is said of bad ones."""

import json
import time

import numpy as np
import pytest
import torch
from doc_blocks import DOCS
from fake_vllm import FLAT, GENERATE, cut_off, hang, serving
from processes import free_port

from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.parallel.whole_weights import full_weights
from fgexpo.rollout import NCCLTransfer, RolloutRequest, Sampling, VLLMServer, WeightTransfer
from fgexpo.rollout.vllm import fleet as fleet_module
from fgexpo.rollout.vllm.answers import read_flat, read_json, write_flat
from fgexpo.rollout.vllm.fleet import deal
from fgexpo.rollout.vllm.server_facts import COMMAND

CPU = torch.device("cpu")


def request(prompts=((3, 4), (5,)), group=2, longest=16, **sampling):
    seeds = [[100 * q + g for g in range(group)] for q in range(len(prompts))]
    options = {"max_new_tokens": 4, **sampling}
    return RolloutRequest(list(map(list, prompts)), seeds, Sampling(**options), [1], CPU, longest)


class Recorded(WeightTransfer):
    def __init__(self, calls=None):
        self.calls = [] if calls is None else calls

    def send(self, policy, urls):
        self.calls.append(("send", [name for name, _ in full_weights(policy)]))


@pytest.mark.parametrize(("flat", "path"), [(True, FLAT), (False, GENERATE)])
def test_a_server_is_asked_after_the_weights_were_sent_and_its_cache_cleared(model, flat, path):
    with serving(flat=flat) as server:
        made, calls = VLLMServer(server.url, Recorded(server.calls), concurrency=1), server.calls
        found = made.generate(model, request(temperature=0.7))
        assert found.tokens_NT.tolist() == [[4], [4], [5], [5]]
        assert found.logp_NT.tolist() == [[-0.5]] * 4
        assert [call[0] for call in calls] == ["send", "/reset_prefix_cache", path, path]
        assert calls[2][1]["token_ids"] == [3, 4]
        assert calls[2][1]["sampling_params"] == {
            "n": 2, "seed": 0, "temperature": 0.7, "top_p": 1.0, "top_k": -1, "max_tokens": 4,
            "stop_token_ids": [1], "ignore_eos": True, "logprobs": 0, "detokenize": False,
        }  # fmt: skip
        calls.clear()
        made.generate(model, request())
        assert "send" not in [call[0] for call in calls]
        made.sync(model)
        made.generate(model, request(temperature=0.0))
        assert [call[0] for call in calls].count("send") == 1
        assert calls[-1][1]["sampling_params"]["n"] == 1
        server.resets = False
        made.sync(model)
        with pytest.raises(EnvironmentFailure, match="did not reset its prefix cache"):
            made.generate(model, request())


@pytest.mark.parametrize(("servers", "world"), [(1, 2), (3, 1), (3, 4), (4, 8)])
def test_a_steps_questions_are_dealt_out_in_turn(servers, world):
    a_process = 6
    shares = [deal(a_process, servers, rank, world) for rank in range(world)]
    # Process r holds every W-th question, from the r-th on.
    step = [shares[n % world][n // world] for n in range(a_process * world)]
    assert step == [n % servers for n in range(a_process * world)]


def test_several_servers_share_the_questions_and_all_drop_their_caches(model):
    prompts = [(n + 3,) for n in range(7)]
    with serving() as a, serving(flat=False) as b, serving() as c:
        # The first is slow, and yet the deal stays.
        a.before = hang(0.02)
        made = VLLMServer([a.url, b.url + "/", c.url], Recorded())
        for _ in range(2):
            found = made.generate(model, request(prompts))
            assert found.tokens_NT[:, 0].tolist() == [t for (t,) in prompts for _ in range(2)]
        for server, path, firsts in (
            (a, FLAT, [3, 6, 9]),
            (b, GENERATE, [4, 7]),
            (c, FLAT, [5, 8]),
        ):
            assert [call[0] for call in server.calls].count("/reset_prefix_cache") == 1
            asked = [call[1]["token_ids"][0] for call in server.calls if call[0] == path]
            assert sorted(asked) == sorted(firsts * 2)
        one = VLLMServer(a.url, Recorded()).generate(model, request(prompts))
    assert torch.equal(one.tokens_NT, found.tokens_NT) and torch.equal(one.logp_NT, found.logp_NT)


def test_answers_lose_no_bit():
    logps = np.random.default_rng(0).standard_normal(9).astype(np.float32) * 7
    rows, tokens = [logps[:5], logps[5:]], [[151_935, 2, 0, 7, 1], [3, 4, 5, 6]]
    flat = read_flat(write_flat(tokens, rows, ["stop", "length"]))
    choices = [
        {
            "index": g,
            "token_ids": ids,
            "finish_reason": reason,
            "logprobs": {"content": [{"logprob": float(logp)} for logp in row]},
        }
        for g, (ids, row, reason) in enumerate(zip(tokens, rows, ("stop", "length"), strict=True))
    ]
    plain = read_json(json.dumps({"choices": choices[::-1]}).encode())
    for answer in (flat, plain):
        assert [row.tolist() for row in answer.tokens] == tokens
        assert all(np.array_equal(*pair) for pair in zip(answer.logps, rows, strict=True))
        assert answer.finish == ["stop", "length"]
    content = write_flat(tokens, rows, ["stop", "length"])
    assert len(content) - content.index(b"\n") - 1 == 8 * 9
    with pytest.raises(ValueError, match="68 bytes for 9 tokens"):
        read_flat(content[:-4])
    with pytest.raises(RuntimeError, match="not one per token"):
        write_flat([[3, 4]], [[-1.0]], ["stop"])


@pytest.mark.parametrize("flat", [True, False])
def test_no_rollout_is_counted_twice(model, flat):
    with serving(flat=flat) as server:
        made = VLLMServer(server.url, Recorded())
        # All greedy rollouts are the one that was asked for.
        found = made.generate(model, request(group=4, temperature=0.0))
        assert found.tokens_NT.tolist() == [[4]] * 4 + [[5]] * 4
        for number, temperature in ((1, 1.0), (2, 1.0), (8, 1.0), (2, 0.0)):
            server.gives = number
            asked = 1 if temperature == 0 else 4
            with pytest.raises(
                EnvironmentFailure,
                match=f"answered something else .{number} rollouts instead of {asked}",
            ):
                made.generate(model, request(group=4, temperature=temperature))


LACKS = {
    "token endpoint": (
        {"flat": False, "enabled": False},
        "--middleware fgexpo.rollout.vllm.flat_answers.FlatAnswers (or --enable-scale-out)",
    ),
    "log-probs": ({"logprobs_mode": "raw_logprobs"}, "--logprobs-mode processed_logprobs"),
    "no transfer": ({"backend": None}, '--weight-transfer-config \'{"backend": "nccl"}\''),
}


@pytest.mark.parametrize("what", LACKS)
def test_a_server_without_a_flag_is_named_before_anything_is_asked(what):
    options, flag = LACKS[what]
    with serving() as good, serving(**options, version="0.31.0") as bad:
        with pytest.raises(UserError) as caught:
            VLLMServer([good.url, bad.url]).check_weights(adapters=True, sharded=True)
        assert good.calls == bad.calls == []
    said = str(caught.value)
    assert f"{bad.url} (vLLM 0.31.0) was started without {flag}; start it with `VLLM_" in said


def test_a_server_outside_development_mode_is_named():
    with serving() as server:
        server.posts -= {"/reset_prefix_cache", "/init_weight_transfer_engine"}
        server.gets = {path: server.gets[path] for path in ("/version", "/v1/models")}
        with pytest.raises(UserError, match="was started without VLLM_SERVER_DEV_MODE=1; start"):
            VLLMServer(server.url).check_weights(adapters=False, sharded=False)
        server.gets = {}
        with pytest.raises(UserError, match="does not answer as a vLLM server does"):
            VLLMServer(server.url).check_weights(adapters=False, sharded=False)


def test_servers_must_be_alike_and_take_the_longest_rollout(model):
    with serving(model="a") as a, serving(model="b") as b:
        with pytest.raises(UserError, match=f"same model, but {a.url} has a and {b.url} has b"):
            VLLMServer([a.url, b.url]).check_weights(adapters=False, sharded=False)
        with pytest.raises(UserError, match=r"takes 64 tokens .* up to 65; .*--max-model-len 65"):
            VLLMServer(a.url, Recorded()).generate(model, request(longest=65))


def test_the_command_of_the_documentation_is_the_one_that_is_told():
    assert f"\n{COMMAND}\n" in (DOCS / "vllm.md").read_text()


def test_addresses_are_checked():
    for urls, said in (
        ("node7:8000", r"must begin with http:// or https://, got 'node7:8000'"),
        ([], "at least one server"),
        (["http://a:1", "http://a:1/"], "each once"),
    ):
        with pytest.raises(UserError, match=said):
            VLLMServer(urls)
    with pytest.raises(UserError, match="workers must be at least 1, got 0"):
        NCCLTransfer(workers=0)
    with pytest.raises(
        EnvironmentFailure, match=r"http://127\.0\.0\.1:\d+/version cannot be reach"
    ):
        VLLMServer(f"http://127.0.0.1:{free_port()}").check_weights(adapters=False, sharded=False)


def test_one_that_dies_is_named_at_once_and_nobody_waits_for_the_others(model):
    with serving() as a, serving() as b:
        made = VLLMServer([a.url, b.url], Recorded())
        made.generate(model, request())
        a.before, b.before = hang(), cut_off
        began = time.monotonic()
        with pytest.raises(EnvironmentFailure) as caught:
            made.generate(model, request([(n,) for n in range(3, 9)]))
        assert time.monotonic() - began < 5
        said = str(caught.value)
        assert said.startswith(f"{b.url} died while it sampled (") and "--ckpt_path=last" in said
        assert not made._fleet.servers[0]._waiting  # nor does a thread of ours


def test_one_that_is_not_well_is_named_while_others_still_answer(model, monkeypatch):
    monkeypatch.setattr(fleet_module, "HEALTH_SECONDS", 0.05)
    with serving() as a, serving() as b:
        made = VLLMServer([a.url, b.url], Recorded(), concurrency=1)
        made.generate(model, request())
        a.before, b.before, b.health = hang(0.03), hang(), hang()
        # Answers keep coming from the first; the second keeps its connections open and is silent.
        with pytest.raises(
            EnvironmentFailure, match=f"{b.url} died .*did not answer within 0.05 s"
        ):
            made.generate(model, request([(n,) for n in range(3, 99)]))


def test_one_that_is_well_but_never_ends_is_named_in_the_end(model):
    with serving() as server:
        made = VLLMServer(server.url, Recorded(), timeout=0.2)
        server.before = hang()
        with pytest.raises(
            EnvironmentFailure, match=r"is up but too slow|or raise model\.engine\.ti"
        ):
            made.generate(model, request())


def test_what_a_server_says_of_an_error_is_told(model):
    def broken(handler):
        handler.answer(500, {"error": "EngineDeadError"})
        raise ConnectionAbortedError

    with serving() as server:
        server.before = broken
        with pytest.raises(EnvironmentFailure, match=r"generate answered 500: .*EngineDeadError"):
            VLLMServer(server.url, Recorded()).generate(model, request())
