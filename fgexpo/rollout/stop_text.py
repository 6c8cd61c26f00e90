"""Completions that end with a text: while they are drawn, or in what another engine has drawn."""

import torch
from torch import Tensor

from ..groups import Groups
from ..templates import StopStrings
from .engine import RolloutRequest


def ended_by_text(
    request: RolloutRequest, questions: slice, tokens_NT: Tensor, row_N: Tensor, live_N: Tensor
) -> Tensor:
    """Which rows' newest token ends them, bool [n].

    Args:
        request: whose stop strings are looked for.
        questions: the prompts that the rows of ``tokens_NT`` belong to.
        tokens_NT: drawn so far, the newest last.
        row_N: row of ``tokens_NT`` of each row still decoded, [n].
        live_N: whether it was still live before the newest token, [n].
    """
    stops = request.stop_strings
    assert stops is not None
    newest = tokens_NT[row_N, -1].tolist()
    asked = [
        i
        for i, (token, live) in enumerate(zip(newest, live_N.tolist(), strict=True))
        if live and stops.may_end(token)
    ]
    ended_N = torch.zeros_like(live_N)
    if asked:
        rows = row_N[asked]
        groups = Groups([len(seeds) for seeds in request.seeds[questions]])
        prompts = groups.each(request.prompts[questions])
        recent = tokens_NT[rows, -stops.reach :].tolist()
        ended = [
            stops.ended(prompts[row], tokens)
            for row, tokens in zip(rows.tolist(), recent, strict=True)
        ]
        ended_N[asked] = torch.tensor(ended, device=ended_N.device)
    return ended_N


def cut_at_text(
    request: RolloutRequest, tokens: list[list[int]], logps: list[list[float]], finish: list[str]
) -> None:
    """Cut an engine's samples, in place, where the native engine would have ended them.

    An engine that looks for the strings itself has ended most of them there already.

    Args:
        request: of Q prompts.
        tokens: of each sample, question-major.
        logps: the same.
        finish: why each ended, ``stop`` or ``length`` if nothing went wrong.
    """
    stops: StopStrings | None = request.stop_strings
    if stops is None:
        return
    prompts = request.groups.each(request.prompts)
    for row, (prompt, sample) in enumerate(zip(prompts, tokens, strict=True)):
        length = stops.length(prompt, sample)
        if length is not None and finish[row] in ("stop", "length"):
            tokens[row], logps[row] = sample[:length], logps[row][:length]
            finish[row] = "stop"
