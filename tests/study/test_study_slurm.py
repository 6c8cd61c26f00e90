"""Runs as jobs of a cluster: a SLURM of three scripts, and submitit's own local executor."""

import json
import sys
import time
from pathlib import Path

import fake_slurm
import pytest

from fgexpo.errors import UserError
from fgexpo.study.queue import work_off
from fgexpo.study.slurm import SlurmLauncher, job_parameters
from fgexpo.study.spec import Slurm
from fgexpo.study.task import Task

# What a job runs here instead of a training run: it does what its key says.
PROGRAM = """
import fcntl, json, os, signal, sys, time
from pathlib import Path
key, folder, facts, minutes, *arguments = sys.argv[1:]
folder = Path(folder)
(folder / "starts").open("a").write("x")
times = len((folder / "starts").read_text())
(folder / "log").write_text(f"{key} {minutes} {arguments}\\n")
def save():
    (folder / "version_0").mkdir(exist_ok=True)
    (folder / "version_0" / f"step={times}.ckpt").write_text("x")
def end(status):
    (folder / "ended.json").write_text(json.dumps({"status": status}))
    sys.exit(status)
if key == "bad":
    (folder / "log").write_text("error: nothing fits\\n")
    end(2)
if key in ("left", "killed") and times < 3:
    save()
    end(3) if key == "left" else os.kill(os.getpid(), signal.SIGKILL)
if key == "stuck":
    os.kill(os.getpid(), signal.SIGKILL)
if key == "slow":
    with (folder.parent / ".slow.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        while not (folder / "go").exists():
            time.sleep(0.05)
        (folder / "finished.json").write_text("{}")
        end(0)
(folder / "finished.json").write_text("{}")
end(0)
"""


@pytest.fixture
def make(tmp_path):
    """A function that makes a launcher whose jobs run the program above."""
    (tmp_path / "program.py").write_text(PROGRAM)

    def launcher(cluster="slurm", **settings):
        program = [sys.executable, str(tmp_path / "program.py")]
        slurm = Slurm(**{"gpus": 0, **settings})
        return SlurmLauncher(slurm, tmp_path / "slurm", "it", cluster, program, every=0.1)

    return launcher


def tasks(folder, *keys):
    return [Task(key, folder / "runs" / key, ["fit", f"--x={key}"], "facts") for key in keys]


def starts(folder, key):
    return len((folder / "runs" / key / "starts").read_text())


def test_jobs_are_sent_again_until_they_are_done(make, tmp_path, monkeypatch):
    fake_slurm.install(tmp_path / "cluster", monkeypatch)
    # A job may begin in another folder; the study's own is relative to where it was sent from.
    monkeypatch.chdir(tmp_path)
    said, here = [], Path()
    some = tasks(here, "good", "left", "killed", "bad", "stuck")
    launcher = make(partition="gpu", minutes=60, cpus=3, at_once=7, extra={"account": "me"})
    with pytest.raises(UserError) as refused:
        work_off(launcher, some, "runs", said.append)
    first, second = str(refused.value).splitlines()
    assert "bad failed, see" in first and "log: nothing fits" in first
    assert "stuck failed, see" in second and "see runs/stuck/log" in second
    assert [starts(here, task.key) for task in some] == [1, 3, 3, 1, 3]
    assert [task.finished for task in some] == [True, True, True, False, False]
    # One array for all, with what was asked of the cluster; a command line is all that is sent.
    array = (tmp_path / "cluster" / "sbatch-101.sh").read_text()
    for line in ("partition=gpu", "time=60", "cpus-per-task=3", "array=0-4%5", "account=me"):
        assert f"#SBATCH --{line}\n" in array
    assert (tmp_path / "runs/good/log").read_text() == "good 57 ['fit', '--x=good']\n"
    assert sum("left was cut off (saved and stopped early)" in line for line in said) == 2
    assert any("good started as job 101_0, log " in line for line in said)
    # Rerun: what is finished stays finished.
    said.clear()
    work_off(make(), tasks(here, "good", "left"), "runs", said.append)
    assert said == ["runs: 2 of 2 are already finished"]


@pytest.mark.parametrize("cluster", ["slurm", "local"])
def test_a_new_driver_finds_the_jobs_of_one_that_was_killed(make, tmp_path, monkeypatch, cluster):
    fake_slurm.install(tmp_path / "cluster", monkeypatch)
    (task,) = tasks(tmp_path, "slow")
    task.note()
    first = make(cluster)
    assert first.start([task])[0].startswith(" as job ")
    first.close()
    while not (tmp_path / "runs" / ".slow.lock").exists():
        time.sleep(0.05)
    second = make(cluster)
    assert second.start([task])[0].startswith(" before, as job ")
    assert second.wait(0.1) == []
    (task.folder / "go").touch()
    while not (ended := second.wait(5)):
        pass
    assert ended == [(task, 0)]
    assert starts(tmp_path, "slow") == 1 and not (task.folder / "job.json").exists()


def test_no_more_jobs_than_asked_for_when_they_are_sent_again(make, tmp_path, monkeypatch):
    fake_slurm.install(tmp_path / "cluster", monkeypatch)
    launcher = make(at_once=1)
    launcher._flying = [(None, None)]
    (task,) = tasks(tmp_path, "left")
    launcher._sent.add("left")
    assert launcher.start([task]) == [" again as soon as there is room"]
    assert not task.folder.exists() and launcher._held == [task]


def test_without_slurm_it_says_so(make, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="this machine has no srun"):
        make()
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"needs the package submitit; install fgexpo\[slurm\]"):
        make()


def test_what_sbatch_refuses_is_told(make, tmp_path, monkeypatch):
    fake_slurm.install(tmp_path / "cluster", monkeypatch)
    sbatch = tmp_path / "cluster/bin/sbatch"
    sbatch.write_text("#!/bin/sh\necho 'invalid partition specified: gpuu' >&2\nexit 1\n")
    (task,) = tasks(tmp_path, "good")
    task.note()
    with pytest.raises(UserError, match=r"sbatch refused the jobs .*invalid partition") as refused:
        make(partition="gpuu").start([task])
    assert len(str(refused.value).splitlines()) == 1


def test_settings_have_submitits_names():
    found = job_parameters(Slurm(gpus=2, minutes=90), "it")
    assert found == {"name": "it", "timeout_min": 90, "gpus_per_node": 2}
    assert json.dumps(found)
