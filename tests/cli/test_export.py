"""`export` writes a whole folder or none, from a checkpoint of which every byte is right."""

import os
import time
from types import SimpleNamespace

import pytest
import torch
from helpers import make_data, make_module, make_trainer
from processes import start, start_holder

from fgexpo.callbacks import RolloutCheckpoint
from fgexpo.cli.export import export
from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.files import locked
from fgexpo.robustness.checkpoint import AtomicCheckpointIO
from fgexpo.study.checks import Checked
from fgexpo.study.run import run_study, study_lock


@pytest.fixture(scope="module")
def checkpoint(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    saver = RolloutCheckpoint(dirpath=str(folder))
    options = {"enable_checkpointing": True, "plugins": [AtomicCheckpointIO()]}
    trainer = make_trainer(folder, 1, [saver], **options)
    trainer.fit(make_module(model_folder), make_data())
    return folder / "step=000001.ckpt"


def slow_export(path, out):
    """It stands still when everything but the folder's name is there."""
    from fgexpo.files import whole

    def stand(partial, path):
        (path.parent / "written").touch()
        time.sleep(60)

    whole.exchange = stand
    export(path, out)


def test_killed_at_its_last_moment_the_same_command_works(checkpoint, tmp_path):
    out = tmp_path / "models" / "mine"
    process = start(slow_export, str(checkpoint), str(out), log=tmp_path / "log")
    while not (tmp_path / "models" / "written").exists():
        assert process.is_alive(), (tmp_path / "log").read_text()
        time.sleep(0.05)
    with pytest.raises(EnvironmentFailure, match=f"--out: the folder .* by process {process.pid}"):
        export(str(checkpoint), str(out))
    process.kill()
    process.join()
    assert not out.exists()
    out.mkdir()  # an empty folder is as good as none
    export(str(checkpoint), str(out))
    assert {"config.json", "model.safetensors"} <= {path.name for path in out.iterdir()}
    assert sorted(path.name for path in out.parent.iterdir()) == ["mine", "written"]
    with pytest.raises(UserError, match="is not empty"):
        export(str(checkpoint), str(out))


def test_a_spoilt_weight_is_not_exported(checkpoint, tmp_path):
    spoilt = tmp_path / "step=000001.ckpt"
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 3] ^= 0x40
    spoilt.write_bytes(content)
    with pytest.raises(UserError, match=r"step=000001\.ckpt' cannot be read as a checkpoint"):
        export(str(spoilt), str(tmp_path / "out"))
    assert os.listdir(tmp_path) == [spoilt.name]


def test_a_run_does_not_save_where_another_one_does(model_folder, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    process = start_holder(tmp_path / "checkpoints" / ".lock")
    saver = RolloutCheckpoint(dirpath=str(tmp_path / "checkpoints"))
    trainer = make_trainer(tmp_path, 1, [saver], enable_checkpointing=True)
    words = f"folder of checkpoints .*checkpoints' is in use by process {process.pid} on"
    with pytest.raises(EnvironmentFailure, match=words):
        trainer.fit(make_module(model_folder), make_data())
    process.kill()
    process.join()
    trainer = make_trainer(tmp_path, 1, [saver], enable_checkpointing=True)
    trainer.fit(make_module(model_folder), make_data())
    assert not (tmp_path / "checkpoints" / ".lock").exists()
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["fgexpo_order"] == {"number": 1, "step": 1}


def test_a_study_does_not_run_where_another_one_does(tmp_path):
    study = SimpleNamespace(folder=str(tmp_path / "study"))
    process = start_holder(tmp_path / ".study.lock")
    words = f"the study's folder .*study' is in use by process {process.pid} on"
    with pytest.raises(EnvironmentFailure, match=words):
        run_study(study, None, Checked())
    process.kill()
    process.join()
    with study_lock(study):
        pass


def test_a_base_that_another_run_makes_is_waited_for(tmp_path, monkeypatch, capsys):
    from fgexpo.cli import fit

    base = tmp_path / "base"
    monkeypatch.setattr("subprocess.run", None)  # nobody makes it a second time
    with locked(base.with_name("base.making"), "its making"):
        base.mkdir()
        fit.prepare("recipe.yaml", base)
    assert capsys.readouterr().out == ""
