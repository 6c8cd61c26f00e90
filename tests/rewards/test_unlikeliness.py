"""The reward for right rollouts that the policy finds unlikely, by hand and in a run."""

import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from helpers import EvenIsRight, fit, make_module
from near import logged, same

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from unlikeliness import GROUP, OUTCOMES, means, table

from fgexpo.advantages import GroupNormalised
from fgexpo.questions import Question
from fgexpo.rewards import Accuracy, Graded, Reward, Unlikeliness, Verdict
from fgexpo.rewards.unlikeliness import ranks


def graded(question, right, logp, length=1):
    return Graded(Question(question, "", ""), "", length, "stop", Verdict(right, ""), logp)


def test_rewards_by_hand():
    """A group of four and one of two: wrong rollouts hold their ranks and earn nothing."""
    rollouts = [
        graded("a", True, -1.0),  # rank 1 of 4
        graded("a", False, -2.0),
        graded("a", True, -9.0),  # rank 4
        graded("a", True, -3.0),  # rank 3
        graded("b", True, -50.0),  # rank 2 of 2
        graded("b", False, -40.0),
    ]
    found = Unlikeliness(0.4).score(rollouts)
    same(found, [1 - 0.4 * 3 / 4, 0.0, 1.0, 1 - 0.4 * 1 / 4, 1.0, 0.0])
    assert Unlikeliness(0.4).score([graded("a", True, -1.0)]) == [1.0], "alone it is the rarest"


def test_ranks_by_hand():
    assert ranks([-1.0, -3.0, -2.0]) == [1, 3, 2]
    assert ranks([-1.0, -3.0, -1.0, -3.0, -3.0]) == [1.5, 4, 1.5, 4, 4]
    assert ranks([-math.inf, 0.0]) == [2, 1]


def test_by_token_a_long_rollout_is_not_unlikely_for_its_length():
    rollouts = [graded("a", True, -4.0, length=8), graded("a", True, -3.0, length=1)]
    same(Unlikeliness(0.5).score(rollouts), [1.0, 0.75])
    same(Unlikeliness(0.5, per_token=True).score(rollouts), [0.75, 1.0])


class Seen(Reward):
    """Earns nothing; keeps what it saw."""

    def __init__(self):
        super().__init__()
        self.graded = []

    def score(self, rollouts):
        self.graded += rollouts
        return [0.0] * len(rollouts)


def test_in_a_run_it_turns_advantages_towards_the_unlikely(model_folder, tmp_path):
    """The reward sees the engine's log-probs; accuracy and pass-rates see the verdicts alone."""
    rewards = [Unlikeliness(0.4), Seen()]
    _, data, recorder = fit(
        model_folder, tmp_path, 2, rewards=rewards, verifier=EvenIsRight(), kl_coef=0.0
    )
    assert data.table.visits.sum() > 0
    for step, batch in enumerate(recorder.batches):
        done = batch.completions
        seen = rewards[1].graded[step * 16 : step * 16 + 16]
        same([each.logp for each in seen], done.logp_NT.sum(1))
        assert [each.length for each in seen] == done.lengths_N.tolist()
        same(batch.reward_N, Unlikeliness(0.4).score(seen))
        same(batch.advantages_N, GroupNormalised()(batch.reward_N.view(4, 4)).flatten())
        logged(recorder.metrics[step]["rewards/unlikeliness/mean"], float(batch.reward_N.mean()))
        logged(recorder.metrics[step]["accuracy"], float(batch.correct_N.mean()))
    batch = recorder.batches[0]
    group = int(batch.correct_N.view(4, 4).sum(1).argmax())
    rows = [n for n in range(4 * group, 4 * group + 4) if batch.correct_N[n]]
    rows.sort(key=lambda n: float(batch.completions.logp_NT[n].sum()))
    assert len(rows) > 1
    assert all(batch.advantages_N[a] >= batch.advantages_N[b] for a, b in pairwise(rows))
    assert batch.advantages_N[rows[0]] > batch.advantages_N[rows[-1]]


def test_its_mean_over_all_groups_is_what_the_docs_say():
    """1 - strength (G - 1) / G (1 - F), also where two outcomes are equally likely."""
    for outcomes in (
        list(OUTCOMES.values()),
        [(0.1, True), (0.3, True), (0.3, False), (0.05, True), (0.25, True)],
    ):
        size = 4
        found, _ = means(Unlikeliness(0.4), GroupNormalised(), outcomes, size)
        for (p, right), mean in zip(outcomes, found, strict=True):
            likelier = sum(q for q, _ in outcomes if q > p)
            same_p = sum(q for q, _ in outcomes if q == p)
            expected = 1 - 0.4 * (size - 1) / size * (1 - likelier - same_p / 2)
            same(mean, expected if right else 0.0, rel=1e-12)
    plain, advantages = means(Accuracy(), GroupNormalised(), list(OUTCOMES.values()), GROUP)
    same(plain, [0.0, 1.0, 1.0], rel=1e-12)
    same(advantages[1], advantages[2])


def test_the_docs_have_the_table_that_the_script_makes():
    docs = Path(__file__).parents[2] / "docs" / "algorithms.md"
    assert table() in docs.read_text()


@pytest.mark.parametrize("strength", [0.0, 1.0, -0.1, math.nan])
def test_bad_strengths(strength):
    with pytest.raises(ValueError, match=r"Unlikeliness.strength must be in \(0, 1\), got"):
        Unlikeliness(strength)


def test_rollouts_without_a_log_prob_are_refused():
    rollout = Graded(Question("q", "", ""), "", 1, "stop", Verdict(True, ""))
    with pytest.raises(ValueError, match="Unlikeliness needs the log-prob of every rollout"):
        Unlikeliness().score([rollout])


def test_beside_accuracy_it_has_a_name_of_its_own(model_folder):
    make_module(model_folder, rewards=[Accuracy(), Unlikeliness()])
    assert Unlikeliness().name == "unlikeliness"
