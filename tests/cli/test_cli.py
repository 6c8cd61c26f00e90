import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import NOISE, in_folder, start, wait

ROOT = Path(__file__).parents[2]
SHORT = [
    "--steps=2",
    "--data.questions_per_step=4",
    "--model.mini_batch_questions=2",
    "--model.group_size=2",
    "--model.evaluation.rollouts=2",
    "--model.evaluation.ks=[1,2]",
    "--data.train.per_cell=1",
    "--data.val.tiny.init_args.per_cell=1",
]


def run(arguments, cwd, **environment):
    """What ``python -m fgexpo`` does there, in a process that has imported it already."""
    process = start(there, arguments, str(cwd), log=cwd / ".stdout", environment=environment)
    (code,) = wait([process])
    stdout, stderr = ((cwd / name).read_text() for name in (".stdout", ".stderr"))
    return SimpleNamespace(returncode=code, stdout=stdout, stderr=stderr)


def there(arguments, folder):
    file = f"{folder}/.stderr"
    os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644), 2)
    return in_folder(folder, arguments)


def tiny(model_folder, *more):
    return [
        "--config",
        str(ROOT / "configs/tiny.yaml"),
        f"--model.name={model_folder}",
        *SHORT,
        *more,
    ]


def csv_logger(name):
    return [
        "--trainer.logger=CSVLogger",
        "--trainer.logger.save_dir=.",
        f"--trainer.logger.name={name}",
    ]


def read_losses(folder):
    rows = csv.DictReader((folder / "version_0" / "metrics.csv").open())
    return [row["loss"] for row in rows if row.get("loss")]


def test_fit_end_to_end(model_folder, tmp_path):
    """fit, then validate, predict and export its checkpoint; every product is there."""
    done = run(
        ["fit", *tiny(model_folder, "--rollouts.save=true", "--panels.every_steps=1")], tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert not re.search(NOISE, done.stdout + done.stderr)
    assert "base against step 2" in done.stdout and "val/tiny/pass@1" in done.stdout
    version = tmp_path / "runs" / "tiny" / "version_0"
    assert "logs: runs/tiny/version_0" in done.stdout
    last = version / "checkpoints" / "last.ckpt"
    assert last.samefile(version / "checkpoints" / "step=000002.ckpt")
    names = {path.name for path in (version / "rollouts").iterdir()}
    assert {"train-step=000000-rank=0.parquet", "train-step=000001-rank=0.parquet"} < names
    assert any(name.startswith("val-step=000000") for name in names)
    assert any(name.startswith("val-step=000002") for name in names)
    check_tensorboard(version)

    tested = run(["test", *tiny(model_folder), f"--ckpt_path={last}"], tmp_path)
    assert tested.returncode == 0 and "pass@1" in tested.stdout, tested.stderr
    (results,) = (tmp_path / "evaluations").glob("*-step=2-*/results.json")
    assert json.loads(results.read_text())["rollout_step"] == 2
    nowhere = ["--ckpt_path=last", "--checkpoint.dirpath=no"]
    missing = run(["test", *tiny(model_folder), *nowhere], tmp_path)
    assert missing.returncode == 2 and "no checkpoint found" in missing.stderr
    predicted = run(["predict", *tiny(model_folder), f"--ckpt_path={last}"], tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert "pass@1 (accuracy)" in predicted.stdout and "completions: " in predicted.stdout
    assert list(tmp_path.glob("runs/tiny/version_*/rollouts/predict-0-0000-rank=0.parquet"))
    check_export(last, tmp_path, model_folder)


def check_tensorboard(version):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(version), size_guidance={"tensors": 0, "histograms": 0}).Reload()
    tags = events.Tags()
    # The x-axis counts rollout steps: two training points, and scores at 0 and at the end.
    assert [event.step for event in events.Scalars("reward")] == [1, 2]
    assert len(events.Scalars("akl/kl_coef")) == 2
    assert [event.step for event in events.Scalars("val/tiny/pass@2")] == [0, 2]
    assert "val/tiny/level_1/pass@1" in tags["scalars"]
    assert {"curriculum/weights", "curriculum/pass_rates_seen"} <= set(tags["histograms"])
    assert "completions/text_summary" in tags["tensors"]


def check_export(last, tmp_path, model_folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = run(["export", f"--ckpt_path={last}", "--out=exported"], tmp_path)
    assert done.returncode == 0, done.stderr
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    saved = torch.load(last, weights_only=True)["state_dict"]
    assert set(saved) == {f"policy.{name}" for name in model.state_dict()}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, saved[f"policy.{name}"])
    modes = {path.stat().st_mode for path in (tmp_path / "exported").iterdir()}
    assert (tmp_path / "exported" / "model.safetensors").exists() and len(modes) == 1
    trained = AutoModelForCausalLM.from_pretrained(model_folder)
    trained.load_state_dict({name.removeprefix("policy."): x for name, x in saved.items()})
    tokens = torch.arange(20)[None]
    assert torch.equal(model(tokens).logits, trained(tokens).logits)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "exported")
    assert tokenizer.decode(tokenizer(r"12\boxed{3}").input_ids) == r"12\boxed{3}"


BAD = [
    (["--model.name=checkpoints/nope"], "model.name: folder 'checkpoints/nope' does not exist"),
    (["--data.curriculum=Gausian"], "Gausian"),
    (["--akl.rho=Tan"], "Tan"),
    (["--akl.rhoo=Tanh"], "rhoo"),
    (["--data.questions_per_step=25"], "more than the 24 questions"),
    (["--model.mini_batch_questions=3"], "model.mini_batch_questions = 3 does not divide"),
    (["--model.sampling.max_new_tokens=300"], "the model's limit is 256"),
    (["--model.evaluation.ks=[64]"], "model.evaluation.ks: 64"),
    (["--model.max_prompt_tokens=3"], "has no question that fits"),
    (["--steps=0"], "steps must be at least 1"),
    (["--trainer.max_steps=7"], "--steps"),
    (["--data.train.split=train"], "split"),
    (["--data.curriculum.std=0"], "data.curriculum.std"),
    (["--model.rewards=[os.system]"], "os.system"),
    (["--akl=evil.Callback"], "evil"),
    (["--data.warm_start=nowhere.json"], "nowhere.json"),
    (["--model.mini_batch_questions=0"], "model.mini_batch_questions must be at least 1"),
    (["--model.loss.clip_low=1.5"], "model.loss.clip_low"),
    (["--trainer.min_epochs=2"], "trainer.min_epochs"),
    (["--ckpt_path=nowhere.ckpt"], "checkpoint 'nowhere.ckpt' does not exist"),
    (["--trainer.gradient_clip_val=1"], "set model.max_grad_norm instead"),
    (["--trainer.barebones=true"], "trainer.barebones = True would log nothing"),
    (["--trainer.accelerator=gpu"], "trainer: "),
    (["--trainer.strategy=nope"], "trainer: "),
    (["--trainer.logger=CometLogger"], "pip install"),
    (["--model.dtype=bfloat16"], "model.dtype = bfloat16 cannot be trained"),
    (["--model.kl_coef=.nan"], "--model.kl_coef: a number is wanted, got nan"),
    (["--model.optimizer.lr=-1"], "model.optimizer cannot be made"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "words"), BAD, ids=[flags[0] for flags, _ in BAD])
def test_bad_input_gets_a_sentence(model_folder, tmp_path, flags, words):
    (tmp_path / "evil.py").write_text("open('imported', 'w')")
    done = run(["fit", *tiny(model_folder), *flags], tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "imported").exists()
    assert "val/tiny" not in done.stdout, "no work may start"


BEFORE_THE_BASE = [
    (["--data.questions_per_step=100000"], "more than the 1680 questions"),
    (["--model.mini_batch_questions=5"], "does not divide"),
    (["--steps=0"], "steps must be at least 1"),
    (["--akl.rho=Linear", "--akl.rho.high=0.1"], "non-decreasing"),
    (["--trainer.accumulate_grad_batches=2"], "model.micro_batch_tokens"),
    (["--model.sampling.top_p=2"], "sampling.top_p must be in (0, 1], got 2.0"),
    (["--model.loss.clip_low=7"], "model.loss.clip_low must be in (0, 1), got 7"),
]


def test_a_run_without_bar_and_checkpoints(model_folder, tmp_path):
    flags = ["--trainer.enable_progress_bar=false", "--trainer.enable_checkpointing=false"]
    done = run(["fit", *tiny(model_folder, *flags, *csv_logger("quiet"))], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Unable" not in done.stderr
    assert done.stdout == "" and len(read_losses(tmp_path / "quiet")) == 2
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "words"), BEFORE_THE_BASE, ids=[f[-1] for f, _ in BEFORE_THE_BASE]
)
def test_bad_input_is_found_before_the_base_is_made(tmp_path, flags, words):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    done = run(["fit", "--config", "configs/tiny.yaml", *flags], tmp_path)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert "making it with" not in done.stdout


PLUGIN = """
from fgexpo.curriculum import Curriculum
from fgexpo.kl import Rho
from fgexpo.rewards.reward import Reward
from fgexpo.rollout import Native
from fgexpo.templates import Template

class Half(Rho):
    def __call__(self, accuracy):
        return 0.5

class First(Curriculum):
    def weights(self, table):
        weights = table.pass_rates * 0
        weights[:4] = 1
        return weights

class Short(Reward):
    def score(self, rollouts):
        return [-rollout.length for rollout in rollouts]

class Loud(Native):
    def generate(self, policy, request):
        print("my engine")
        return super().generate(policy, request)

class Twice(Template):
    def render(self, question, tokenizer):
        return question + question
"""


def test_an_outside_package_fills_every_slot(model_folder, tmp_path):
    (tmp_path / "my_pkg.py").write_text(PLUGIN)
    flags = [
        "--akl.rho=my_pkg.Half",
        "--data.curriculum=First",
        "--model.rewards=[my_pkg.Short]",
        "--model.engine=my_pkg.Loud",
        "--model.template=Twice",
        *csv_logger("plug"),
    ]
    done = run(["fit", *tiny(model_folder, *flags)], tmp_path, FGEXPO_PLUGINS="my_pkg")
    assert done.returncode == 0, done.stderr
    assert "my engine" in done.stdout
    rows = list(csv.DictReader((tmp_path / "plug/version_0/metrics.csv").open()))
    steps = [row for row in rows if row["loss"]]
    betas = [float(row["akl/kl_coef"]) for row in rows if row["akl/kl_coef"]]
    assert betas == pytest.approx([0.01, 0.01])
    assert all(float(row["rewards/short/mean"]) < 0 for row in rows if row["rewards/short/mean"])
    assert len(steps) == 2
    refused = run(["fit", *tiny(model_folder, "--akl.rho=my_pkg.Half")], tmp_path)
    assert refused.returncode == 2 and "my_pkg" in refused.stderr


def test_the_tree_without_an_install_says_so():
    code = "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)];"
    code += "import runpy; runpy.run_module('fgexpo', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "pip install -c constraints.txt -e ." in done.stderr


def test_bare_imports_are_refused():
    for name in ("callbacks", "datamodules"):
        done = subprocess.run(
            [sys.executable, "-c", f"import {name}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"import fgexpo.{name}" in done.stderr


def test_other_plugins_do_not_cost_atomic_saves():
    from lightning.pytorch.plugins import TorchCheckpointIO
    from lightning.pytorch.plugins.environments import LightningEnvironment

    from fgexpo.cli.fit import _with_atomic_saves
    from fgexpo.robustness.checkpoint import AtomicCheckpointIO

    other, own = LightningEnvironment(), TorchCheckpointIO()
    for given in (None, [], other, [other]):
        made = _with_atomic_saves(given)
        assert isinstance(made[-1], AtomicCheckpointIO)
        assert (other in made) == (given not in (None, []))
    assert _with_atomic_saves([own]) == [own]
