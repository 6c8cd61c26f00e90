"""Where a setting was written, where its file is, and what is left of a run that was refused."""

import warnings
from pathlib import Path

import pytest
from jsonargparse import Namespace
from refusals import refused

from fgexpo.cli import main
from fgexpo.cli.located import located
from fgexpo.cli.paths import find_paths, searched
from fgexpo.outside import quiet
from fgexpo.outside.quiet import hush

OWN = """model:
  name: checkpoints/base
data:
  curriculum: {class_path: Gaussian, init_args: {std: -1}}
  val: {mine: {class_path: QuestionFile, init_args: {path: data/q.jsonl}}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project's configuration, seen from another folder."""
    for folder in ("project/configs", "project/checkpoints/base", "project/data", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "project/data/q.jsonl").touch()
    (tmp_path / "project/configs/x.yaml").write_text(OWN)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


def test_a_sentence_about_a_setting_has_file_and_line(project):
    path = str(project / "configs/x.yaml")
    said = "data.curriculum.std must be above 0"
    assert located(said, ["--config", path]) == f"{path}:4: {said}"
    assert located(said, ["--config", path, "--data.curriculum.std=-2"]) == said
    assert located("trainer: no", ["--config", path]) == "trainer: no"


def test_paths_are_found_beside_the_configuration(project):
    given = ["--config", "../project/configs/x.yaml"]
    source = Namespace(init_args=Namespace(path="data/q.jsonl"))
    config = Namespace(
        model=Namespace(init_args=Namespace(name="checkpoints/base")),
        data=Namespace(init_args=Namespace(val={"mine": source}, root="gone")),
    )
    assert dict(find_paths(config, given)) == {
        "model.name": str(project / "checkpoints/base"),
        "data.val.mine.path": str(project / "data/q.jsonl"),
    }
    assert source.init_args.path == str(project / "data/q.jsonl")
    assert config.data.init_args.root == "gone"
    Path("checkpoints/base").mkdir(parents=True)
    config.model.init_args.name = "checkpoints/base"
    assert not dict(find_paths(config, given)), "the current folder comes first"


def test_what_is_not_found_names_the_folders(project):
    given = ["--config", "../project/configs/x.yaml"]
    said = "question file 'data/q.jsonl' does not exist"
    folders = [Path.cwd(), project / "configs", project]
    assert searched(said, given) == f"{said}; looked in {', '.join(map(str, folders))}"
    assert searched(said, []) == f"{said}; looked in {Path.cwd()}"


def test_a_warning_of_ours_is_one_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", quiet._format)
    hush()
    ours, other = str(Path(main.__code__.co_filename)), "/somewhere/else.py"
    assert warnings.formatwarning("a\n b", UserWarning, ours, 3) == "warning: a b\n"
    assert "else.py" in warnings.formatwarning("a", UserWarning, other, 3)


@pytest.mark.parametrize(
    "flag", ["--model.mini_batch_questions=7", "--data.questions_per_step=100000"]
)
def test_a_refused_run_leaves_nothing(model_folder, tmp_path, monkeypatch, capsys, flag):
    """Both are refused in set-up, when the run's folder has been made."""
    monkeypatch.chdir(tmp_path)
    refused(["fit", "--config", "tiny", f"--model.name={model_folder}", flag], capsys)
    assert list(tmp_path.iterdir()) == []


def test_options_list_curves_without_markup_and_shared_settings_once(capsys):
    assert main(["options", "trainer.callbacks.curve", "model.loss", "model.rewards"]) == 0
    said = capsys.readouterr().out
    assert "PiecewiseCurve" in said and "FGEXPO_PLUGINS" in said
    assert "`" not in said and ":class:" not in said
    assert said.count("  kl_estimator:") == 1 and "All of them also take:" in said
    assert "'dr_grpo'] = 'token_mean' (not GSPO)" in said
