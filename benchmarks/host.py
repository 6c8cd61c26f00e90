"""What the host does in a step of 2,048 rollouts of up to 3,072 tokens, without model and GPU.

``python benchmarks/host.py`` (about a minute; no vLLM needed) times, part by part, what lies
between an engine's output and the first micro-batch, now and as it was before. vLLM's and its
server's answers are objects of the same form as theirs. Lengths are uniform, 60 % of the limit on
average. One process does all of it here; in a run each process does its share.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import host_exchange
import torch
from host_work import CPU, Size, answers, asked, tokenizer

from fgexpo.model.sequences import join
from fgexpo.rewards import MathVerifier
from fgexpo.rollout.vllm.formats import read_samples, to_completions
from fgexpo.types import Completions
from fgexpo.update.micro_batches import cut, split

MICRO_BATCH = 16_384  # tokens
UPDATES = 4  # optimizer steps
GRADING = "grading by the verifier (not in the sums)"


@dataclass(slots=True)
class OneLogprob:
    """What vLLM keeps of a token if log-probs are not flat."""

    logprob: float
    rank: int
    decoded_token: str | None


@dataclass
class Flat:
    """What vLLM keeps of a rollout if they are."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    decoded_tokens: list[str | None] = field(default_factory=list)
    start_indices: list[int] = field(default_factory=list)
    end_indices: list[int] = field(default_factory=list)

    def append(self, token: int, logprob: float) -> None:
        """A position with one token."""
        self.start_indices.append(len(self.logprobs))
        self.token_ids.append(token)
        self.logprobs.append(logprob)
        self.ranks.append(1)
        self.decoded_tokens.append(None)
        self.end_indices.append(len(self.logprobs))


Numbers = tuple[list[list[int]], list[list[float]]]
Tensors = tuple[torch.Tensor, torch.Tensor]
Parts = dict[str, tuple[float | None, float]]


def main(size: Size = Size()) -> int:
    """Print the table."""
    print(render(size, measure(size)))
    return 0


def measure(size: Size) -> Parts:
    """Seconds of each part, before (None if it was the same) and now."""
    writer = tokenizer()
    numbers = answers(size, writer)
    done = to_completions(*numbers, ["length"] * size.rollouts, CPU)
    return {
        **vllm_output(numbers),
        **server_output(size, numbers),
        **texts(size, done, writer),
        **host_exchange.measure(size),
        **micro_batches(size, done),
    }


def vllm_output(numbers: Numbers) -> Parts:
    """From what vLLM drew to padded tensors."""
    *before, old = with_dicts(numbers)
    *now, new = with_lists(numbers)
    assert torch.equal(old[0], new[0]) and torch.equal(old[1], new[1])
    names = ("vLLM keeps the log-probs", "numbers out of its answers", "padded tensors of them")
    return dict(zip(names, zip(before, now, strict=True), strict=True))


def with_dicts(numbers: Numbers) -> tuple[float, float, float, Tensors]:
    """Seconds as it was: an object for each token, and tensors of lists."""
    building, kept = timed(lambda: [as_dicts(*row) for row in zip(*numbers, strict=True)])
    reading, logps = timed(lambda: from_dicts(numbers[0], kept))
    padding, tensors = timed(lambda: from_lists(numbers[0], logps))
    return building, reading, padding, tensors


def with_lists(numbers: Numbers) -> tuple[float, float, float, Tensors]:
    """Seconds as it is: flat log-probs, and rows by numpy."""
    finish = ["length"] * len(numbers[0])
    building, kept = timed(lambda: [as_flat(*row) for row in zip(*numbers, strict=True)])
    reading, (tokens, logps, _) = timed(lambda: read_samples(kept))
    padding, done = timed(lambda: to_completions(tokens, logps, finish, CPU))
    return building, reading, padding, (done.tokens_NT, done.logp_NT)


def as_dicts(tokens: list[int], logps: list[float]) -> list[dict[int, OneLogprob]]:
    """A rollout's log-probs as vLLM keeps them without ``flat_logprobs``."""
    return [{token: OneLogprob(p, 1, None)} for token, p in zip(tokens, logps, strict=True)]


def as_flat(tokens: list[int], logps: list[float]) -> Any:
    """A rollout as vLLM keeps it with ``flat_logprobs``."""
    flat = Flat()
    for token, logprob in zip(tokens, logps, strict=True):
        flat.append(token, logprob)
    return SimpleNamespace(token_ids=tokens, logprobs=flat, finish_reason="length")


def from_dicts(tokens: list[list[int]], kept: list[Any]) -> list[list[float]]:
    """The log-probs of the tokens drawn, as they were read before."""
    return [
        [chosen[token].logprob for chosen, token in zip(row, ids, strict=True)]
        for row, ids in zip(kept, tokens, strict=True)
    ]


def from_lists(tokens: list[list[int]], logps: list[list[float]]) -> Tensors:
    """Padded tensors, as they were made before."""
    width = max(map(len, tokens))
    return (
        torch.tensor([row + [0] * (width - len(row)) for row in tokens]),
        torch.tensor([row + [0.0] * (width - len(row)) for row in logps]),
    )


def server_output(size: Size, numbers: Numbers) -> Parts:
    """From a server's answers to padded tensors; one question's body, as often as asked."""
    group = zip(numbers[0][: size.group], numbers[1][: size.group], strict=True)
    choices = [
        {
            "index": n,
            "token_ids": tokens,
            "logprobs": {
                "content": [
                    {"token": f"token_id:{token}", "logprob": p, "bytes": None, "top_logprobs": []}
                    for token, p in zip(tokens, logps, strict=True)
                ]
            },
            "finish_reason": "length",
        }
        for n, (tokens, logps) in enumerate(group)
    ]
    body = json.dumps({"choices": choices})

    def read() -> Numbers:
        """As the server engine reads them."""
        found = [c for _ in range(size.questions) for c in json.loads(body)["choices"]]
        logps = [[token["logprob"] for token in c["logprobs"]["content"]] for c in found]
        return [choice["token_ids"] for choice in found], logps

    reading, rows = timed(read)
    tensors, _ = timed(lambda: from_lists(*rows))
    finish = ["length"] * size.rollouts
    padded, _ = timed(lambda: to_completions(rows[0], rows[1], finish, CPU))
    return {"the same from a server's answers (JSON)": (reading + tensors, reading + padded)}


def texts(size: Size, done: Completions, writer: Any) -> Parts:
    """Texts of the completions, and their verdicts."""
    lengths = done.lengths_N.tolist()

    def decode() -> list[str]:
        rows = zip(done.tokens_NT.tolist(), lengths, strict=True)
        return [writer.decode(row[:length], skip_special_tokens=True) for row, length in rows]

    decoding, written = timed(decode)
    questions = size.groups.each(asked(size).questions)
    verifier = MathVerifier()
    verifier.verify(questions[:1], written[:1])  # starts its workers
    grading, _ = timed(lambda: verifier.verify(questions, written))
    return {"texts of the completions": (None, decoding), GRADING: (None, grading)}


def micro_batches(size: Size, done: Completions) -> Parts:
    """Prompts joined with completions, and cut into micro-batches of packed rows."""
    alone: Any = SimpleNamespace(world_size=1)
    prompts, groups = asked(size).prompts, size.groups

    def prepare() -> None:
        sequences = join(prompts, done, groups)
        for rows in split(groups, size.questions // min(UPDATES, size.questions)):
            cut(alone, rows, sequences.lengths_N, MICRO_BATCH, padded=False)

    return {"micro-batches": (None, timed(prepare)[0])}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and what it returned."""
    gc.collect()
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def render(size: Size, parts: Parts) -> str:
    """The table in Markdown; the sums are of an engine in the same process."""
    rows = [
        f"{size.rollouts:,} rollouts of up to {size.tokens:,} tokens; exchange between "
        f"{size.processes} processes",
        "",
        "| part | s before | s now |",
        "|---|---|---|",
    ]
    for name, (before, now) in parts.items():
        rows.append(f"| {name} | {'the same' if before is None else f'{before:.3f}'} | {now:.3f} |")
    counted = [both for name, both in parts.items() if name != GRADING and "server" not in name]
    before = sum(now if was is None else was for was, now in counted)
    rows.append(
        f"| **sum, vLLM in process** | {before:.3f} | {sum(now for _, now in counted):.3f} |"
    )
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
