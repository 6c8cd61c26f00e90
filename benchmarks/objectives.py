"""What each advantage estimator optimises, by exact enumeration; nothing is sampled.

A policy is a categorical over outcomes, some of them right; p is the chance of a right one. With
rewards of 0 and 1 the expected update of an estimator is ``w(p) grad p``. ``expected_update``
takes it by autograd through the exact expectation, ``ROWS`` has each w(p) as a formula that shares
no code with the estimators. ``python benchmarks/objectives.py`` prints w(p) / w(.5) for
docs/algorithms.md, and with a dotted name the line of a class of one's own.
tests/advantages/test_objectives.py compares both.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, sqrt

import torch
from torch import Tensor

from fgexpo.advantages import (
    AdvantageEstimator,
    BatchNormalised,
    Centred,
    CompetenceExponent,
    Focal,
    GroupNormalised,
    Known,
    LeaveOneOut,
    MaxLikelihood,
    NegativeWeighted,
    PassAtK,
    ReinforcePlusPlus,
)
from fgexpo.groups import Groups

PASS_RATES = (0.01, 0.1, 0.5, 0.9)
GROUP_SIZE = 8
EPS = 1e-6  # that of the estimators which divide by a std


@dataclass(frozen=True)
class Setting:
    """A question in a batch with one other.

    Attributes:
        p: the question's pass-rate.
        size: rollouts it has.
        known: its pass-rate as the curriculum estimates it.
        other_p: the other question's pass-rate.
        other_size: rollouts that one has.
    """

    p: float
    size: int
    known: float
    other_p: float = 0.5
    other_size: int = GROUP_SIZE


@dataclass(frozen=True)
class Row:
    """An estimator, its name in the table, and the factor w of grad p in its expected update."""

    name: str
    estimator: AdvantageEstimator
    factor: Callable[[Setting], float]


def chance(c: int, size: int, p: float) -> float:
    """That c of ``size`` rollouts are right."""
    return comb(size, c) * p**c * (1 - p) ** (size - c)


def of_factor(s: Setting, u: Callable[[int], float]) -> float:
    """W of ``A = (R - m) u(c)``: the mean of ``m (1-m) u(c) / (p (1-p))`` over c."""
    counts = range(1, s.size)
    mean = sum(chance(c, s.size, s.p) * c * (s.size - c) * u(c) for c in counts)
    return mean / (s.size**2 * s.p * (1 - s.p))


def of_std(s: Setting, variance: Callable[[int, int], float]) -> float:
    """W of ``A = (R - m) / std``, whose variance hangs on both questions' right rollouts."""
    return sum(
        chance(d, s.other_size, s.other_p)
        * of_factor(s, lambda c, d=d: 1 / (sqrt(variance(c, d)) + EPS))
        for d in range(s.other_size + 1)
    )


def _spread(c: int, size: int) -> float:
    return c / size * (1 - c / size)


def _batch(s: Setting) -> float:
    return of_std(s, lambda c, d: _spread(c + d, s.size + s.other_size))


def _reinforce(s: Setting) -> float:
    return of_std(
        s,
        lambda c, d: (
            (s.size * _spread(c, s.size) + s.other_size * _spread(d, s.other_size))
            / (s.size + s.other_size)
        ),
    )


def _pass_at_k(k: int) -> Callable[[Setting], float]:
    return lambda s: (1 - k / s.size) * k * (1 - s.p) ** (k - 1)


def _over_std(k: int) -> Callable[[Setting], float]:
    def factor(s: Setting) -> float:
        def u(c: int) -> float:
            misses = comb(s.size - c, k) / comb(s.size, k)
            lonely = comb(s.size - 1 - c, k - 1) / comb(s.size - 1, k - 1)
            return lonely / (sqrt(misses * (1 - misses)) + EPS)

        return of_factor(s, u)

    return factor


def _grpo(s: Setting) -> float:
    return of_factor(s, lambda c: 1 / (sqrt(_spread(c, s.size)) + EPS))


def _focal(s: Setting) -> float:
    return of_factor(s, lambda c: (1 - c / s.size) / (sqrt(_spread(c, s.size)) + EPS))


def _competence(s: Setting) -> float:
    return of_factor(s, lambda c: (s.size / c) ** (1 - s.known / 2))


ROWS = (
    Row("`GroupNormalised`", GroupNormalised(), _grpo),
    Row("`Centred`", Centred(), lambda s: 1 - 1 / s.size),
    Row("`BatchNormalised`, beside a question of p = .5", BatchNormalised(), _batch),
    Row("`LeaveOneOut`", LeaveOneOut(), lambda s: 1.0),
    Row("`ReinforcePlusPlus`, beside a question of p = .5", ReinforcePlusPlus(), _reinforce),
    Row("`PassAtK(2)`", PassAtK(2), _pass_at_k(2)),
    Row("`PassAtK(4)`", PassAtK(4), _pass_at_k(4)),
    Row("`PassAtK(4, over_std)`", PassAtK(4, over_std=True), _over_std(4)),
    Row("`MaxLikelihood`", MaxLikelihood(), lambda s: (1 - (1 - s.p) ** (s.size - 1)) / s.p),
    Row("`Focal(1)`", Focal(1.0), _focal),
    Row("`NegativeWeighted(.1)`", NegativeWeighted(0.1), lambda s: 1.1),
    Row("`CompetenceExponent`, p known", CompetenceExponent(), _competence),
)


def _first(count: int, size: int) -> list[bool]:
    return [n < count for n in range(size)]


def advantages_by_count(estimator: AdvantageEstimator, s: Setting) -> Tensor:
    """What a right rollout is worth, and a wrong one, beside c - 1 or c right ones: [G + 1, 2].

    The mean over how the other question fares. Where there is no such rollout it is 0.
    """
    groups = Groups([s.size, s.other_size])
    known = Known(torch.tensor([s.known, s.other_p], dtype=torch.float64))
    worth = torch.zeros(s.size + 1, 2, dtype=torch.float64)
    for c in range(s.size + 1):
        for d in range(s.other_size + 1):
            right = [*_first(c, s.size), *_first(d, s.other_size)]
            rewards_N = torch.tensor(right, dtype=torch.float64)
            own = estimator.judge(rewards_N, groups, known)[: s.size]
            likely = chance(d, s.other_size, s.other_p)
            for column, part in enumerate((own[:c], own[c:])):
                if len(part):
                    worth[c, column] += likely * part[0]
    return worth


def policy_with(p: float, right: Sequence[bool]) -> Tensor:
    """Logits of a policy whose right outcomes have a chance of p in all; a leaf, float64.

    Right outcomes are not equally likely, and neither are wrong ones.
    """
    right_O = torch.tensor(right)
    weight_O = torch.arange(1, len(right) + 1, dtype=torch.float64)
    total_O = torch.where(right_O, weight_O[right_O].sum(), weight_O[~right_O].sum())
    share_O = torch.tensor([p if each else 1 - p for each in right], dtype=torch.float64)
    return (share_O * weight_O / total_O).log().requires_grad_()


def pass_rate(logits_O: Tensor, right: Sequence[bool]) -> Tensor:
    """The chance of a right outcome, with its gradient."""
    return logits_O.softmax(0)[torch.tensor(right)].sum()


def expected_update(logits_O: Tensor, right: Sequence[bool], worth: Tensor) -> Tensor:
    """The mean of ``1/G sum_g A_g grad log pi(o_g)`` over all groups, [O].

    Args:
        logits_O: of the policy.
        right: which outcomes are.
        worth: see :func:`advantages_by_count`. Groups with the same number of right rollouts
            have the same advantages, so a sum over the counts is one over all groups.
    """
    size, right_O = len(worth) - 1, torch.tensor(right)
    logp_O = logits_O.log_softmax(0)
    held_O = logp_O.detach().exp()
    p = float(held_O[right_O].sum())
    of_right = (held_O * logp_O)[right_O].sum() / p
    of_wrong = (held_O * logp_O)[~right_O].sum() / (1 - p)
    mean = torch.zeros((), dtype=torch.float64)
    for c in range(size + 1):
        summed = c * worth[c, 0] * of_right + (size - c) * worth[c, 1] * of_wrong
        mean = mean + chance(c, size, p) * summed / size
    return torch.autograd.grad(mean, logits_O)[0]


def enumerated_factor(p: float, worth: Tensor) -> float:
    """w(p): the expected update over grad p, which it is parallel to."""
    right = [n % 4 == 0 for n in range(20)]
    logits_O = policy_with(p, right)
    update_O = expected_update(logits_O, right, worth)
    (gradient_O,) = torch.autograd.grad(pass_rate(logits_O, right), logits_O)
    return float(update_O @ gradient_O / (gradient_O @ gradient_O))


HEAD = ("| w(p) / w(.5), G = 8 | w(.5) | p = .01 | p = .1 | p = .9 |", "|---|---|---|---|---|")


def line(name: str, estimator: AdvantageEstimator) -> str:
    """The line of the table for one estimator."""
    # Of the question's own p only those that read it know.
    rates = PASS_RATES if estimator.needs_pass_rates else (0.5,)
    worth = {p: advantages_by_count(estimator, Setting(p, GROUP_SIZE, known=p)) for p in rates}
    w = {p: enumerated_factor(p, worth.get(p, worth[0.5])) for p in PASS_RATES}
    shown = [w[0.5], *(w[p] / w[0.5] for p in PASS_RATES if p != 0.5)]
    return f"| {name} | {' | '.join(f'{value:.2f}' for value in shown)} |"


def table() -> list[str]:
    """The lines of the table in docs/algorithms.md."""
    return [*HEAD, *(line(row.name, row.estimator) for row in ROWS)]


def own(path: str) -> list[str]:
    """The same for a class of one's own, made without arguments, such as ``my_rules.HardOnly``."""
    module, _, name = path.rpartition(".")
    return [*HEAD, line(f"`{name}`", getattr(importlib.import_module(module), name)())]


if __name__ == "__main__":
    sys.path.insert(0, "")  # a module of one's own lies in the current folder
    for path in sys.argv[1:] or [""]:
        print("\n".join(own(path) if path else table()))
