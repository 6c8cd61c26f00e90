"""Proof that the judges of `make chaos` can say no, and one or a few of each thing that it does.

What `make chaos` does anyway, many times and in CI, is marked `full`.
"""

import chaos
import hostile
import pytest
import torch
from lab import Lab, differences
from processes import wait


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("chaos"))


SHORT = [
    (chaos.hostile_yaml, {"count": 6}),
    (chaos.kills, {"count": 1, "elsewhere": True}),
    (chaos.signals, {"count": 1}),
    (chaos.second_signals, {"count": 1}),
    (chaos.torn_files, {"count": 2}),
    (chaos.poison, {"count": 1}),
    (chaos.strikes, {"count": 1}),
    (chaos.disk_full, {"count": 1}),
    (chaos.clock_back, {"count": 1}),
    (chaos.two_at_once, {"count": 3}),
    (chaos.setup_deaths, {"count": 1}),
    (chaos.torn_by_every_path, {"count": 4}),
]


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "options"), SHORT, ids=[e.__name__ for e, _ in SHORT])
def test_nothing_is_lost(lab, experiment, options):
    outcome = experiment(lab, **options)
    assert outcome.tried == options["count"] and outcome.lost == []


@pytest.mark.slow
def test_a_different_final_state_is_seen(tmp_path):
    lab = Lab(tmp_path, steps=3)
    assert wait(lab.run("other", more=["--model.kl_coef=0.5"])) == [0]
    fault = lab.compare("other")
    assert "/state_dict/policy." in fault and "/optimizer_states/" in fault


def test_nested_differences_are_named():
    one = {"a": [torch.zeros(2), {"b": 1}], "c": 1}
    assert differences(one, {"a": [torch.zeros(2), {"b": 1}], "c": 1}) == []
    assert differences(one, {"a": [torch.ones(2), {"b": 2}]}) == ["c", "/a/0", "/a/1/b"]
    assert differences({"a": [1]}, {"a": [1, 2]}) == ["/a"]


def test_code_that_is_let_in_leaves_its_mark(lab, tmp_path, monkeypatch):
    # The same document with evil as a plug-in: so the mark would be seen if it were imported.
    document = "trainer: {callbacks: [{class_path: evil.Evil}]}"
    assert hostile.refuse(document, tmp_path / "refused", lab.model) is None
    monkeypatch.setitem(hostile.ENVIRONMENT, "FGEXPO_PLUGINS", "evil")
    fault = hostile.refuse(document, tmp_path / "let-in", lab.model)
    assert fault is not None and "was executed" in fault
