import re

import numpy as np
import pytest

from fgexpo.study.estimates import estimate, question_scores, resampled, rollouts_to
from fgexpo.study.queue import Task, work_off
from fgexpo.study.runs import Run, all_runs, base_arguments, flags, run_arguments
from fgexpo.study.spec import Arm, Bases, Study, Tuning, problems, read_study

CONFIGS = ["configs/tiny.yaml"]


def study(**changes):
    given = {
        "title": "T",
        "folder": "out",
        "configs": CONFIGS,
        "rollouts": 64,
        "bases": Bases("configs/tiny_base.yaml", [0, 3]),
        "seeds": [1, 2],
        "arms": {"grpo": Arm({"akl": None}), "akl": Arm(against=["grpo"])},
        "settings": {"data.refresh": "step"},
    }
    return Study(**{**given, **changes})


@pytest.fixture
def written(tmp_path):
    """A function that writes a study's YAML and reads it back."""

    def write(text):
        path = tmp_path / "study.yaml"
        path.write_text(
            "title: T\nfolder: out\nconfigs: [configs/tiny.yaml]\nrollouts: 64\n"
            "bases: {config: configs/tiny_base.yaml, seeds: [0]}\nseeds: [0]\n" + text
        )
        return read_study(str(path))

    return write


def test_a_study_is_read_with_its_dotted_settings_in_order(written):
    found = written("arms:\n  a: {settings: {akl: null, data.curriculum: Uniform}}\n  b: {}\n")
    assert list(found.arms["a"].settings.items()) == [("akl", None), ("data.curriculum", "Uniform")]
    assert found.arms["b"].settings == {} and found.bases.seeds == [0]


def test_a_misspelt_key_is_named(written):
    with pytest.raises(ValueError, match=r"study\.yaml: (?s:.*)agianst"):
        written("arms: {a: {agianst: [b]}}\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rollouts": 0}, "rollouts must be at least 1, got 0"),
        ({"seeds": [1, 1]}, r"seeds must be different numbers from 0 to 99, got \[1, 1\]"),
        ({"arms": {}}, "arms must not be empty"),
        ({"configs": ["no.yaml"]}, "config 'no.yaml' does not exist"),
        ({"arms": {"a": Arm(against=["b"])}}, "arms.a names 'b', which is no other arm"),
        ({"arms": {"a": Arm(match_kl="a")}}, "arms.a names 'a', which is no other arm"),
        (
            {"arms": {"a": Arm(), "b": Arm(match_kl="a"), "c": Arm(match_kl="b")}},
            "arms.c.match_kl: 'b' is itself matched",
        ),
        ({"tune": Tuning("lr", [1.0], [2], "other")}, "are not to be seeds of the study"),
        ({"tune": Tuning("lr", [1.0], [9], "tiny")}, "must not be the reported one, 'tiny'"),
    ],
)
def test_what_does_not_fit_together_is_said(changes, message):
    assert re.search(message, problems(study(**changes))[0])


def test_runs_are_arms_times_points_times_bases_times_seeds():
    made = all_runs(study(points={"low": {"model.kl_coef": 0}, "high": {}}), [1, 2])
    assert len(made) == len({run.key for run in made}) == 2 * 2 * 2 * 2
    assert made[0].key == "low-grpo-base=0-seed=1" and made[1].key == "low-akl-base=0-seed=1"
    assert list(made[0].settings) == ["data.refresh", "model.kl_coef", "akl"]


def test_the_command_line_of_a_run():
    found = run_arguments(study(), Run("", "akl", 3, 2, {"akl": None, "x.y": [1]}), {"lr": 1e-5})
    assert found[:5] == [
        "fit",
        "--config=configs/tiny.yaml",
        "--akl=null",
        "--x.y=[1]",
        "--lr=1e-05",
    ]
    assert "--model.name=out/bases/seed=3" in found and "--budget=64" in found
    assert "--seed_everything=302" in found and "--ckpt_path=last" in found
    assert "--export.out=out/bases/seed=3" in base_arguments(study(), 3)
    assert flags({"a": "text", "b": True}) == ["--a=text", "--b=true"]


def test_scores_by_question_are_pass_at_k():
    found = question_scores(np.array([[0, 1, 2], [4, 4, 4]]), n=4, k=2)
    # 1 - C(4 - c, 2) / C(4, 2): of 6 pairs 3 miss one correct sample, 1 misses two.
    np.testing.assert_allclose(found, [[0, 1 / 2, 5 / 6], [1, 1, 1]])


def test_intervals_cover_seeds_and_questions():
    rng = np.random.default_rng(0)
    runs, questions = rng.normal(0, 0.1, (10, 1)), rng.normal(0, 0.3, (1, 40))
    scores = runs + questions
    spread = resampled(scores, [0] * 10, seed=1).std()
    # Of sums the variances add up: that of the mean of ten runs and that of the mean of forty.
    expected = (runs.var() / 10 + questions.var() / 40) ** 0.5
    assert spread == pytest.approx(expected, rel=0.05)
    narrow, wide = estimate(scores, [0] * 10, 1), estimate(scores, [0] * 10, 1, comparisons=10)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 * expected, rel=0.07)


def test_runs_are_resampled_within_their_base():
    # Two bases that differ a lot, whose runs do not: nothing is uncertain.
    scores = np.array([[0.0], [0.0], [1.0], [1.0]])
    assert resampled(scores, [0, 0, 1, 1], seed=0).std() == 0
    assert resampled(scores, [0, 0, 0, 0], seed=0).std() > 0.1


def test_intervals_of_nothing_hold_nothing():
    """Of differences whose mean is 0, about one in twenty is called clear."""
    rng = np.random.default_rng(1)
    wrong = sum(estimate(rng.normal(size=(10, 30)), [0] * 10, 0).clear for _ in range(200))
    # Both ways of resampling widen it when runs and questions do not interact: it is cautious.
    assert wrong <= 10


def test_rollouts_to_a_target():
    assert rollouts_to(0.5, [0, 100, 200], [0.2, 0.4, 0.8]) == pytest.approx(125)
    assert rollouts_to(0.1, [0, 100], [0.2, 0.4]) == 0
    assert rollouts_to(0.9, [0, 100], [0.2, 0.4]) is None


def test_tasks_run_side_by_side_once_and_failures_are_named(tmp_path):
    def task(name, *arguments):
        return Task(name, tmp_path / name, ["export", *arguments])

    said = []
    help_, bad = task("help", "--help"), task("bad", "--ckpt_path=no.ckpt", "--out=x")
    with pytest.raises(ValueError, match=r"bad failed, see .*bad/log: .*no\.ckpt"):
        work_off([help_, bad], 2, "runs", said.append)
    assert sorted(line.split()[2] for line in said) == ["bad", "help"]
    assert all("all by" in line for line in said)


def test_a_folder_with_other_settings_is_refused(tmp_path):
    task = Task("a", tmp_path / "a", ["fit", "--steps=1"])
    task.note()
    assert not task.finished
    with pytest.raises(ValueError, match="holds a run with other settings"):
        Task("a", tmp_path / "a", ["fit", "--steps=2"]).finished  # noqa: B018
