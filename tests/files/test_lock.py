"""A lock ends with its process, whatever its children do, and says who holds it."""

import os
import re
import signal
import socket
import time

import pytest
from processes import start, wait

from fgexpo.errors import EnvironmentFailure
from fgexpo.files import Lock, locked


def hold(path, seconds, fork):
    with locked(path, "the folder"):
        if fork and os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        path.with_name("held").touch()
        time.sleep(seconds)


def start_holder(path, seconds=30, fork=False):
    process = start(hold, path, seconds, fork, log=path.with_name("log"))
    while not path.with_name("held").exists():
        assert process.is_alive(), path.with_name("log").read_text()
        time.sleep(0.02)
    return process


def test_the_second_is_told_who_holds_it(tmp_path):
    process = start_holder(tmp_path / "out")
    here = re.escape(socket.gethostname())
    words = rf"^the folder is in use by process {process.pid} on {here} since \d{{4}}-.*; wait"
    with pytest.raises(EnvironmentFailure, match=words), locked(tmp_path / "out", "the folder"):
        pass
    process.kill()
    process.join()
    with locked(tmp_path / "out", "the folder"):
        assert (tmp_path / ".out.lock").exists()
    assert not (tmp_path / ".out.lock").exists()


def test_a_child_that_outlives_a_killed_holder_does_not_keep_it(tmp_path):
    process = start_holder(tmp_path / "out", fork=True)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with locked(tmp_path / "out", "the folder"):
        pass


def test_one_waits_if_asked_to_and_says_for_whom(tmp_path, capsys):
    process = start_holder(tmp_path / "out", seconds=1)
    with locked(tmp_path / "out", "the folder", wait=True):
        assert wait([process]) == [0]
    assert re.search(r"in use by process \d+ on .*; waiting for it", capsys.readouterr().out)


def count(path, times):
    for _ in range(times):
        with locked(path, "the counter", wait=True):
            number = int(path.read_text())
            time.sleep(0.001)
            path.write_text(str(number + 1))


def test_no_two_hold_it_at_once(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [start(count, counter, 20, log=tmp_path / f"log-{n}") for n in range(3)]
    assert wait(processes) == [0, 0, 0]
    assert counter.read_text() == "60"
    assert not (tmp_path / ".counter.lock").exists()


def test_a_process_may_take_it_again(tmp_path):
    file = tmp_path / "lock"
    one, two = Lock(file, "it"), Lock(file, "it")
    for lock in (one, two, one):
        lock.take()
    one.release()
    assert file.exists()
    one.release()
    two.release()
    assert not file.exists()


def test_a_filesystem_without_locks_is_told(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.warns(UserWarning, match="this filesystem has no locks"),
        locked(tmp_path / "out", "it"),
    ):
        pass
