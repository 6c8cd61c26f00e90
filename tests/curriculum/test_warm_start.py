"""A run that starts with pass-rates from before it: counts of a profile, by hand."""

import json

import pytest
import torch
from near import same

from fgexpo.curriculum import Gaussian, PassRateTable, Shared
from fgexpo.curriculum.gaussian import effective_sample_size
from fgexpo.errors import UserError
from fgexpo.evaluation.warm_start import Counted, counts, read_pass_rates, warm_up
from fgexpo.questions import Question

POOL = [Question(name, "?", "1") for name in "abc"]


def started(path, found, group_size=8, **options):
    path = path / "rates.json"
    path.write_text(json.dumps(found))
    table = PassRateTable(3, **options)
    return table, warm_up(table, POOL, str(path), group_size)


@pytest.mark.parametrize("debias", [False, True])
def test_a_rate_that_was_counted_is_believed_as_it_is(tmp_path, debias):
    found = counts(POOL, [0, 2, 8], 8)
    assert found["b"] == {"right": 2, "rollouts": 8}
    table, told = started(tmp_path, found, debias=debias)
    same(table.pass_rates, torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64))
    assert table.visits.tolist() == [1, 1, 1] and told is None
    # GCS is alive from the first step, by equation (7).
    weights = Gaussian(0.5, 0.35).weights(table)
    same(weights[0], float(torch.tensor(-0.25 / (2 * 0.35**2), dtype=torch.float64).exp()))
    assert effective_sample_size(weights) < 2.8 < effective_sample_size(torch.ones(3))


def test_eight_rollouts_weigh_as_much_as_a_step_that_asks_eight(tmp_path):
    counted, _ = started(tmp_path, counts(POOL, [2, 2, 2], 8), debias=True)
    visited = PassRateTable(3, debias=True)
    visited.update(torch.arange(3), torch.full((3,), 0.25))
    for table in (counted, visited):
        table.update(torch.tensor([0]), torch.tensor([1.0]))
    same(counted.averages, visited.averages)
    # (0.9 x 0.25 + 1) / 1.9
    same(float(counted.pass_rates[0]), 1.225 / 1.9)


def test_without_the_correction_the_average_moves_on_from_the_rate(tmp_path):
    table, _ = started(tmp_path, counts(POOL, [2, 2, 2], 8))
    table.update(torch.tensor([0]), torch.tensor([1.0]))
    same(float(table.pass_rates[0]), 0.9 * 0.25 + 0.1)


@pytest.mark.parametrize(("rollouts", "visits"), [(1, 1), (8, 1), (12, 2), (32, 4)])
def test_visits_are_groups(rollouts, visits):
    assert Counted(1, rollouts).visits(8) == visits


def test_a_run_s_averages_are_kept_as_they_are(tmp_path):
    table, _ = started(tmp_path, {"a": [0.46, 3], "b": [0.5, 1], "c": [0.45, 1]}, debias=True)
    assert table.averages.tolist() == [0.46, 0.5, 0.45] and table.visits.tolist() == [3, 1, 1]


def test_counts_teach_about_questions_that_were_not_asked(tmp_path):
    table, _ = started(tmp_path, counts(POOL[:2], [0, 0], 8))
    shared = Shared("level")
    shared.prepare([Question(name, "?", "1", {"level": "1"}) for name in "abc"])
    assert table.pass_rates.tolist() == [0, 0, 0.5] and shared.rates(table).tolist() == [0, 0, 0]


def test_a_file_that_fits_in_part_says_so(tmp_path):
    _, told = started(tmp_path, {"a": {"right": 0, "rollouts": 4}, "x": [0.5, 1]})
    assert told is not None
    assert "2 of the pool's 3 questions have no rate and start at 0.5" in told
    assert "1 of its 2 questions are not in the pool" in told


@pytest.mark.parametrize(("found", "words"), [({"x": [0.5, 1]}, "ids such as 'x'"), ({}, "none")])
def test_a_file_of_another_pool_is_refused(tmp_path, found, words):
    with pytest.raises(UserError, match=rf"rates\.json' has no question of this pool.*{words}"):
        started(tmp_path, found)


@pytest.mark.parametrize(
    ("right", "rollouts"), [(9, 8), (-1, 8), (0, 0), (True, 8), (1.0, 8), (1, None)]
)
def test_counts_that_cannot_be_are_named(tmp_path, right, rollouts):
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"a": {"right": right, "rollouts": rollouts}}))
    with pytest.raises(UserError, match=r"data\.warm_start: .*rates\.json' has .* question 'a'"):
        read_pass_rates(str(path))
