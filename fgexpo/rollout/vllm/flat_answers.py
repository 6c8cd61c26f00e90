"""A part of the *server*: answers with plain numbers instead of a JSON object for each token.

``vllm serve MODEL --middleware fgexpo.rollout.vllm.flat_answers.FlatAnswers`` adds the address
``/fgexpo/generate`` to vLLM's own. It takes what ``/inference/v1/generate`` takes, asks the same
engine with the same settings, and answers in the flat form of :mod:`fgexpo.rollout.vllm.answers`.
"""

# vLLM is an optional dependency.
# pyright: reportMissingImports=false

import asyncio
import json
import uuid
from typing import Any

from .answers import FLAT_PATH, write_flat


class FlatAnswers:
    """ASGI middleware: one address of its own; everything else goes to vLLM.

    Args:
        app: what it stands before.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a call, or pass it on."""
        if scope["type"] != "http" or scope["path"] != f"/{FLAT_PATH}":
            await self.app(scope, receive, send)
        elif scope["method"] != "POST":
            await _answer(send, 405, b"POST only")
        else:
            await _sample(scope["app"].state.engine_client, receive, send)


async def _sample(engine: Any, receive: Any, send: Any) -> None:
    work = asyncio.ensure_future(rollouts(engine, await _body(receive)))
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await _answer(send, 200, work.result())
    except ValueError as error:  # what vLLM says of settings, or of a prompt that is too long
        await _answer(send, 400, str(error).encode())
    finally:
        work.cancel()  # vLLM then drops the request
        gone.cancel()


async def rollouts(engine: Any, body: bytes) -> bytes:
    """Sample what the body asks for, and return it in the flat form.

    Raises:
        ValueError: for a body or settings that vLLM does not take.
    """
    from vllm import SamplingParams  # pyright: ignore[reportAttributeAccessIssue]
    from vllm.sampling_params import RequestOutputKind

    asked = json.loads(body)
    if not isinstance(asked, dict) or not {"token_ids", "sampling_params"} <= asked.keys():
        raise ValueError("expected token_ids and sampling_params")
    try:
        params = SamplingParams(**asked["sampling_params"])
    except TypeError as error:
        raise ValueError(f"sampling_params: {error}") from error
    params.flat_logprobs, params.output_kind = True, RequestOutputKind.FINAL_ONLY
    prompt = {"prompt_token_ids": asked["token_ids"]}
    name = f"fgexpo-{uuid.uuid4().hex}"
    *_, last = [answer async for answer in engine.generate(prompt, params, name)]
    samples = sorted(last.outputs, key=lambda sample: sample.index)
    return write_flat(
        [sample.token_ids for sample in samples],
        [sample.logprobs.logprobs for sample in samples],
        [sample.finish_reason for sample in samples],
    )


async def _body(receive: Any) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Any, status: int, content: bytes) -> None:
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", str(len(content)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
