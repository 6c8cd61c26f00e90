"""What is written appears whole or not at all, and what a killed try has left goes away."""

import os
import signal
import time

import pytest
from processes import start

from fgexpo.errors import UserError
from fgexpo.files import claim_version, whole_file, whole_folder


def write(folder, text):
    with whole_folder(folder) as partial:
        (partial / "a").write_text(text)


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_replaced_whole(tmp_path):
    out = tmp_path / "new" / "out"
    write(out, "one")
    write(out, "two")
    assert (out / "a").read_text() == "two" and entries(out.parent) == ["out"]
    with pytest.raises(ZeroDivisionError), whole_folder(out) as partial:
        (partial / "a").write_text("three")
        1 / 0  # noqa: B018
    assert (out / "a").read_text() == "two" and entries(out.parent) == ["out"]


def write_slowly(folder):
    with whole_folder(folder) as partial:
        (partial / "a").write_text("half")
        folder.with_name("begun").touch()
        time.sleep(30)


def test_what_a_killed_process_has_left_goes_away(tmp_path):
    out = tmp_path / "out"
    process = start(write_slowly, out, log=tmp_path / "log")
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not out.exists()
    write(out, "again")
    assert entries(tmp_path) == ["begun", "log", "out"]


def test_a_kill_between_the_two_names_loses_nothing(tmp_path):
    out = tmp_path / "out"
    write(out, "old")
    out.rename(tmp_path / ".out.7-00000000.old")  # as it is at that moment
    with pytest.raises(ZeroDivisionError), whole_folder(out):
        1 / 0  # noqa: B018
    assert (out / "a").read_text() == "old" and entries(tmp_path) == ["out"]


def test_what_cannot_be_replaced_is_refused_first(tmp_path):
    (tmp_path / "file").touch()
    for path, words in ((tmp_path / "file", "is a file"), ("/proc", "is a mount point")):
        with pytest.raises(UserError, match=words), whole_folder(path):
            pass


def test_two_writers_of_one_file_do_not_share_a_partial(tmp_path):
    with whole_file(tmp_path / "x") as one, whole_file(tmp_path / "x") as two:
        assert one != two
        one.write_text("1")
        two.write_text("2")
    assert (tmp_path / "x").read_text() == "1"


def claim(root, log):
    log.write_text(claim_version(root).name)


def test_no_two_runs_claim_the_same_version(tmp_path):
    root = tmp_path / "runs"
    (root / "version_4").mkdir(parents=True)
    (root / "version_x").mkdir()
    logs = [tmp_path / f"claimed-{number}" for number in range(6)]
    processes = [start(claim, root, log, log=f"{log}.log") for log in logs]
    for process in processes:
        process.join()
    names = sorted(log.read_text() for log in logs)
    assert names == ["version_10", *(f"version_{number}" for number in range(5, 10))]
