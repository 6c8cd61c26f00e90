"""What a pool of questions is to a model before any training: pure functions of graded samples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import torch
from torch import Tensor

from ..advantages.estimator import AdvantageEstimator, every_count
from ..metrics import NO_VOTE, pass_at_k
from ..questions import Question
from .results import summarise

# A tag with more values than this names questions, not kinds of them.
MOST_VALUES = 12


def signal_chances(estimator: AdvantageEstimator, group_size: int, rollouts: int) -> list[float]:
    """The chance that a group has a signal, by the number of right rollouts that were seen.

    A group of 0s and 1s has a signal when the estimator says so. Where at least G rollouts were
    seen, a group is G of them, drawn without replacement: the mean over questions is then an
    unbiased estimate. Where fewer were, it is G draws with the rate that was seen, which is too
    low, since a rate of exactly 0 or 1 is taken at its word.

    Args:
        estimator: of advantages.
        group_size: G, rollouts of a group.
        rollouts: n, rollouts seen of each question.

    Returns:
        n + 1 chances, for 0 to n right ones.
    """
    signal_K = estimator.has_signal(every_count(group_size)).double()
    chance_CK = torch.tensor(
        [
            [_chance(right, rollouts, k, group_size) for k in range(group_size + 1)]
            for right in range(rollouts + 1)
        ],
        dtype=torch.float64,
    )
    return (chance_CK @ signal_K).tolist()


def _chance(right: int, rollouts: int, k: int, size: int) -> float:
    """The chance of k right ones in a group."""
    if size <= rollouts:
        return comb(right, k) * comb(rollouts - right, size - k) / comb(rollouts, size)
    rate = right / rollouts
    return comb(size, k) * rate**k * (1 - rate) ** (size - k)


def question_facts(samples: Tensor, chances: Sequence[float]) -> dict[str, float]:
    """What is known of one question.

    Args:
        samples: see :data:`fgexpo.metrics.FIELDS`, int64 [5, n].
        chances: see :func:`signal_chances`.

    Returns:
        ``pass@1``, ``pass@n``, whether it is ``hopeless``, ``frontier`` or ``mastered`` (0 or 1),
        ``signal``, and the shares of rollouts that are ``unread`` (wrong, and no answer was found)
        and ``truncated``, and ``tokens`` of a completion.
    """
    correct, vote, tokens, truncated, _ = samples.tolist()
    n, right = len(correct), sum(correct)
    graded = zip(vote, correct, strict=True)
    return {
        "pass@1": right / n,
        f"pass@{n}": pass_at_k(n, right, n),
        "hopeless": float(right == 0),
        "frontier": float(0 < right < n),
        "mastered": float(right == n),
        "signal": chances[right],
        "unread": sum(answer == NO_VOTE and not good for answer, good in graded) / n,
        "truncated": sum(truncated) / n,
        "tokens": sum(tokens) / n,
    }


def kinds(questions: Sequence[Question]) -> dict[str, list[int]]:
    """Rows of the questions of each kind: ``tag=value`` for tags that have a few values."""
    values: dict[str, dict[str, list[int]]] = {}
    for row, question in enumerate(questions):
        for tag, value in question.tags.items():
            values.setdefault(tag, {}).setdefault(value, []).append(row)
    return {
        f"{tag}={value}": rows
        for tag, found in sorted(values.items())
        if 1 < len(found) <= MOST_VALUES
        for value, rows in sorted(found.items())
    }


def constant_answer(questions: Sequence[Question]) -> dict[str, Any] | None:
    """What a policy that always says the same thing would score.

    Returns:
        ``answer``, the most common gold answer, and ``share``, of the questions that have it; None
        where no question has a gold answer, since only a scorer knows what is right.
    """
    golds = Counter(question.answer for question in questions if question.answer)
    if not golds:
        return None
    ((answer, count),) = golds.most_common(1)
    return {"answer": answer, "share": count / len(questions)}


def profile(
    questions: Sequence[Question],
    prompts: Sequence[Sequence[int]],
    samples: Mapping[int, Tensor],
    chances: Sequence[float],
) -> dict[str, Any]:
    """The whole profile, ready for JSON.

    Args:
        questions: all Q that were asked.
        prompts: token ids of each one's prompt.
        samples: by row of the questions, [5, n] each.
        chances: see :func:`signal_chances`.

    Returns:
        ``questions``, ``rollouts`` (of each); ``overall``: mean, low and high (95 % over questions)
        of each of :func:`question_facts`; ``by_tag``: the same for each of :func:`kinds`, with
        its ``questions``; ``constant``, overall and by tag: see :func:`constant_answer`;
        ``tokens``: of prompts and completions; ``unread_untruncated``: share of the completions
        that ended by themselves in which no answer was found.
    """
    facts = {questions[row].id: question_facts(found, chances) for row, found in samples.items()}
    fields_5N = torch.cat([*samples.values()], 1)
    correct_N, vote_N, tokens_N, truncated_N, _ = fields_5N
    unread_N = (vote_N == NO_VOTE) & (correct_N == 0)
    ended_N = truncated_N == 0
    lengths = [len(prompts[row]) for row in samples]
    return {
        "questions": len(facts),
        "rollouts": next(iter(samples.values())).shape[1],
        "overall": summarise([facts], "profile"),
        "constant": constant_answer([questions[row] for row in samples]),
        "by_tag": {
            kind: {
                "questions": len(rows),
                "constant": constant_answer([questions[row] for row in rows]),
                **summarise([{questions[row].id: facts[questions[row].id] for row in rows}], kind),
            }
            for kind, rows in kinds(questions).items()
        },
        "tokens": {
            "prompt_mean": sum(lengths) / len(lengths),
            "prompt_max": max(lengths),
            "completion_mean": float(tokens_N.double().mean()),
            "completion_max": int(tokens_N.max()),
        },
        "unread_untruncated": float(unread_N[ended_N].double().mean()) if ended_N.any() else 0.0,
    }
