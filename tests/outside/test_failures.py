import errno
import os
import threading
from pathlib import Path

import pytest
import torch
import torch.distributed
from huggingface_hub.errors import LocalEntryNotFoundError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger

from fgexpo.cli import command_line
from fgexpo.cli.command_line import tell_of_thread
from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.outside import in_one_sentence, reading
from fgexpo.robustness.out_of_memory import OutOfMemory
from fgexpo.update.mismatch import EngineMismatch, MismatchAlarm


def test_what_a_library_says_about_a_file_becomes_one_sentence():
    with pytest.raises(UserError) as caught, reading("x.json", "a JSON list", "data.train.path"):
        {}["weight"]
    said = "data.train.path: 'x.json' cannot be read as a JSON list (KeyError: 'weight')"
    assert str(caught.value) == said


def test_a_sentence_of_ours_passes_as_it_is():
    with pytest.raises(UserError, match="row 3 has no answer"), reading("x.json", "a JSON list"):
        raise UserError("row 3 has no answer")


def test_a_full_disk_is_not_the_fault_of_the_file():
    with pytest.raises(OSError, match="No space left"), reading("x.json", "a JSON list"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.json")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("a: 1 is not 2"), ("a: 1 is not 2", 2)),
        (EnvironmentFailure("the engine is gone"), ("the engine is gone", 1)),
        (MisconfigurationException("no such strategy\nlong story"), 2),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/a"),
            ("'runs/a': No space left on device; free some space and rerun the same command", 1),
        ),
        (
            OSError(errno.ENOENT, "No such file", "runs/b"),
            (
                "'runs/b': No such file or directory; it was moved or deleted, or was never there "
                "(FGEXPO_TRACEBACK=1 shows who wanted it)",
                1,
            ),
        ),
        (OSError(errno.EADDRINUSE, "Address already in use"), 1),
        (torch.distributed.DistNetworkError("the port is taken\nC++ stack"), 1),
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nmore"), 1),
        (MemoryError(), 1),
        (OutOfMemory("out of memory while generating"), 1),
        (ConnectionError("no route"), 1),
        (LocalEntryNotFoundError("no network, and no copy"), 1),
        (ModuleNotFoundError("No module named 'wandb'", name="wandb"), 2),
        (ModuleNotFoundError("No module named 'fgexpo.lost'", name="fgexpo.lost"), None),
        (ImportError("cannot import name"), None),
        (AttributeError("of ours"), None),
        (OSError("of a library"), None),
        (KeyError("of ours"), None),
        (ValueError("of ours"), None),
    ],
)
def test_only_what_the_outside_did_is_told_in_one_sentence(error, told):
    found = in_one_sentence(error)
    if isinstance(told, int):
        assert found is not None
        assert found[1] == told
        assert "\n" not in found[0]
    else:
        assert found == told


def test_the_cause_is_found_behind_a_parsers_error():
    error = ValueError("of the parser")
    error.__cause__ = UserError("model.name: no such folder")
    assert in_one_sentence(error) == ("model.name: no such folder", 2)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError) as caught:
        Path("/nowhere/at/all").read_text()
    told = in_one_sentence(caught.value)
    assert told is not None
    assert told[0].startswith("'/nowhere/at/all': No such file or directory")
    assert told[1] == 1


def test_a_path_that_leads_nowhere_is_the_fault_of_whoever_named_it(tmp_path):
    for path in (tmp_path, tmp_path / "none", tmp_path / ("x" * 300), Path(__file__) / "x"):
        with pytest.raises(UserError, match="cannot be read as text"), reading(path, "text"):
            path.read_text()


def test_a_bug_while_a_file_is_missing_stays_a_bug():
    with pytest.raises(KeyError) as caught:
        try:
            Path("/nowhere").read_text()
        except OSError:
            {}["a bug"]
    assert in_one_sentence(caught.value) is None


def test_what_goes_wrong_after_a_sentence_does_not_hide_it():
    with pytest.raises(KeyError) as caught:
        try:
            raise UserError("steps must be at least 1")
        finally:
            {}["of a clean-up"]
    assert in_one_sentence(caught.value) == ("steps must be at least 1", 2)


def test_a_run_that_stops_itself_says_why_without_a_traceback():
    alarm = MismatchAlarm()
    with pytest.raises(EngineMismatch) as caught:
        alarm.check(0.31, 0.1)
    told = in_one_sentence(caught.value)
    assert told is not None and told[0].startswith("sampling/") and told[1] == 1


def test_memory_that_runs_out_is_not_the_fault_of_the_file():
    with pytest.raises(MemoryError), reading("x.json", "a JSON list"):
        raise MemoryError


def test_a_thread_that_cannot_write_says_so_in_one_line(capsys, monkeypatch):
    def full_disk():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(threading, "excepthook", tell_of_thread)
    thread = threading.Thread(target=full_disk)
    thread.start()
    thread.join()
    said = capsys.readouterr().err
    assert said.startswith("a thread in the background stopped: No space left on device")
    assert said.count("\n") == 1


def test_tensorboards_error_comes_back_to_who_writes(tmp_path, monkeypatch):
    """So a run whose scalars are lost ends with a sentence, and does not go on without them."""
    monkeypatch.setattr(threading, "excepthook", tell_of_thread)
    logger = TensorBoardLogger(tmp_path, version="x")
    logger.log_metrics({"a": 1.0}, 0)
    logger.experiment.flush()
    folder = Path(logger.log_dir)
    for path in folder.glob("events*"):
        path.unlink()
        path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        for step in range(100):
            logger.log_metrics({"a": 1.0}, step)
            logger.experiment.flush()
    assert in_one_sentence(caught.value) is not None


@pytest.mark.parametrize(("rank", "waited"), [("0", []), ("1", [3.0])])
def test_the_first_process_speaks_before_the_others(rank, waited, monkeypatch, capsys):
    naps = []
    monkeypatch.setattr(command_line.time, "sleep", naps.append)
    monkeypatch.setattr(command_line.signal, "signal", lambda *given: None)
    monkeypatch.setattr(command_line.rank_zero_only, "rank", int(rank))
    assert command_line.main(["compare", "nowhere.json", "nowhere.json"]) == 2
    assert naps == waited
    assert "nowhere.json" in capsys.readouterr().err


@pytest.mark.parametrize("wanted", ["", "1"])
def test_the_traceback_is_there_for_who_asks(wanted, monkeypatch, capsys):
    monkeypatch.setenv("FGEXPO_TRACEBACK", wanted)
    if wanted:
        with pytest.raises(UserError, match="nowhere"):
            command_line.main(["compare", "nowhere.json", "nowhere.json"])
    else:
        assert command_line.main(["compare", "nowhere.json", "nowhere.json"]) == 2
