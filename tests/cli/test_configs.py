import io
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest
import yaml

from fgexpo.cli import main
from fgexpo.cli.fit import FGExpoCLI
from fgexpo.cli.imports import restrict_imports

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path.relative_to(ROOT) for path in (ROOT / "configs").glob("*.yaml"))
ABLATIONS = sorted((ROOT / "configs" / "ablations").glob("*.yaml"))
GSPO_LOSS = {
    "ratio": "sequence",
    "aggregation": "sequence_mean",
    "clip_low": 3e-4,
    "clip_high": 4e-4,
}
DAPO_LOSS = {
    "ratio": "token",
    "aggregation": "token_mean",
    "clip_low": 0.2,
    "clip_high": 0.28,
}


def parsed(arguments):
    """The configuration that the command line prints for these arguments."""
    return yaml.safe_load(printed(tuple(arguments)))


@cache
def printed(arguments):
    """Parsed once, whichever tests ask for it."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as end, redirect_stdout(out):
        main([*arguments, "--print_config"])
    assert end.value.code == 0
    return out.getvalue()


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_every_config_parses_and_survives_a_round_trip(path, tmp_path):
    config = parsed(["fit", "--config", str(ROOT / path)])
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml.safe_dump(config))
    assert parsed(["fit", "--config", str(copy)]) == config


def test_a_warm_up_is_not_among_the_runs_to_look_at():
    """TensorBoard shows all that lies below a folder, on one axis of steps."""
    shipped = [yaml.safe_load((ROOT / path).read_text()) for path in CONFIGS]
    bases = {path for config in shipped if (path := config.get("prepare"))}
    assert len(bases) == 2
    for path, config in zip(CONFIGS, shipped, strict=True):
        folder = Path(config["trainer"]["logger"]["init_args"]["save_dir"])
        assert (folder.parts[0] == "runs") == (str(path) not in bases), path


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_every_ablation_is_a_small_overlay(path):
    arguments = ["fit", "--config", str(ROOT / "configs/tiny.yaml"), "--config", str(path)]
    config = parsed(arguments)
    assert len(path.read_text().splitlines()) <= 5
    curriculum = config["data"]["init_args"]["curriculum"]["class_path"].split(".")[-1]
    found = (config["akl"] is not None, curriculum)
    assert (
        found
        == {
            "grpo": (False, "Uniform"),
            "akl_only": (True, "Uniform"),
            "gcs_only": (False, "Gaussian"),
        }[path.stem]
    )


@pytest.mark.parametrize("base", ["tiny", "r1_1p5b"])
def test_recipes_change_what_they_name_and_nothing_else(base):
    plain = ["fit", "--config", str(ROOT / f"configs/{base}.yaml")]
    before = parsed(plain)
    gspo = parsed([*plain, "--config", str(ROOT / "configs/recipes/gspo.yaml")])
    assert gspo["model"]["init_args"]["loss"]["init_args"].items() >= GSPO_LOSS.items()
    before["model"]["init_args"]["loss"]["init_args"] |= GSPO_LOSS
    assert gspo == before

    dapo = parsed([*plain, "--config", str(ROOT / "configs/recipes/dapo.yaml")])
    found, model = dapo["model"]["init_args"], before["model"]["init_args"]
    accuracy, overlong = found["rewards"]
    assert accuracy["class_path"].endswith(".Accuracy")
    assert overlong["class_path"].endswith(".Overlong")
    lengths = {"max_tokens": 3072, "buffer": 614, "weight": 0.5}
    assert overlong["init_args"].items() >= lengths.items()
    assert base == "tiny" or found["sampling"]["max_new_tokens"] == lengths["max_tokens"]
    assert model["refill"] is None
    refill = {"class_path": "fgexpo.rollout.waves.Refill", "init_args": {"max_waves": 4}}
    model |= {"kl_coef": 0.0, "rewards": found["rewards"], "refill": refill}
    model["loss"]["init_args"] |= DAPO_LOSS
    before["akl"] = None
    before["data"]["init_args"]["curriculum"] = dapo["data"]["init_args"]["curriculum"]
    assert dapo["data"]["init_args"]["curriculum"]["class_path"].endswith(".Uniform")
    assert dapo == before

    waves = parsed([*plain, "--config", str(ROOT / "configs/recipes/dynamic_sampling.yaml")])
    flags = ["--akl=null", "--data.curriculum=Uniform", "--model.refill=Refill"]
    assert waves == parsed([*plain, *flags])
    assert waves["model"]["init_args"]["refill"] == refill


def test_evaluation_configs_and_their_overlays():
    six = ["test", "--config", str(ROOT / "configs/eval/six.yaml")]
    settings = parsed(six)["model"]["init_args"]["evaluation"]
    assert (settings["rollouts"], settings["ks"], settings["maj_ks"]) == (32, [1, 8, 32], [8, 32])
    for name, changed in {
        "greedy": {"temperature": 0.0, "top_p": 1.0, "max_new_tokens": 32768},
        "qwen3_base": {"temperature": 0.6, "top_k": 20, "max_new_tokens": 8192},
    }.items():
        config = parsed([*six, "--config", str(ROOT / f"configs/eval/{name}.yaml")])
        assert len(config["data"]["init_args"]["sets"]) == 6
        assert changed.items() <= config["model"]["init_args"]["evaluation"]["sampling"].items()
    tiny = parsed(["test", "--config", str(ROOT / "configs/eval/tiny.yaml")])
    assert list(tiny["data"]["init_args"]["sets"]) == ["tiny"]


def test_full_size_configs_hold_the_papers_values():
    for name in ("r1_1p5b", "qwen3_8b"):
        config = parsed(["fit", "--config", str(ROOT / f"configs/{name}.yaml")])
        model, data = config["model"]["init_args"], config["data"]["init_args"]
        assert (model["kl_coef"], data["decay"]) == (0.02, 0.9)
        assert data["curriculum"]["init_args"] == {"mean": 0.5, "std": 0.35}
        assert (model["group_size"], data["questions_per_step"]) == (8, 256)
        assert (model["max_prompt_tokens"], model["sampling"]["max_new_tokens"]) == (1024, 3072)
        assert data["refresh"] == "step"
        assert config["steps"] == 30 * (17_398 // 256) == 2010
        assert config["akl"]["init_args"]["rho"]["class_path"].endswith("Tanh")


def test_flags_are_as_good_as_overlays():
    tiny = ["fit", "--config", str(ROOT / "configs/tiny.yaml")]
    overlay = parsed([*tiny, "--config", str(ROOT / "configs/ablations/grpo.yaml")])
    flags = parsed([*tiny, "--akl=null", "--data.curriculum=Uniform"])
    assert overlay == flags
    changed = parsed([*tiny, "--akl.rho=Linear", "--akl.rho.high=2", "--data.curriculum.std=.2"])
    assert changed["akl"]["init_args"]["rho"]["init_args"] == {"low": 0.5, "high": 2.0}
    assert changed["data"]["init_args"]["curriculum"]["init_args"] == {"mean": 0.5, "std": 0.2}


def test_a_loss_named_alone_has_its_own_settings():
    """What the file below gives Clipped is not GSPO's clip range, nor its aggregation."""
    tiny = ["fit", "--config", str(ROOT / "configs/tiny.yaml")]
    flags = ["--model.loss=GSPO", "--model.loss.kl=InReward", "--model.loss.correction=Masked"]
    loss = parsed([*tiny, *flags])["model"]["init_args"]["loss"]
    assert loss["class_path"] == "fgexpo.losses.GSPO"
    settings = loss["init_args"]
    assert (settings["low"], settings["high"]) == (3e-4, 4e-4)
    assert not {"clip_low", "clip_high", "dual_clip", "ratio", "aggregation"} & settings.keys()
    assert settings["kl"]["class_path"] == "fgexpo.losses.InReward"
    expected = {"level": "token", "low": 0.5, "high": 5.0, "reweigh": True}
    assert settings["correction"]["init_args"] == expected


def test_one_seed_reaches_model_and_data(model_folder):
    restrict_imports()
    arguments = ["fit", "--config", str(ROOT / "configs/tiny.yaml"), f"--model.name={model_folder}"]
    cli = type("Cli", (FGExpoCLI,), {"_run_subcommand": lambda self, subcommand: None})(
        [*arguments, "--seed_everything=7"]
    )
    assert cli.model.seed == cli.datamodule.seed == 7


def test_what_earlier_runs_saved_is_still_read(tmp_path):
    """A flat loss, and classes by the names of the modules that they were in."""
    old = tmp_path / "config.yaml"
    old.write_text("""
model:
  loss: {clip_low: 0.1, clip_high: 0.3, dual_clip: null, kl_estimator: k2, aggregation: dr_grpo,
         correction: token, correction_cap: 3.0, ratio: token, entropy_coef: 0.1, mask_truncated: true}
  refill: {class_path: fgexpo.refill.Refill, init_args: {max_waves: 3}}
  advantage_scale: none
data:
  curriculum: {class_path: fgexpo.sharing.Shared, init_args: {key: cell, inner: {class_path: fgexpo.curricula.HardFilter}}}
""")  # noqa: E501
    config = parsed(["fit", "--config", str(ROOT / "configs/tiny.yaml"), "--config", str(old)])
    model = config["model"]["init_args"]
    assert model["loss"]["class_path"] == "fgexpo.losses.Clipped"
    assert model["loss"]["init_args"] == {
        "clip_low": 0.1,
        "clip_high": 0.3,
        "dual_clip": None,
        "kl_estimator": "k2",
        "aggregation": "dr_grpo",
        "correction": "token",
        "correction_cap": 3.0,
        "ratio": "token",
        "entropy_coef": 0.1,
        "mask_truncated": True,
        "kl": None,
    }
    assert model["refill"]["init_args"] == {"max_waves": 3}
    shared = config["data"]["init_args"]["curriculum"]
    assert shared["init_args"]["key"] == "cell"
    assert shared["init_args"]["inner"]["class_path"].endswith("HardFilter")
    assert (model["advantages"], model["advantage_scale"]) == (None, "none")
