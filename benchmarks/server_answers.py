"""What a vLLM server's answers cost per token: ``python benchmarks/server_answers.py``, with vLLM.

The same 8 rollouts of 1,000 tokens as vLLM's token endpoint answers them (JSON) and as
``FlatAnswers`` does, made by the code that a server runs and read by the code that a run has.
"""

# vLLM is an optional dependency.
# pyright: reportMissingImports=false

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from fgexpo.rollout.vllm.answers import read_flat, read_json, write_flat

ROLLOUTS, TOKENS, VOCABULARY, REPEATS = 8, 1000, 151_936, 5


def main() -> None:
    """Print a table."""
    samples = drawn()
    print("| form | bytes per token | made, us per token | read, us per token |")
    print("|---|---|---|---|")
    for name, write, read in (("JSON", as_json, read_json), ("flat", as_flat, read_flat)):
        made, content = timed(lambda write=write: write(samples))
        took, answer = timed(lambda read=read, content=content: read(content))
        same = zip(answer.logps, samples, strict=True)
        assert all(np.array_equal(row, np.float32(s.logprobs.logprobs)) for row, s in same)
        print(f"| {name} | {len(content) / (ROLLOUTS * TOKENS):.1f} | {made:.2f} | {took:.2f} |")


def drawn() -> list[Any]:
    """Samples with vLLM's flat log-probs, of a vocabulary's size and float32's digits."""
    from vllm.logprobs import FlatLogprobs, Logprob

    generator, samples = np.random.default_rng(0), []
    for _ in range(ROLLOUTS):
        ids = generator.integers(VOCABULARY, size=TOKENS).tolist()
        logps = (-generator.exponential(1.0, TOKENS)).astype(np.float32).tolist()
        flat = FlatLogprobs()
        for token, logp in zip(ids, logps, strict=True):
            flat.append({token: Logprob(logp, 1)})
        samples.append(SimpleNamespace(token_ids=ids, logprobs=flat))
    return samples


def as_flat(samples: list[Any]) -> bytes:
    """As :class:`fgexpo.rollout.vllm.flat_answers.FlatAnswers` answers."""
    return write_flat(
        [sample.token_ids for sample in samples],
        [sample.logprobs.logprobs for sample in samples],
        ["stop"] * len(samples),
    )


def as_json(samples: list[Any]) -> bytes:
    """As vLLM's token endpoint answers."""
    from fastapi.responses import JSONResponse
    from vllm.entrypoints.scale_out.token_in_token_out.protocol import (
        GenerateTokensChoice,
        GenerateTokensResponse,
    )
    from vllm.entrypoints.scale_out.token_in_token_out.serving import ServingTokens

    choices = [
        GenerateTokensChoice(
            index=index,
            token_ids=sample.token_ids,
            logprobs=ServingTokens._create_tokens_logprobs(
                None,  # pyright: ignore[reportArgumentType]
                sample.token_ids,
                sample.logprobs,
                0,
            ),
        )
        for index, sample in enumerate(samples)
    ]
    return bytes(JSONResponse(GenerateTokensResponse(choices=choices).model_dump()).body)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The least microseconds per token of several calls, and the last result."""
    least, result = float("inf"), None
    for _ in range(REPEATS):
        began = time.perf_counter()
        result = work()
        least = min(least, time.perf_counter() - began)
    return least / (ROLLOUTS * TOKENS) * 1e6, result


if __name__ == "__main__":
    main()
