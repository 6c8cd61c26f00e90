"""Grading workers that are slow to start, or that fail to, are given another try."""

import stat
import sys
from pathlib import Path

import pytest

from fgexpo.errors import EnvironmentFailure
from fgexpo.isolated.pool import WorkerPool
from fgexpo.questions import Question
from fgexpo.rewards import MathVerifier

ROOT = Path(__file__).parents[2]
ASKED, TEXTS = [Question("", "", "x+1")], [r"\boxed{1+x}"]


def start_by(monkeypatch, folder, script):
    """Let workers be started by a shell script instead of Python; it may go on to ``"$@"``."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n".replace("PYTHON", sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("fgexpo.isolated.process.sys.executable", str(path))


def test_a_worker_that_dies_while_starting_is_started_again(monkeypatch, tmp_path, capfd):
    first = tmp_path / "first"
    start_by(
        monkeypatch,
        tmp_path,
        f'if [ ! -e {first} ]; then touch {first}; exit 1; fi\nexec PYTHON "$@"',
    )
    verifier = MathVerifier(timeout=60.0, workers=1)
    assert verifier.verify(ASKED, TEXTS)[0].correct
    assert capfd.readouterr().err.count("died or hung while starting") == 1


def test_a_slow_start_is_said_and_waited_for(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr("fgexpo.isolated.pool.SLOW_SECONDS", 0.1)
    monkeypatch.setattr("fgexpo.isolated.pool.POLL_SECONDS", 0.05)
    start_by(monkeypatch, tmp_path, 'sleep 0.5\nexec PYTHON "$@"')
    verifier = MathVerifier(timeout=60.0, workers=1)
    assert verifier.verify(ASKED, TEXTS)[0].correct
    said = capfd.readouterr().err
    assert said.count("has not started within 0.1 s") == 1
    assert "waiting for model.verifier.start_timeout = 120 s" in said


def test_workers_that_never_start_end_with_the_setting(monkeypatch, tmp_path, capfd):
    start_by(monkeypatch, tmp_path, "exec sleep 1000")
    words = r"3 times in a row; .* raise model\.verifier\.start_timeout \(now 0\.1 s\)"
    with pytest.raises(EnvironmentFailure, match=words):
        MathVerifier(workers=1, start_timeout=0.1).verify(ASKED, TEXTS)
    assert capfd.readouterr().err.count("trying again") == 2


def test_a_limit_that_cannot_be():
    with pytest.raises(ValueError, match=r"model\.verifier\.start_timeout must be above 0 s"):
        MathVerifier(start_timeout=0)


# Its first jobs end the process, as many as the file has characters; "before" takes its time.
WORK = """
import os, pathlib, time
left = pathlib.Path(__file__).with_name("deaths")
done = []
def prepare(): pass
def answer(what, job):
    if what == "before":
        if deaths := left.read_text():
            left.write_text(deaths[1:])
            os._exit(1)
        time.sleep(SLEEP)
    done.append([what, job])
    return done[-2:]
"""


def pool_of(monkeypatch, folder, deaths, seconds=0.0, timeout=60.0):
    """A pool whose workers die ``deaths`` times before a job, and take ``seconds`` before each."""
    (folder / "own_work.py").write_text(WORK.replace("SLEEP", str(seconds)))
    (folder / "deaths").write_text("x" * deaths)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}")
    return WorkerPool("own_work", timeout, workers=2)


def test_what_comes_before_a_job_does_not_count_towards_its_deadline(monkeypatch, tmp_path):
    pool = pool_of(monkeypatch, tmp_path, 0, seconds=2.5, timeout=2.0)
    (found,) = pool.run([("job", 0)], before=[("before", 0)])
    assert found == [["before", 0], ["job", 0]]
    assert pool.run([("before", 1)]) == [None], "as a job it is late"
    pool.close()


def test_a_worker_that_is_lost_before_a_job_is_replaced_and_the_job_done(monkeypatch, tmp_path):
    pool = pool_of(monkeypatch, tmp_path, 2)
    jobs = [("job", number) for number in range(20)]
    found = pool.run(jobs, before=[("before", number) for _, number in jobs])
    assert found == [[["before", number], ["job", number]] for _, number in jobs]
    pool.close()


def test_one_that_is_lost_each_time_ends_with_a_sentence(monkeypatch, tmp_path):
    pool = pool_of(monkeypatch, tmp_path, 9)
    with pytest.raises(EnvironmentFailure, match=r"before it could grade .* 3 times in a row"):
        pool.run([("job", 0)], before=[("before", 0)])
    assert pool.workers == []
