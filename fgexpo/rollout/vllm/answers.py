"""What a server's answers to one question mean: vLLM's own JSON, or the flat form.

The flat form has a line of JSON and then plain numbers: all token ids as int32, then all log-probs
as float32, rollout after rollout, little-endian. That is 8 bytes per token, where the JSON of
vLLM 0.32 takes 140 (``benchmarks/server_answers.py``), and both hold the same float32 log-probs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .formats import to_all

FLAT_PATH = "fgexpo/generate"
JSON_PATH = "inference/v1/generate"
_TOKEN, _LOGP = np.dtype("<i4"), np.dtype("<f4")


@dataclass
class Answer:
    """A question's rollouts.

    Attributes:
        tokens: ids of each.
        logps: the engine's log-probs of these, float32.
        finish: why each ended, as vLLM says it.
    """

    tokens: list[np.ndarray]
    logps: list[np.ndarray]
    finish: list[str]

    def for_all(self, asked: int, rollouts: int) -> "Answer":
        """See :func:`to_all`."""
        return Answer(
            to_all(self.tokens, asked, rollouts),
            to_all(self.logps, asked, rollouts),
            to_all(self.finish, asked, rollouts),
        )


def read_json(content: bytes) -> Answer:
    """Read vLLM's token endpoint's answer.

    Raises:
        ValueError: when it is none.
    """
    try:
        choices = sorted(json.loads(content)["choices"], key=lambda choice: choice["index"])
        logps = [[token["logprob"] for token in c["logprobs"]["content"]] for c in choices]
        return Answer(
            [np.array(choice["token_ids"], np.int64) for choice in choices],
            [np.array(row, np.float32) for row in logps],
            [choice["finish_reason"] for choice in choices],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an answer of {JSON_PATH}: {content[:200]!r}") from error


def write_flat(
    tokens: Sequence[Sequence[int]], logps: Sequence[Sequence[float]], finish: Sequence[str]
) -> bytes:
    """The flat form of G rollouts.

    Raises:
        RuntimeError: when a rollout has not one log-prob per token.
    """
    if [len(row) for row in tokens] != [len(row) for row in logps]:
        raise RuntimeError("vLLM's log-probs are not one per token")
    head = {"lengths": [len(row) for row in tokens], "finish": list(finish)}
    numbers = [
        *(np.array(row, _TOKEN).tobytes() for row in tokens),
        *(np.array(row, _LOGP).tobytes() for row in logps),
    ]
    return b"".join([json.dumps(head).encode(), b"\n", *numbers])


def read_flat(content: bytes) -> Answer:
    """Read the flat form.

    Raises:
        ValueError: when it is none, or a part is missing.
    """
    line, _, numbers = content.partition(b"\n")
    head = json.loads(line)
    lengths, finish = head["lengths"], head["finish"]
    count = sum(lengths)
    if len(numbers) != count * (_TOKEN.itemsize + _LOGP.itemsize) or len(finish) != len(lengths):
        raise ValueError(f"{len(numbers)} bytes for {count} tokens and their log-probs")
    ends = np.cumsum(lengths)[:-1]
    tokens = np.frombuffer(numbers, _TOKEN, count).astype(np.int64)
    logps = np.frombuffer(numbers, _LOGP, count, offset=count * _TOKEN.itemsize)
    return Answer(np.split(tokens, ends), np.split(logps.astype(np.float32), ends), finish)
