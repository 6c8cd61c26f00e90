"""A process that dies during set-up takes its children and peers along."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import free_port, start, wait

from fgexpo.parallel import lifelines, meeting
from fgexpo.parallel.launched import alone, is_first

PARENT = """
import subprocess, sys, time
from fgexpo.robustness.parent import be_a_parent
be_a_parent()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
time.sleep(60)
"""
CHILD = """
import os, time
from fgexpo.robustness.parent import end_with_parent
end_with_parent()
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_command_ends_with_the_one_that_started_it():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    # The pipe closes when the last of them has ended.
    assert parent.stdout.read() == ""
    parent.stdout.close()
    end = time.monotonic() + 20
    while _runs(child):  # a process closes its files before it is gone
        assert time.monotonic() < end
        time.sleep(0.02)


def _runs(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def take_part(rank, port_file, what):
    lifelines.GRACE_SECONDS = 0.3

    def agree(port):
        if rank == 0:
            port_file.with_suffix(".new").write_text(str(port))
            port_file.with_suffix(".new").rename(port_file)
        while not port_file.exists():
            time.sleep(0.02)
        return int(port_file.read_text())

    lines = lifelines.Lifelines(rank, 3, "set-up", "127.0.0.1", agree)
    port_file.with_name(f"met-{rank}").touch()
    while len(list(port_file.parent.glob("met-*"))) < 3:
        time.sleep(0.02)
    if what == "goodbye":
        lines.stop()
    elif what == "fail":
        lines.stop(goodbye=False)
        time.sleep(1)  # longer than the others wait
        return 2
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(2 if what == "goodbye" else 30)
    return 0


@pytest.mark.parametrize(("rank", "what"), [(0, "kill"), (2, "kill"), (1, "fail")])
def test_the_others_end_with_one_that_dies_or_fails(tmp_path, rank, what):
    logs = [tmp_path / f"log-{number}" for number in range(3)]
    doing = ["wait"] * 3
    doing[rank] = what
    processes = [
        start(take_part, number, tmp_path / "port", doing[number], log=logs[number])
        for number in range(3)
    ]
    codes = wait(processes, 20)
    assert codes[rank] == (2 if what == "fail" else -signal.SIGKILL)
    assert [code for number, code in enumerate(codes) if number != rank] == [1, 1]
    said = logs[1 if rank == 0 else 0].read_text()
    assert f"error: rank {rank} has died or failed during set-up; rank" in said


def test_a_goodbye_ends_nobody(tmp_path):
    processes = [
        start(take_part, rank, tmp_path / "port", "goodbye", log=tmp_path / f"log-{rank}")
        for rank in range(3)
    ]
    assert wait(processes, 20) == [0, 0, 0]
    assert [(tmp_path / f"log-{rank}").read_text() for rank in range(3)] == [""] * 3


def meet(port, limit):
    """One process of two, whose other never comes; Lightning would wait half an hour."""
    from lightning.pytorch import Trainer

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2")
    os.environ.update(LOCAL_RANK="1", NODE_RANK="0")
    meeting.WORD_SECONDS, meeting.LIMIT_SECONDS = 0.2, limit
    trainer = Trainer(devices=2, accelerator="cpu", strategy="ddp", logger=False)
    meeting.watch_meeting(trainer)
    trainer.strategy.setup_environment()
    return 0


def test_one_that_nobody_joins_says_why_and_ends(tmp_path):
    process = start(meet, free_port(), 1.0, log=tmp_path / "log")
    assert wait([process], 60) == [1]
    said = (tmp_path / "log").read_text()
    assert "rank 1 waits for the other processes of 2 (MASTER_ADDR=127.0.0.1, MASTER_PORT=" in said
    assert "WORLD_SIZE=2" in said and "not all came within 1 s: one has died or" in said
    assert said.count("unset these variables") == 2


def test_alone_nobody_is_waited_for(monkeypatch):
    monkeypatch.setattr("threading.Thread", None)
    meeting.watch_meeting(SimpleNamespace(world_size=1, strategy=None))


RANKS = [
    ({}, True),
    ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}, True),
    ({"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}, False),
    ({"SLURM_PROCID": "1"}, False),
    ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
    ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
]


@pytest.mark.parametrize(("environment", "first"), RANKS)
def test_the_first_process_is_known_before_any_group(monkeypatch, environment, first):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first() == first
    assert not alone().keys() & environment.keys() and alone()["PATH"] == os.environ["PATH"]
