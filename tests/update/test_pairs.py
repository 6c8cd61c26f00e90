"""Whatever stands in the slots combines: runs that hold every pair of choices at least once."""

import math
from itertools import combinations, product

import pytest
from helpers import fit, make_data

from fgexpo.advantages import (
    BatchNormalised,
    Centred,
    CompetenceExponent,
    Focal,
    GroupNormalised,
    LeaveOneOut,
    MaxLikelihood,
    NegativeWeighted,
    PassAtK,
    ReinforcePlusPlus,
)
from fgexpo.allocation import ByPosterior, Equal, UntilSuccess
from fgexpo.callbacks import AKLCallback, Matched, QuestionAKL, TokenAKL, TrajectoryAKL
from fgexpo.curriculum import Gaussian, Shared, Uniform
from fgexpo.losses import CISPO, GSPO, K3, SAPO, Clipped, InReward, MaskedByKL, Unclipped
from fgexpo.rewards import Accuracy, Unlikeliness
from fgexpo.rollout.waves import Refill
from fgexpo.update import Averaged, Reset

AXES = {
    "advantages": (
        GroupNormalised,
        Centred,
        BatchNormalised,
        LeaveOneOut,
        ReinforcePlusPlus,
        lambda: PassAtK(2),
        # A KL in the reward must not make a wrong rollout right.
        lambda: MaxLikelihood(right_above=0.5),
        lambda: Focal(right_above=0.5),
        lambda: NegativeWeighted(right_above=0.5),
        lambda: CompetenceExponent(right_above=0.5),
    ),
    "akl": (
        lambda: None,
        AKLCallback,
        QuestionAKL,
        TrajectoryAKL,
        TokenAKL,
        lambda: Matched(TokenAKL()),
    ),
    "loss": (
        Clipped,
        GSPO,
        lambda: CISPO(kl=K3(importance=True)),
        lambda: Unclipped(kl=InReward()),
        lambda: SAPO(correction=MaskedByKL()),
    ),
    "curriculum": (Uniform, Gaussian, lambda: Shared("level")),
    "debias": (lambda: False, lambda: True),
    "refill": (lambda: None, lambda: Refill(2)),
    # No group may be as small as PassAtK's k.
    "allocation": (Equal, lambda: ByPosterior(least=3), lambda: UntilSuccess(round=3)),
    "reference_update": (lambda: None, lambda: Reset(1), Averaged),
    "rewards": (lambda: [Accuracy()], lambda: [Unlikeliness()]),
}


def covering(sizes):
    """Rows of choices, one per axis, that hold every pair of choices of two axes."""
    axes = range(len(sizes))
    missing = {
        (a, x, b, y)
        for a, b in combinations(axes, 2)
        for x, y in product(range(sizes[a]), range(sizes[b]))
    }
    rows = []
    while missing:
        row = {}
        for a, x, b, y in sorted(missing):
            if row.get(a, x) == x and row.get(b, y) == y:
                row |= {a: x, b: y}
        rows.append([row.get(a, 0) for a in axes])
        missing -= {(a, rows[-1][a], b, rows[-1][b]) for a, b in combinations(axes, 2)}
    return rows


ROWS = covering([len(choices) for choices in AXES.values()])


def test_every_pair_is_there():
    sizes = [len(choices) for choices in AXES.values()]
    assert len(ROWS) <= 80
    for a, b in combinations(range(len(sizes)), 2):
        assert {(row[a], row[b]) for row in ROWS} == set(product(range(sizes[a]), range(sizes[b])))


@pytest.mark.parametrize("first", range(len(AXES["advantages"])))
def test_they_run_together(model_folder, tmp_path, first):
    for row in [row for row in ROWS if row[0] == first]:
        made = {name: AXES[name][at]() for name, at in zip(AXES, row, strict=True)}
        rule = made.pop("akl")
        data = make_data(curriculum=made.pop("curriculum"), debias=made.pop("debias"))
        module, _, recorder = fit(
            model_folder, tmp_path, 2, [] if rule is None else [rule], data, **made
        )
        told = [type(each).__name__ for each in made.values()]
        for metrics in recorder.metrics:
            assert all(map(math.isfinite, metrics.values())), told
        assert module.counts.rollouts == recorder.metrics[-1]["num_rollouts"] > 0, told
