"""Mistakes of a new user, told before any heavy import: place, given, what there is."""

import os
import time
from pathlib import Path

import pytest

from fgexpo.cli.mistakes import check_command
from fgexpo.errors import UserError

ROOT = Path(__file__).parents[2]
TINY = ["fit", "--config", "tiny"]
SCHEDULE = "trainer: {callbacks: [{class_path: Schedule, init_args: {setting: %s, curve: %s}}]}"

# What is given after `fit --config tiny`, and words of the sentence.
FLAGS = {
    "--data.curriculum=gaussian": ("--data.curriculum: no class", "did you mean Gaussian? There"),
    "--model.loss=gspo": ("did you mean GSPO? There are CISPO, Clipped, GSPO, SAPO, Unclipped",),
    "--model.loss=fgexpo.losses.Clippd": ("did you mean Clipped?",),
    "--model.advantages=PassAtK(2)": ("{class_path: PassAtK, init_args: {k: 2}}",),
    "--model.rewards=Unlikeliness": ("a list is wanted: write [Unlikeliness]",),
    "--model.rewards=[Unlikelyness]": ("--model.rewards[0]: ", "did you mean Unlikeliness?"),
    "--model.kl_coef=.nan": ("--model.kl_coef: a number is wanted, got nan",),
    "--model.kl_coef=nan": ("expected a number, got 'nan'",),
    "--model.group_size=8.5": ("expected a whole number, got '8.5'",),
    "--model.reference_offload=maybe": ("expected true or false, got 'maybe'",),
    "--model.loss=null": ("expected CISPO, Clipped, GSPO, SAPO or Unclipped, got 'null'",),
    "--model.lora=true": ("--model.lora: expected LoRA or null, got 'true'",),
    "--model.sampling=greedy": ("expected settings (max_new_tokens,", "got 'greedy'"),
    "--model.loss.low=.1": ("no setting of Clipped is named 'low'; GSPO has it; Clipped has agg",),
    "--model.loss.correction=tokens": ("did you mean token?", "Truncated, off, sequence, token"),
    "--model.optimizer=Adamw": ("did you mean AdamW?",),
    "--model.optimizer.lr=high": ("expected a number, got 'high'",),
    "--model.lr=1e-4": ("did you mean model.optimizer.lr?",),
    "--lr=1e-4": ("did you mean model.optimizer.lr?",),
    "--curriculum=Gaussian": ("did you mean data.curriculum?",),
    "--loss.clip_low=.1": ("did you mean model.loss.clip_low?",),
    "--num_generations=4": ("did you mean model.group_size?",),
    "--max_steps=3": ("did you mean steps?",),
    "--steps": ("--steps: a value is missing",),
    "--steps=[1]": ("expected a whole number or null, got '[1]'",),
    "--seed_everything=abc": ("expected true or false or a whole number, got 'abc'",),
    "--data.refresh=steps": ("expected 'epoch' or 'step', got 'steps'; did you mean step?",),
    "--data.train=QuestionFile": ("data.train.path is missing: QuestionFile needs it",),
    "--data.train.levels=3": ("expected a list of whole numbers or null, got '3'",),
    "--data.val=Benchmark": ("expected a mapping of names to Benchmark,", "or null"),
    "--data.val.tiny.split=heldout": ("did you mean held_out?",),
    "--akl=off": ("no class is named 'off'", "TrajectoryAKL, null; a class of your own needs"),
    "--akl=my.Rule": ("set FGEXPO_PLUGINS=my to let it in",),
    "--akl=MyRule": ("a class of your own needs FGEXPO_PLUGINS=its_module",),
    "--akl.rho=tanh": ("did you mean Tanh?",),
    "--checkpoint.every=10": ("did you mean every_steps?",),
    "--stop.max_minutes=1h": ("expected a number or null, got '1h'",),
    "--trainer.logger=Wandb": ("did you mean WandbRun?",),
    "--trainer.max_epochs=ten": ("expected a whole number or null, got 'ten'",),
    "--trainer.callbacks=Scheduel": ("did you mean Schedule?",),
    "-steps=3": ("-steps: a flag has two dashes",),
    "steps=3": ("'steps=3' is not a flag; settings are given as --key=value",),
    "tiny": ("'tiny' is not a flag; did you mean --config tiny?",),
    "--config=tinny": ("'tinny' is neither a file, seen from", "did you mean tiny?"),
    "--config=studies/shares": ("is a study; run it by `fgexpo study",),
}
# A second configuration; every line of what is said.
FILES = {
    "loss: GSPO\nlearning_rate: 1\n": [
        "x.yaml:1: loss: no setting is named 'loss'; did you mean model.loss?",
        "x.yaml:2: learning_rate: no setting is named 'learning_rate'; did you mean "
        "model.optimizer.lr?",
    ],
    "steps: many\nmodel:\n  group_size: true\ndata:\n  curriculum: [Gaussian]\n": [
        "x.yaml:1: steps: expected a whole number or null, got 'many'",
        "x.yaml:3: model.group_size: expected a whole number, got 'true'",
        "x.yaml:5: data.curriculum: expected Gaussian, HardFilter, Learnability, Shared, Thompson, "
        "TowardsHard or Uniform, got '[Gaussian]'",
    ],
    "model:\n  sampling:\n    max_new_tokens: '32'\n    temperature: warm\n": [
        "x.yaml:4: model.sampling.temperature: expected a number, got 'warm'"
    ],
    "model:\n  kl_coef = 8\n": [
        "x.yaml:1: model: 'kl_coef = 8' is neither the name of a class nor settings, as in key: "
        "value"
    ],
    SCHEDULE % ("beta", "LinearCurve"): [
        "x.yaml:1: trainer.callbacks[0].setting: expected 'kl_coef', 'loss.clip_low', "
        "'loss.clip_high', 'loss.low', 'loss.high', 'loss.entropy_coef' or 'sampling.temperature', "
        "got 'beta'"
    ],
    SCHEDULE % ("kl_coef", "linear"): [
        "x.yaml:1: trainer.callbacks[0].curve: no class is named 'linear'; did you mean "
        "LinearCurve? There are CosineCurve, LinearCurve, PiecewiseCurve"
    ],
}
STUDY = """title: t
folder: f
configs: [tiny]
rollouts: many
bases: {config: tiny_base, seed: [0]}
seeds: 0
arms:
  a:
    settings: {data.curriculum: Unifrom, akll: null}
    agianst: [b]
"""
COMMANDS = [
    (["fit"], "fit needs a configuration, as in `fgexpo fit --config tiny`; without one, model.na"),
    (["test"], "as in `fgexpo test --config eval/tiny`"),
    (["plan"], "plan needs a configuration"),
    (["plan", "--config=tiny", "--gpus=many"], "--gpus: expected a whole number, got 'many'"),
    (["plan", "--config=tiny", "--gpuz=8"], "did you mean gpu?"),
    (["plan", "--config=tiny", "--model.loss=gspo"], "did you mean GSPO?"),
    (["profile"], "profile needs a configuration, as in `fgexpo profile --config tiny`"),
    (["profile", "--config=tiny", "--rollouts=some"], "--rollouts: expected a whole number"),
    (["profile", "--config=tiny", "--rolouts=4"], "did you mean rollouts?"),
    (["test", "--config=eval/tiny", "--model.evaluation.rolouts=4"], "did you mean rollouts?"),
    (["test", "--config=eval/tiny", "--model.evaluation.ks=4"], "expected a list of whole numbers"),
    (["validate", "--config=tiny", "--ckpt=last"], "did you mean ckpt_path?"),
    (["predict", "--config=tiny", "--rollouts.save=maybe"], "expected true or false"),
    (["export", "--ckpt_path=x", "--ouut=y"], "--ouut: export has no such flag; did you mean --ou"),
    (["export", "--out"], "--out: a value is missing"),
    (["compare", "a", "b", "c"], "compare takes a and b; there is no place for 'c'"),
    (["from_gguf", "a.gguf"], "SOURCE: there is no file or folder 'a.gguf'"),
    (["from_gguf", "a", "--asks=x"], "--asks: from_gguf has no such flag; did you mean --ask?"),
    (["study", "x.yaml", "--jobs=many"], "--jobs: expected a whole number, got 'many'"),
    (["study", str(ROOT / "configs/tiny.yaml")], "is a configuration of a run; use `fgexpo fit"),
]


def told(arguments):
    with pytest.raises(UserError) as found:
        check_command(arguments[0], arguments[1:])
    return [line.strip() for line in str(found.value).splitlines()]


def test_flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = {}
    for flag, words in FLAGS.items():
        (line,) = told([*TINY, flag])
        if not all(word in line for word in words):
            wrong[flag] = line
        assert "Namespace" not in line and "usage" not in line
    assert not wrong


def test_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text, lines in FILES.items():
        Path("x.yaml").write_text(text)
        assert told([*TINY, "--config", "x.yaml"]) == lines


@pytest.mark.parametrize(("arguments", "words"), COMMANDS, ids=lambda x: " ".join(x)[:40])
def test_every_command(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in told(arguments)[0]


def test_a_study_names_its_keys_and_its_arms_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(STUDY)
    lines = told(["study", "x.yaml"])
    for number, (place, words) in enumerate(
        [
            ("x.yaml:4: rollouts: ", "expected a whole number, got 'many'"),
            ("x.yaml:5: bases.seed: ", "did you mean seeds?"),
            ("x.yaml:6: seeds: ", "expected a list of whole numbers, got '0'"),
            ("x.yaml:10: arms.a.agianst: ", "did you mean against?"),
            ("x.yaml:9: arms.a.settings: data.curriculum: ", "did you mean Uniform?"),
            ("x.yaml:9: arms.a.settings: akll: ", "did you mean akl?"),
        ]
    ):
        assert lines[number].startswith(place) and words in lines[number]


def test_what_is_right_passes_and_is_quick(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    began = time.process_time()
    for path in sorted((ROOT / "configs/studies").glob("*.yaml")):
        check_command("study", [str(path), "--jobs", "2"])
    check_command("plan", ["--config", "r1_1p5b", "--gpus", "8", "--gpu-memory=80"])
    check_command("fit", [*TINY[1:], "--model.loss=GSPO", "--model.loss.low", "1e-4", "--steps=3"])
    check_command("fit", ["--model.name=x", "--data.train.path=y", "--data.train=QuestionFile"])
    check_command("fit", [*TINY[1:], "--model.rewards+=Overlong", "--trainer.callbacks=Timer"])
    check_command("compare", ["a", "b", "--out", "x.png"])
    assert time.process_time() - began < 5


PLUG_IN = """
from dataclasses import dataclass
from outside_of_it import Mixin, define

from fgexpo.curriculum import Curriculum
from fgexpo.rewards import Reward


class Filled(Reward):
    def score(self, graded):
        return graded


@dataclass
class First(Filled):
    weight: float = 1.0


@dataclass
class Second(First):
    more: int = 2


class Mixed(Mixin, Filled):
    def __init__(self, own: int = 1, **others) -> None: ...


@define
class Defined(Filled):
    share: float = 0.5
"""


def test_what_the_source_does_not_tell_is_left_to_the_parser(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("mine_for_mistakes.py").write_text(PLUG_IN)
    monkeypatch.setenv("FGEXPO_PLUGINS", "mine_for_mistakes")

    def check(kind, setting):
        reward = f"{{class_path: mine_for_mistakes.{kind}, init_args: {{{setting}: 1}}}}"
        check_command("fit", [*TINY[1:], f"--model.rewards=[{reward}]"])

    for kind, setting in {"Second": "weight", "Mixed": "mixed", "Defined": "share"}.items():
        check(kind, setting)
    with pytest.raises(UserError, match="did you mean weight"):
        check("Second", "wait")


def test_files_that_only_the_parser_can_read_are_left_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    Path("sub/log.yaml").touch()
    Path("sub/c.yaml").write_text("trainer: {logger: log.yaml}\n")
    check_command("fit", [*TINY[1:], "--config=sub/c.yaml"])  # which is beside its configuration
    os.mkfifo("pipe")
    check_command("fit", [*TINY[1:], "--config=pipe"])  # reading it would wait, and empty it


def test_a_plug_in_that_is_not_there(monkeypatch):
    monkeypatch.setenv("FGEXPO_PLUGINS", "no_such_module_of_mine")
    assert "FGEXPO_PLUGINS: there is no module or package 'no_such" in told(TINY)[0]
