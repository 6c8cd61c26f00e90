"""Rewards and verifiers of one's own: tags that differ, and answers that are checked."""

import numpy as np
import pytest
import torch
from helpers import EvenIsRight, Parity, fit, make_module

from fgexpo.questions import Verdict
from fgexpo.rewards import Accuracy, Overlong, Reward, Verifier
from fgexpo.rewards.returned import check_scores, check_verdicts
from fgexpo.rewards.reward import tags


class Outside(Reward):
    def __init__(self):  # need not call its parent's
        pass

    def score(self, rollouts):
        return [1.0] * len(rollouts)


async def answer_later():
    return [1.0, 2.0]


def test_two_rewards_of_one_class_have_tags_of_their_own():
    rewards = [Overlong(8, 4), Accuracy(), Overlong(8, 2), Overlong(6, 2, name="short"), Outside()]
    assert tags(rewards) == ["overlong", "accuracy", "overlong_2", "short", "outside"]


@pytest.mark.parametrize("names", [("one", "one"), ("parity_2", None, None)])
def test_two_rewards_of_one_name_are_refused(model_folder, names):
    with pytest.raises(ValueError, match=r"model\.rewards: two rewards are named '\w+'"):
        make_module(model_folder, rewards=[Parity(name=name) for name in names])


def test_both_are_logged(model_folder, tmp_path):
    rewards = [Parity(), Outside(), Parity(weight=0.5)]
    _, _, recorder = fit(model_folder, tmp_path, 1, rewards=rewards)
    batch, metrics = recorder.batches[0], recorder.metrics[0]
    assert [*batch.score_N] == ["parity", "outside", "parity_2"]
    assert metrics["rewards/parity/mean"] == metrics["rewards/parity_2/mean"]
    assert metrics["rewards/outside/mean"] == 1.0
    assert torch.equal(batch.reward_N, 1.5 * batch.score_N["parity"] + 1)


GOOD = [[0.5, 1.0], (0.5, 1), [np.float32(0.5), True], torch.tensor([0.5, 1.0]), np.array([0.5, 1])]


@pytest.mark.parametrize("given", GOOD, ids=[type(given).__name__ for given in GOOD])
def test_scores_that_will_do(given):
    scores = check_scores(Outside(), given, 2)
    assert scores == [0.5, 1.0] or (given[1] is True and scores == [0.5, 1.0])
    assert all(type(score) is float for score in scores)


BAD = [
    (None, r"Outside\.score returned None, not a list of 2 numbers, one per rollout"),
    (True, r"Outside\.score returned True \(bool\), not"),
    (0.5, r"Outside\.score returned 0\.5 \(float\), not"),
    ("ab", r"Outside\.score returned 'ab' \(str\), not"),
    (torch.tensor(1.0), r"Outside\.score returned 1\.0 \(float\), not"),
    (torch.ones(2, 1), r"gave \[1\.0\] \(list\) among its scores"),
    ([1.0], r"Outside\.score returned 1 scores for 2 rollouts"),
    ([1.0, None], r"gave None among its scores"),
    (["1", "2"], r"gave '1' \(str\) among its scores"),
    ([1.0, float("nan")], r"Outside gave a score that is not finite, nan"),
    ([float("inf"), 1.0], r"Outside gave a score that is not finite, inf"),
    ({"a": 1, "b": 2}, r"\(dict\), not a list"),
]


@pytest.mark.parametrize(("given", "words"), BAD)
def test_scores_that_will_not_do(given, words):
    with pytest.raises(ValueError, match=words):
        check_scores(Outside(), given, 2)


def test_a_reward_that_is_async():
    with pytest.raises(ValueError, match=r"Outside\.score is async, .* a list of 2 numbers"):
        check_scores(Outside(), answer_later(), 2)


class Judge(Verifier):
    def verify(self, questions, texts):
        return None


BAD_VERDICTS = [
    (None, r"model\.verifier: Judge\.verify returned None, not a list of 2 fgexpo"),
    ([True, False], r"gave True \(bool\) among its verdicts"),
    ([Verdict(True, "1")], r"returned 1 verdicts for 2 rollouts"),
    ([Verdict(True, "1"), Verdict(True, 1)], r"whose answer is 1 \(int\), not text or None"),
    ([Verdict(None, "1"), Verdict(True, "1")], r"whose correct is None, not a bool"),
]


@pytest.mark.parametrize(("given", "words"), BAD_VERDICTS)
def test_verdicts_that_will_not_do(given, words):
    with pytest.raises(ValueError, match=words):
        check_verdicts(Judge(), given, 2)


class Later(EvenIsRight):
    async def verify(self, questions, texts):
        return []


@pytest.mark.parametrize("verifier", [Judge(), Later()])
def test_a_run_says_so(model_folder, tmp_path, verifier):
    words = rf"model\.verifier: {type(verifier).__name__}\.verify (returned None|is async)"
    with pytest.raises(ValueError, match=words):
        fit(model_folder, tmp_path, 1, verifier=verifier)
