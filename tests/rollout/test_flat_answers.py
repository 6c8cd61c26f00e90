"""The part of a server that answers with plain numbers, over an engine of a few lines."""

import asyncio
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from fgexpo.rollout.vllm.answers import read_flat
from fgexpo.rollout.vllm.flat_answers import FlatAnswers

ASKED = {"token_ids": [3, 4], "sampling_params": {"n": 2, "seed": 7}}


class SamplingParams:
    def __init__(self, n, seed):
        self.n, self.seed = n, seed


@pytest.fixture(autouse=True)
def vllm(monkeypatch):
    module, params = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    module.SamplingParams = SamplingParams
    params.RequestOutputKind = SimpleNamespace(FINAL_ONLY="final")
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", params)


class Engine:
    def __init__(self):
        self.asked, self.dropped = [], False

    async def generate(self, prompt, params, name):
        self.asked.append((prompt, params, name))
        if prompt["prompt_token_ids"] == [0]:
            raise ValueError("prompt is too long")
        try:
            await asyncio.sleep(30 if prompt["prompt_token_ids"] == [9] else 0)
        except asyncio.CancelledError:
            self.dropped = True
            raise
        outputs = [
            SimpleNamespace(
                index=index,
                token_ids=[5] * (index + 1),
                logprobs=SimpleNamespace(logprobs=[-0.25] * (index + 1)),
                finish_reason="length",
            )
            for index in reversed(range(params.n))
        ]
        yield SimpleNamespace(outputs=outputs)


def call(engine, content, path="/fgexpo/generate", method="POST", goes=False):
    """The statuses and the body that a server sends; the caller goes away if asked to."""
    sent, passed, data = [], [], json.dumps(content).encode()
    messages = [
        {"type": "http.request", "body": data[:5], "more_body": True},
        {"type": "http.request", "body": data[5:], "more_body": False},
    ]

    async def receive():
        if messages:
            return messages.pop(0)
        await asyncio.sleep(0.05 if goes else 30)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        passed.append(scope["path"])

    scope = {"type": "http", "path": path, "method": method}
    scope["app"] = SimpleNamespace(state=SimpleNamespace(engine_client=engine))
    asyncio.run(FlatAnswers(app)(scope, receive, send))
    statuses = [message["status"] for message in sent if "status" in message]
    return statuses, b"".join(message.get("body", b"") for message in sent), passed


def test_rollouts_come_as_plain_numbers_in_their_order():
    engine = Engine()
    statuses, body, passed = call(engine, ASKED)
    answer = read_flat(body)
    assert statuses == [200] and not passed
    assert [row.tolist() for row in answer.tokens] == [[5], [5, 5]]
    assert [row.tolist() for row in answer.logps] == [[-0.25], [-0.25, -0.25]]
    assert answer.finish == ["length", "length"]
    ((prompt, params, _),) = engine.asked
    assert prompt == {"prompt_token_ids": [3, 4]} and (params.n, params.seed) == (2, 7)
    assert params.flat_logprobs and params.output_kind == "final"


def test_everything_else_goes_to_vllm():
    for path in ("/health", "/inference/v1/generate"):
        assert call(Engine(), {}, path) == ([], b"", [path])
    assert call(Engine(), {}, method="GET")[0] == [405]


def test_what_vllm_refuses_is_answered_with_its_words():
    for content, said in (
        ({**ASKED, "token_ids": [0]}, b"prompt is too long"),
        ({"token_ids": [3]}, b"expected token_ids and sampling_params"),
        ([], b"expected token_ids and sampling_params"),
        ({**ASKED, "sampling_params": {"telepathy": 1}}, b"telepathy"),
    ):
        statuses, body, _ = call(Engine(), content)
        assert statuses == [400] and said in body


def test_work_for_a_caller_who_went_away_is_dropped():
    engine = Engine()
    statuses, body, _ = call(engine, {**ASKED, "token_ids": [9]}, goes=True)
    assert statuses == [] and body == b"" and engine.dropped
