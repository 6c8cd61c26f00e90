"""Two nodes under torchrun, and under SLURM, make the run of one node of two processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lab import Lab, differences, state
from processes import NOISE, OUTER_LIMIT, command_line, free_port, start, wait

pytestmark = pytest.mark.slow

SHORT = ["--steps=6", "--trainer.strategy=fsdp2"]
NODES = [*SHORT, "--trainer.num_nodes=2", "--trainer.devices=1"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def expected(lab):
    assert wait(lab.run("one-node", devices=2, more=SHORT)) == [0, 0]
    return state(lab.checkpoints("one-node")[-1])


def under_torchrun(lab, rank, port):
    launcher = ["--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1"]
    launcher += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    command = [sys.executable, "-m", "torch.distributed.run", *launcher, "-m", "fgexpo"]
    plugins = {"FGEXPO_PLUGINS": "plants,helpers", "PYTHONPATH": str(Path(__file__).parents[1])}
    environment = {**os.environ, **plugins, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *lab.arguments("torchrun", NODES)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_torchrun(lab, expected):
    port = free_port()
    nodes = [under_torchrun(lab, rank, port) for rank in range(2)]
    said = [node.communicate(timeout=OUTER_LIMIT)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert not re.search(NOISE, "".join(said)), said
    assert differences(expected, state(lab.checkpoints("torchrun")[-1])) == []


def test_slurm(lab, expected):
    port = free_port()
    tasks = []
    for rank in range(2):
        slurm = {
            "SLURM_JOB_ID": "17",
            "SLURM_JOB_NAME": "train",
            "SLURM_NTASKS": "2",
            "SLURM_NTASKS_PER_NODE": "1",
            "SLURM_NNODES": "2",
            "SLURM_NODELIST": "127.0.0.1",
            "SLURM_PROCID": str(rank),
            "SLURM_NODEID": str(rank),
            "SLURM_LOCALID": "0",
            "MASTER_PORT": str(port),
            "FGEXPO_PLUGINS": "plants,helpers",
        }
        log = lab.folder / f"slurm-{rank}.log"
        arguments = lab.arguments("slurm", NODES)
        tasks.append(start(command_line, arguments, log=log, environment=slurm))
    codes = wait(tasks)
    logs = [(lab.folder / f"slurm-{rank}.log").read_text() for rank in range(2)]
    assert codes == [0, 0], logs
    assert "MEMBER: 2/2" in logs[1]
    assert differences(expected, state(lab.checkpoints("slurm")[-1])) == []
