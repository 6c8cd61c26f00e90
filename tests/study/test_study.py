import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from near import same

from fgexpo.cli import main
from fgexpo.cli.command_line import run_to_the_end
from fgexpo.cli.imports import restrict_imports
from fgexpo.errors import UserError
from fgexpo.study.bases import base_arguments, identify, note_bases
from fgexpo.study.checks import (
    RESULT,
    Checked,
    check_study,
    disagreements,
    judged_otherwise,
    placed,
    unwritable,
)
from fgexpo.study.command_lines import Run, all_runs, base_name, flags, run_arguments
from fgexpo.study.estimates import estimate, pass_at_k_by_question, rollouts_to, variance_of_mean
from fgexpo.study.header import header
from fgexpo.study.lines import Lines
from fgexpo.study.local import LocalLauncher
from fgexpo.study.progress import Progress
from fgexpo.study.queue import work_off
from fgexpo.study.read_spec import evaluation_ks, problems, read_study
from fgexpo.study.spec import Arm, Bases, Slurm, Study, Tuning
from fgexpo.study.task import Task

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
        "ks": [1, 8, 32],
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
    with pytest.raises(
        ValueError, match=r"study\.yaml:7: arms.a has no key 'agianst'; did you mean against\?"
    ):
        written("arms: {a: {agianst: [b]}}\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rollouts": 0}, "rollouts must be at least 1, got 0"),
        ({"seeds": [1, 1]}, r"seeds must be different numbers .* at least one, got \[1, 1\]"),
        ({"seeds": []}, "seeds must be different numbers from 0 to 99, at least one"),
        ({"target": 2.0}, "target must be a pass@1 above 0, at most 1, got 2.0"),
        ({"slurm": Slurm(minutes=1)}, "slurm.minutes must be at least 5, got 1"),
        (
            {"ks": [1, 4], "settings": {"model.evaluation.ks": [1, 8]}},
            r"ks is \[1, 4\], but settings.model.evaluation.ks is \[1, 8\]; leave out ks",
        ),
        ({"bases": Bases(seeds=[1])}, "bases.seeds is for bases that bases.config makes"),
        ({"bases": Bases(models=["a", "a"])}, "bases.models names a model twice"),
        (
            {"bases": Bases("configs/tiny_base.yaml", [0], models=["a"])},
            "bases has both config, which makes models, and models, which exist",
        ),
        (
            {"ks": [1, 4], "settings": {"model.init_args": {"evaluation": {"ks": [1, 8]}}}},
            r"ks is \[1, 4\], but settings.model.evaluation.ks is \[1, 8\]; leave out ks",
        ),
        (
            {"settings": {"model": {"init_args": {"name": "x"}}}},
            "settings.model.name has no effect: .* see its key bases.models",
        ),
        ({"settings": {"steps": 5}}, "settings.steps has no effect: .* see its key rollouts"),
        (
            {"arms": {"a": Arm({"model.name": "x"})}, "bases": Bases()},
            "arms.a.settings.model.name has no effect",
        ),
        (
            {"arms": {"a": Arm({"data.refresh": "epoch"}), "b": Arm({"data.refresh": "step"})}},
            "settings.data.refresh is used by no arm: each sets its own",
        ),
        (
            {"arms": {"a": Arm({"akl.rho": "Tanh", "akl": None})}},
            "arms.a.settings.akl.rho has no effect: a setting after it takes its place",
        ),
        (
            {"arms": {"a": Arm(), "b": Arm({"model.kl_coef": 0.1}, match_kl="a")}},
            "arms.b.settings.model.kl_coef has no effect: match_kl sets it",
        ),
        (
            {"tune": Tuning("data.refresh", [1], [9], "other")},
            "settings.data.refresh has no effect: it is the setting that is tuned",
        ),
        (
            {"bases": Bases("configs/tiny_base.yaml", [0], {"export.out": "x"})},
            "bases.settings.export.out has no effect",
        ),
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
    rollouts = config["model"]["init_args"]["evaluation"]["rollouts"]
    shipped.benchmark, shipped.ks = "elsewhere", [1, 64]
    first, second = judged_otherwise(shipped, config)
    assert "no evaluation set 'elsewhere' in data.val" in first
    assert second == f"ks [1, 64] need more than model.evaluation.rollouts = {rollouts}"


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
        work_off(LocalLauncher(run_to_the_end, 3), [help_, bad, worse], "runs", said.append)
    assert str(found.value).count("no.ckpt") == 1, "the same words once"
    begun, ended = said[:3], said[3:]
    assert [line.split()[1:3] for line in begun] == [
        [t, "started,"] for t in ("help", "bad", "worse")
    ]
    assert sorted(line.split()[2] for line in ended) == ["bad", "help", "worse"]
    assert ["; all runs by " in line for line in ended] == [True, True, False]


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


def test_a_long_run_is_not_silent(tmp_path):
    said = []
    task = Task("a", tmp_path, ["fit"])
    task.log.write_text("loading\rstep 3/9  acc 0.5\n\n")
    progress = Progress(said.append, "runs", 2)
    progress.start(task, "")
    progress.beat()
    progress.spoke -= 26
    progress.beat()
    assert said[1:] == ["runs: 0/2 done, 1 under way; a: step 3/9  acc 0.5"]


THREE_LINES = "configs: [tiny]\nrollouts: 512\narms: {a: {}, b: {against: [a]}}\n"


def test_three_lines_are_a_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(THREE_LINES)
    found = read_study("my.yaml")
    assert (found.title, found.folder, found.ks) == ("my", "studies/my", [1, 8, 32])
    assert found.seeds == [0, 1, 2] and found.bases.numbers == [0]
    run = all_runs(found, [0])[0]
    assert not any("model.name" in flag for flag in run_arguments(found, run, {}))
    lines = header(found, "r.md", 2)
    assert len(lines) == 5 and max(map(len, lines)) <= 100
    assert lines[1] == "runs    6 (2 arms x 1 base x 3 seeds) of 512 rollouts"


def test_a_study_names_its_models_or_makes_them():
    existing = study(bases=Bases(models=["my-model", "org/name"]))
    assert existing.bases.numbers == [0, 1]
    assert "--model.name=org/name" in run_arguments(existing, Run("", "akl", 1, 0), {})
    assert (
        base_name(study(), 3) == "out/bases/seed=3" and base_name(study(bases=Bases()), 0) is None
    )


def test_ks_are_those_of_the_evaluation(tmp_path):
    overlay = tmp_path / "o.yaml"
    overlay.write_text("model: {class_path: GRPOModule, init_args: {evaluation: {ks: [1, 2]}}}\n")
    assert evaluation_ks(study(configs=[*CONFIGS, str(overlay)])) == [1, 2]
    assert evaluation_ks(study(settings={"model.evaluation.ks": [1]})) == [1]


MISTAKES = """configs: [tiny]
rolouts: 512
bases: {modles: [x]}
slurm: {gpu: 3}
points: {p: {any.thing: 1}}
arms:
  a: {setings: {}}
  a: {}
"""


def test_every_unknown_key_is_named_with_its_line(tmp_path):
    (tmp_path / "x.yaml").write_text(MISTAKES)
    found = Lines(str(tmp_path / "x.yaml")).faults()
    places = [(line.rpartition("x.yaml:")[2].split(":")[0], line) for line in found]
    assert [place for place, _ in places] == ["8", "2", "3", "4", "7"]
    for (_, line), words in zip(
        places,
        ["stands there twice", "mean rollouts?", "mean models?", "mean gpus?", "mean settings?"],
        strict=True,
    ):
        assert words in line


def test_a_fault_of_an_arm_has_the_line_of_its_setting(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("settings:\n  data.decay: 3\narms:\n  a:\n    settings: {akl.roh: 1}\n")
    of = study(settings={"data.decay": 3}, arms={"a": Arm({"akl.roh": 1})})
    lines = Lines(str(path))
    assert placed(of, lines, ("", "a"), "--akl.roh: no") == f"{path}:5: arms.a.settings.akl.roh: no"
    assert placed(of, lines, ("", "a"), "data.decay: no") == f"{path}:2: settings.data.decay: no"
    assert placed(of, lines, ("", "a"), "trainer: no") == f"{path}: arm a: trainer: no"
    assert placed(of, lines, ("", "a"), "tiny.yaml:3: no") == "tiny.yaml:3: no"


def config(rollouts=32, name="m", akl="x", per_cell=1):
    evaluation = {"rollouts": rollouts}
    return {
        "model": {"init_args": {"name": name, "evaluation": evaluation}},
        "data": {"init_args": {"val": {"tiny": {"per_cell": per_cell}}}},
        "trainer": {"logger": None},
        "akl": akl,
    }


def test_arms_must_be_comparable():
    of = study(arms={"a": Arm(), "b": Arm(match_kl="a")})

    def found(**other):
        return list(disagreements(of, {("", "a"): config(), ("", "b"): config(**other)}))

    assert found() == []
    assert found(name="n") == ["arms start from different models (m, n); compare on one base"]
    assert found(per_cell=2) == ["arms differ in data.val.tiny; all must answer the same"]
    few, differ = found(rollouts=8)
    assert few == "arm b: ks [1, 8, 32] need more than model.evaluation.rollouts = 8"
    assert "arms differ in model.evaluation.rollouts" in differ
    unmatched = {("", "a"): config(akl=None), ("", "b"): config()}
    assert "no KL controller (akl) to match" in next(disagreements(of, unmatched))


def test_where_nothing_can_be_written_is_said(tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert unwritable("folder", str(tmp_path / "a" / "b")) == []
    assert "is a file; name a folder" in unwritable("folder", str(file))[0]
    assert "cannot be made" in unwritable("folder", str(file / "a"))[0]
    assert "is a folder; name a file" in unwritable("--report", str(tmp_path), file=True)[0]


def test_a_model_is_known_by_its_content(model_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    before = identify(str(copy))
    assert identify(model_folder) == before
    (copy / "README.md").write_text("a card")
    assert identify(str(copy)) == before
    of = study(folder=str(tmp_path / "out"), bases=Bases(models=[str(copy)]))
    assert note_bases(of, [str(copy)]) == {str(copy): before}
    (weights,) = copy.glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    note_bases(of, [str(copy)])  # no run has begun
    (tmp_path / "out" / "runs" / "a" / "version_0").mkdir(parents=True)
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match=f"began with another model in .*, now {before}"):
        note_bases(of, [str(copy)])
    weights.unlink()
    with pytest.raises(UserError, match="has no weights"):
        identify(str(copy))


class Answering:
    """A launcher of checks that answers for every arm what it is told to."""

    at_once, resubmits = None, False

    def __init__(self, **found):
        self.found, self.asked = found, []

    def start(self, tasks):
        self.waiting = list(tasks)
        for task in tasks:
            self.asked.append(task.arguments)
            arm = task.key.rpartition("-")[2]
            task.log.write_text(f"words\n{RESULT}{json.dumps(self.found[arm])}\nmore words\n")
        return [""] * len(tasks)

    def wait(self, seconds):
        return [(task, 0) for task in self.waiting]

    def close(self):
        pass


def test_the_checks_find_the_recipe_of_a_model_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of = study(bases=Bases(), arms={"a": Arm(), "b": Arm()})
    there = {"config": {**config(name="checkpoints/none"), "prepare": "r.yaml"}}
    launcher = Answering(a=there, b=there, bases={"faults": ["r.yaml:3: no"]})
    with pytest.raises(UserError, match=r"^prepare: r.yaml:3: no$"):
        check_study(of, launcher, "x.yaml", "r.md", print)
    assert launcher.asked[-1][:3] == ["fit", "--config=r.yaml", "--export.out=checkpoints/none"]
    assert not any("--prepare=null" in asked for asked in launcher.asked)
    launcher.found["bases"] = {"config": {}}
    assert check_study(of, launcher, "x.yaml", "r.md", print) == Checked(
        "checkpoints/none", "r.yaml"
    )
    # Nothing makes it, and two arms have mistakes too: all are told.
    launcher.found |= {"a": {"config": config(name="checkpoints/none")}, "b": there}
    launcher.found["b"] = {"faults": ["--akl.roh: no", "o.yaml:1: bad"]}
    of.bases.models = ["checkpoints/none"]
    with pytest.raises(UserError) as refused:
        check_study(of, launcher, "x.yaml", str(tmp_path), print)
    assert len(str(refused.value).splitlines()) == 4
    assert "bases.models: folder 'checkpoints/none' does not exist" in str(refused.value)
