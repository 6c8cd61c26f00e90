from fractions import Fraction
from itertools import combinations, product

import pytest
import torch
from near import same

from fgexpo.metrics import GradedSamples, majority_at_k, pass_at_k, question_scores


@pytest.mark.parametrize(
    ("n", "c", "k"), [(5, 2, 1), (5, 2, 3), (6, 1, 6), (4, 0, 2), (4, 4, 2), (7, 6, 3)]
)
def test_against_all_subsets(n, c, k):
    subsets = list(combinations([True] * c + [False] * (n - c), k))
    expected = sum(any(subset) for subset in subsets) / len(subsets)
    same(pass_at_k(n, c, k), expected, rel=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 4, 1), (3, -1, 1), (3, 1, 0)])
def test_bad_input(n, c, k):
    with pytest.raises(ValueError):
        pass_at_k(n, c, k)


def by_counting(correct, wrong, silent, k):
    """The definition of maj@k, subset by subset."""
    votes = ["right"] * correct + [f"w{i}" for i, m in enumerate(wrong) for _ in range(m)]
    subsets = list(combinations(votes + [None] * silent, k))
    total = Fraction(0)
    for subset in subsets:
        counts = {answer: subset.count(answer) for answer in set(subset) - {None}}
        best = [answer for answer, count in counts.items() if count == max(counts.values())]
        total += Fraction("right" in best, max(1, len(best)))
    return total / len(subsets)


@pytest.mark.parametrize(
    ("correct", "wrong", "silent"),
    [(3, (2, 3), 1), (1, (1, 1, 1), 2), (0, (2,), 2), (4, (), 3), (2, (1, 1, 3), 0), (2, (5,), 1)],
)
def test_majority_against_all_subsets(correct, wrong, silent):
    for k in range(1, correct + sum(wrong) + silent + 1):
        expected = float(by_counting(correct, wrong, silent, k))
        same(majority_at_k(correct, wrong, silent, k), expected, rel=1e-12)


def test_majority_needs_enough_samples():
    with pytest.raises(ValueError, match="maj@k"):
        majority_at_k(1, (1,), 0, 3)


def test_majority_of_one_is_pass_at_one():
    for correct, wrong in product(range(4), range(4)):
        n = correct + wrong + 1
        same(majority_at_k(correct, (wrong,), 1, 1), correct / n, rel=1e-12)


def samples(correct, votes):
    n = len(correct)
    return torch.tensor([correct, votes, [5] * n, [1] + [0] * (n - 1), [0] * n])


def test_scores_of_a_question():
    # The two right ones vote together although they are written differently; one says nothing.
    found = question_scores(samples([1, 1, 0, 0], [11, 12, 13, -1]), ks=[1, 2], maj_ks=[4])
    assert found == {
        "pass@1": 0.5,
        "pass@2": pytest.approx(5 / 6),
        "maj@4": 1.0,
        "no_answer_frac": 0.25,
        "truncated_frac": 0.25,
        "timeout_frac": 0.0,
        "mean_length": 5.0,
    }


def test_samples_of_a_question_seen_twice_count_once():
    metric = GradedSamples(2)
    one, two = samples([1, 1], [3, 3]), samples([0, 1], [4, 3])
    metric.update(torch.tensor([3, 1]), torch.stack([one, two]))
    metric.update(torch.tensor([3]), one[None])
    found = metric.compute()
    assert list(found) == [1, 3]
    assert torch.equal(found[1], two) and torch.equal(found[3], one)
