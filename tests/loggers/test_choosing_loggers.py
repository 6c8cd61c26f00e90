"""A logger is chosen by an overlay or a flag, and is told the run's one folder."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from helpers import write_checkpoint
from jsonargparse import Namespace
from processes import start, wait

from fgexpo.cli import main
from fgexpo.cli.adopt_loggers import use_our_names
from fgexpo.cli.own_folder import own_folder
from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.loggers import MLflowRun, WandbRun, ids
from fgexpo.robustness.resume import find_last
from fgexpo.study.checks import READABLE, judged_otherwise

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "loggers.md").read_text()
COMMANDS = sorted(set(re.findall(r"fgexpo (fit --config.*)", PAGE)))
TINY = ["fit", "--config", "tiny", "--print_config"]


def parsed(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_keep_the_place_of_the_run(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```yaml\n# loggers.yaml\n(.*?)```", PAGE, re.DOTALL)
    Path("loggers.yaml").write_text(block)
    loggers = parsed([*command.split(), "--print_config"], capsys)["trainer"]["logger"]
    loggers = loggers if isinstance(loggers, list) else [loggers]
    kinds = [each["class_path"].rpartition(".")[2] for each in loggers]
    name = command.rpartition("loggers/")[2]
    overlays = {"wandb": ["WandbRun"], "mlflow": ["MLflowRun"], "csv": ["CSVRun"]}
    assert kinds == overlays.get(name, ["TensorBoardLogger", "WandbRun", "CSVRun"])
    for each in loggers:
        assert each["init_args"]["save_dir"] == "runs" and each["init_args"]["name"] == "tiny"


def test_the_page_names_extras_and_settings_that_there_are(capsys):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = set(re.findall(r"'(?:\.|fgexpo[\w.-]*\.whl)\[(\w+)\]'", PAGE))
    assert {"wandb", "mlflow"} <= named <= set(extras["optional-dependencies"])
    assert "'fgexpo[" not in PAGE, "the project is on no index"
    settings = {"project": "p", "entity": "me", "group": "g"}
    flags = [f"--trainer.logger.{name}={value}" for name, value in settings.items()]
    arguments = [*TINY, "--trainer.logger=WandbLogger", *flags, "--trainer.logger.tags=[a]"]
    found = parsed(arguments, capsys)["trainer"]["logger"]["init_args"]
    assert {**settings, "tags": ["a"]}.items() <= found.items()


def logger(kind, **settings):
    return Namespace(class_path=kind, init_args=Namespace(**settings))


def lightnings(kind, **settings):
    return logger(f"lightning.pytorch.loggers.{kind}", **settings)


TENSORBOARD = lightnings("TensorBoardLogger", save_dir="runs", name="x", version=None)
CHOICES = {
    "wandb": lightnings("WandbLogger", save_dir="runs", name="x", version=None, project="p"),
    "mlflow": lightnings("MLFlowLogger", save_dir="./mlruns", experiment_name="x"),
    "csv": lightnings("CSVLogger", save_dir="runs", name="x", version=None),
    "ours": logger("fgexpo.loggers.MLflowRun", save_dir="runs", name="x", version=None),
    "several": [
        lightnings("WandbLogger", save_dir=".", name="elsewhere", version=None),
        TENSORBOARD,
        lightnings("CSVLogger", save_dir="runs", name="x", version=None),
    ],
}


def settle(config, checkpoint=None):
    """The run's folder, and what its loggers are told."""
    with own_folder(config, checkpoint):
        found = config.trainer.logger
        found = [each.clone() for each in (found if isinstance(found, list) else [found])]
    return found


@pytest.mark.parametrize("choice", CHOICES)
def test_a_run_has_one_folder_and_resumes_in_it(choice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = CHOICES[choice]
    chosen = [each.clone() for each in chosen] if isinstance(chosen, list) else chosen.clone()
    config = Namespace(
        trainer=Namespace(logger=chosen, default_root_dir=None), checkpoint=None, ckpt_path=None
    )
    use_our_names(config)
    for number in (0, 1):
        found, folder = settle(config), Path("runs/x") / f"version_{number}"
        assert all(places(each) == folder for each in found)
        assert not any(each.init_args.get("resume") for each in found)
        assert [path.name for path in sorted(Path("runs/x").iterdir())][-1] == folder.name
    (folder / "checkpoints").mkdir()
    saved = write_checkpoint(folder / "checkpoints", 3, age=1, number=1)
    last = find_last(config)
    assert last is not None and last.samefile(saved)
    config.ckpt_path = str(last)
    found = settle(config, last)
    assert all(places(each) == folder for each in found)
    ours = [each for each in found if "TensorBoard" not in each.class_path]
    assert ours and all(each.init_args.resume for each in ours)
    # Another run's checkpoint begins a run of its own.
    config.ckpt_path = str(tmp_path / "other.ckpt")
    assert not any(each.init_args.get("resume") for each in settle(config))


def places(each):
    """The folder that a logger is told."""
    if each.init_args.get("folder"):
        return Path(each.init_args.folder)
    version = each.init_args.version
    name = f"version_{version}" if isinstance(version, int) else version
    return Path(each.init_args.save_dir) / each.init_args.name / name


def test_a_fixed_version_is_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = lightnings("WandbLogger", save_dir="runs", name="x", version="0", project=None)
    config = Namespace(trainer=Namespace(logger=chosen), checkpoint=None, ckpt_path=None)
    use_our_names(config)
    for _ in range(2):
        assert places(settle(config)[0]) == Path("runs/x/version_0")


def test_last_finds_where_runs_of_wandb_were_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Namespace(trainer=Namespace(logger=CHOICES["wandb"].clone()), checkpoint=None)
    use_our_names(config)
    folder = Path("runs/p/x/version_4/checkpoints")
    folder.mkdir(parents=True)
    saved = write_checkpoint(folder, 3, age=1)
    assert find_last(config) == saved


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr(ids, "find_spec", lambda name: None)
    for kind, package in ((WandbRun, "wandb"), (MLflowRun, "mlflow")):
        with pytest.raises(UserError, match=rf"^trainer\.logger: .*the extra fgexpo\[{package}\]$"):
            kind()


def say_what_is_imported():
    import fgexpo.cli  # noqa: F401

    print(sorted({"wandb", "mlflow"} & set(sys.modules)))


def test_neither_package_is_imported_before_it_is_wanted(tmp_path):
    process = start(say_what_is_imported, log=tmp_path / "log")
    assert wait([process]) == [0]
    assert (tmp_path / "log").read_text().splitlines()[-1] == "[]"


def ask_for_a_run(folder):
    with pytest.raises(EnvironmentFailure) as told:
        _ = WandbRun(folder=folder).experiment
    print(told.value)


def test_a_login_that_is_missing_is_one_sentence(tmp_path):
    # The package keeps the environment that it first finds in a process.
    environment = {"WANDB_API_KEY": "", "WANDB_MODE": "online", "NETRC": str(tmp_path / "netrc")}
    environment["WANDB_BASE_URL"] = "http://127.0.0.1:9"
    process = start(ask_for_a_run, tmp_path, log=tmp_path / "log", environment=environment)
    assert wait([process]) == [0], (tmp_path / "log").read_text()
    said = (tmp_path / "log").read_text().splitlines()[-1]
    assert said.startswith("trainer.logger: Weights & Biases could not begin a run (")
    assert "WANDB_MODE=offline to keep" in said


def test_a_server_that_does_not_answer_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(EnvironmentFailure, match=r"MLflow at 'http://127\.0\.0\.1:9' failed"):
        _ = MLflowRun(folder=tmp_path).experiment


def test_a_damaged_file_of_ids_is_named(tmp_path):
    (tmp_path / ids.FILE).write_text("[1")
    with pytest.raises(UserError, match=ids.FILE):
        ids.kept_id(tmp_path, "wandb")


def test_a_study_refuses_a_logger_that_its_report_cannot_read():
    study = Namespace(benchmark="tiny", tune=None, ks=[1])
    rest = {"data": {"init_args": {"val": {"tiny": None}}}}
    rest["model"] = {"init_args": {"evaluation": {"rollouts": 1}}}

    def problems(*kinds):
        loggers = [{"class_path": f"a.{kind}"} for kind in kinds]
        chosen = loggers if len(loggers) > 1 else loggers[0]
        return judged_otherwise(study, {**rest, "trainer": {"logger": chosen}})

    for kind in READABLE:
        assert problems(kind) == problems("WandbRun", kind) == []
    [problem] = problems("WandbRun")
    assert problem.startswith("trainer.logger is WandbRun, and the report reads")
