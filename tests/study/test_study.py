import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from near import same

from fgexpo.cli import main
from fgexpo.cli.command_line import run_to_the_end
from fgexpo.cli.imports import restrict_imports
from fgexpo.study.command_lines import Run, all_runs, base_arguments, flags, run_arguments
from fgexpo.study.estimates import estimate, pass_at_k_by_question, rollouts_to, variance_of_mean
from fgexpo.study.queue import Jobs, Task, work_off
from fgexpo.study.run import judged_otherwise
from fgexpo.study.spec import Arm, Bases, Study, Tuning, problems, read_study

CONFIGS = ["configs/tiny.yaml"]
ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "configs" / "studies").glob("*.yaml"))


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

    restrict_imports()  # as the command line does

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
    # A class among the settings is passed on, not made.
    spec = {"class_path": "TinyArithmetic", "init_args": {"per_cell": 1}}
    found = written(f"arms: {{a: {{settings: {{data.train: {spec}}}}}}}\n")
    assert found.arms["a"].settings == {"data.train": spec}


def test_a_misspelt_key_is_named(written):
    with pytest.raises(ValueError, match=r"study\.yaml: (?s:.*)agianst"):
        written("arms: {a: {agianst: [b]}}\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rollouts": 0}, "rollouts must be at least 1, got 0"),
        ({"seeds": [1, 1]}, r"seeds must be different numbers .* at least one, got \[1, 1\]"),
        ({"seeds": []}, "seeds must be different numbers from 0 to 99, at least one"),
        ({"ks": [0]}, "ks and tune.k must be at least 1"),
        ({"tune": Tuning("lr", [], [9], "other")}, "tune.values must not be empty"),
        ({"tune": Tuning("lr", [1.0], [150], "other")}, "tune.seeds must be different numbers"),
        ({"arms": {}}, "arms must not be empty"),
        ({"configs": ["no.yaml"]}, "config 'no.yaml' does not exist"),
        ({"arms": {"a": Arm(against=["b"])}}, "arms.a names 'b', which is not another arm"),
        ({"arms": {"a": Arm(match_kl="a")}}, "arms.a names 'a', which is not another arm"),
        (
            {"arms": {"a": Arm(), "b": Arm(match_kl="a"), "c": Arm(match_kl="b")}},
            "arms.c.match_kl: 'b' is itself matched",
        ),
        ({"tune": Tuning("lr", [1.0], [2], "other")}, "must not be seeds of the study"),
        ({"tune": Tuning("lr", [1.0], [9], "tiny")}, "must not be the reported one, 'tiny'"),
    ],
)
def test_what_does_not_fit_together_is_said(changes, message):
    assert re.search(message, problems(study(**changes))[0])


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.stem != "ablation")) for p in STUDIES],
    ids=lambda path: path.stem,
)
def test_every_arm_of_a_shipped_study_is_taken_by_fit(path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    shipped = read_study(str(path))
    tuned = {} if shipped.tune is None else {shipped.tune.setting: shipped.tune.values[0]}
    some = {run.arm: run for run in all_runs(shipped, shipped.seeds[:1])}
    for run in some.values():
        with pytest.raises(SystemExit) as end:
            main([*run_arguments(shipped, run, tuned), "--print_config"])
        assert end.value.code == 0, run.key
        config = yaml.safe_load(capsys.readouterr().out)
        assert judged_otherwise(shipped, config) == []
        assert config["budget"] == shipped.rollouts and config["steps"] is None
    assert config["model"]["init_args"]["evaluation"]["rollouts"] == 32
    shipped.benchmark, shipped.ks = "elsewhere", [1, 64]
    first, second = judged_otherwise(shipped, config)
    assert "no evaluation set 'elsewhere' in data.val" in first
    assert second == "ks [1, 64] need more than model.evaluation.rollouts = 32"


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
    found = pass_at_k_by_question(np.array([[0, 1, 2], [4, 4, 4]]), n=4, k=2)
    # 1 - C(4 - c, 2) / C(4, 2): of 6 pairs 3 miss one correct sample, 1 misses two.
    same(found, [[0, 1 / 2, 5 / 6], [1, 1, 1]])


def test_the_variance_of_a_mean_by_hand():
    # Row means 1 and 3, column means 1 and 3, nothing left over:
    # MS of runs = 2 ((1 - 2)^2 + (3 - 2)^2) / 1 = 4, of questions the same; (4 + 4) / (2 x 2).
    variance, freedom = variance_of_mean(np.array([[0.0, 2.0], [2.0, 4.0]]), [0, 0])
    assert variance == pytest.approx(2) and freedom == pytest.approx(8**2 / (4**2 + 4**2))
    # All of it is left over: (0 + 0 - 4) is no variance.
    assert variance_of_mean(np.array([[1.0, -1.0], [-1.0, 1.0]]), [0, 0])[0] == 0


def test_runs_vary_within_their_base_alone():
    # Two bases that differ a lot, whose runs and questions do not.
    scores = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    assert variance_of_mean(scores, [0, 0, 1, 1])[0] == 0
    assert variance_of_mean(scores, [0, 0, 0, 0])[0] == pytest.approx(1 / 12)
    only = estimate(np.array([[0.0, 1.0]]), [0])  # a run alone: the questions' part, t with 1
    assert only.high - only.mean == pytest.approx(12.706 * 0.5, rel=1e-4)


@pytest.mark.parametrize("comparisons", [1, 5])
@pytest.mark.parametrize(("of_runs", "of_questions"), [(0.0, 0.0), (0.3, 0.0), (0.1, 0.3)])
def test_intervals_of_nothing_hold_nothing(of_runs, of_questions, comparisons):
    """Five runs on each of two bases: of differences whose mean is 0, few are called clear."""
    rng = np.random.default_rng(1)
    strata, tried = [0] * 5 + [1] * 5, 1500
    wrong = 0
    for _ in range(tried):
        runs, questions = rng.normal(size=(10, 1)), rng.normal(size=(1, 30))
        rest = rng.normal(size=(10, 30))
        scores = of_runs * runs + of_questions * questions + 0.5 * rest
        wrong += estimate(scores, strata, comparisons).clear
    level = 0.05 / comparisons
    most = level + 3 * (level * (1 - level) / tried) ** 0.5
    # Pure noise is where subtracting one mean square from another costs most.
    assert wrong / tried <= 1.3 * most and (comparisons > 1 or wrong / tried > 0.01)


def test_rollouts_to_a_target():
    assert rollouts_to(0.5, [0, 100, 200], [0.2, 0.4, 0.8]) == pytest.approx(125)
    assert rollouts_to(0.1, [0, 100], [0.2, 0.4]) == 0
    assert rollouts_to(0.9, [0, 100], [0.2, 0.4]) is None


def test_tasks_run_side_by_side_once_and_failures_are_named(tmp_path):
    def task(name, *arguments):
        return Task(name, tmp_path / name, ["export", *arguments])

    said = []
    help_, bad = task("help", "--help"), task("bad", "--ckpt_path=no.ckpt", "--out=x")
    worse = task("worse", "--ckpt_path=no.ckpt", "--out=x")
    with pytest.raises(
        ValueError, match=r"(bad, worse|worse, bad) failed, see .*/log: .*no\.ckpt"
    ) as found:
        work_off(Jobs(run_to_the_end, 3, said.append), [help_, bad, worse], "runs")
    assert str(found.value).count("no.ckpt") == 1, "the same words once"
    assert sorted(line.split()[2] for line in said) == ["bad", "help", "worse"]
    assert all("all by" in line for line in said)


def test_a_folder_with_other_settings_is_refused_once_it_trained(tmp_path):
    task = Task("a", tmp_path / "a", ["fit", "--steps=1"])
    task.note()
    assert not task.finished
    assert not Task("a", tmp_path / "a", ["fit", "--steps=2"]).finished  # it has only failed
    (tmp_path / "a" / "version_0").mkdir()
    assert not task.finished
    assert Task("a", tmp_path / "b", ["fit"], "x")._shown() == "fit\n# x\n"
    with pytest.raises(ValueError, match="holds a run with other settings"):
        Task("a", tmp_path / "a", ["fit", "--steps=2"]).finished  # noqa: B018
