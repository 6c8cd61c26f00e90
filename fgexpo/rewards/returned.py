"""What a reward or a verifier of one's own gave back, checked before anything is made of it."""

import inspect
import math
from collections.abc import Sequence
from typing import Any

from ..errors import UserError
from ..questions import Verdict
from .reward import Reward
from .verifier import Verifier


def check_scores(reward: Reward, given: Any, count: int) -> list[float]:
    """A reward's scores as floats.

    Args:
        reward: that gave them.
        given: what its ``score`` returned: a list of numbers, or a tensor of one dimension.
        count: rollouts that it was asked about.

    Raises:
        UserError: naming the class, what it gave and what is expected.
    """
    called = f"model.rewards: {type(reward).__name__}.score"
    expected = f"a list of {count} numbers, one per rollout"
    scores = _listed(called, given, count, expected, "scores")
    for score in scores:
        if not _is_number(score):
            raise UserError(f"{called} gave {_shown(score)} among its scores, not {expected}")
        if not math.isfinite(score):
            raise UserError(
                f"model.rewards: {type(reward).__name__} gave a score that is not finite, {score}"
            )
    return [float(score) for score in scores]


def check_verdicts(verifier: Verifier, given: Any, count: int) -> list[Verdict]:
    """A verifier's verdicts.

    Args:
        verifier: that gave them.
        given: what its ``verify`` returned: a list of :class:`Verdict`.
        count: texts that it was asked about.

    Raises:
        UserError: naming the class, what it gave and what is expected.
    """
    called = f"model.verifier: {type(verifier).__name__}.verify"
    expected = f"a list of {count} fgexpo.rewards.Verdict, one per text"
    verdicts = _listed(called, given, count, expected, "verdicts")
    for verdict in verdicts:
        if not all(hasattr(verdict, field) for field in Verdict._fields):
            raise UserError(f"{called} gave {_shown(verdict)} among its verdicts, not {expected}")
        if verdict.answer is not None and not isinstance(verdict.answer, str):
            answer = _shown(verdict.answer)
            raise UserError(f"{called} gave a verdict whose answer is {answer}, not text or None")
        if verdict.correct not in (True, False):
            raise UserError(
                f"{called} gave a verdict whose correct is {_shown(verdict.correct)}, not a bool"
            )
    return verdicts


def _listed(called: str, given: Any, count: int, expected: str, what: str) -> list[Any]:
    if inspect.isawaitable(given) or inspect.isasyncgen(given):
        if inspect.iscoroutine(given):
            given.close()  # else Python warns that nobody waited for it
        raise UserError(f"{called} is async, which nobody waits for; it must return {expected}")
    if hasattr(given, "tolist"):  # a tensor or an array
        given = given.tolist()
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise UserError(f"{called} returned {_shown(given)}, not {expected}")
    if len(given) != count:
        raise UserError(f"{called} returned {len(given)} {what} for {count} rollouts")
    return list(given)


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and getattr(value, "shape", ()) == ()


def _shown(value: Any) -> str:
    if value is None:
        return "None"
    text = repr(value)
    return f"{text if len(text) <= 60 else f'{text[:60]}...'} ({type(value).__name__})"
