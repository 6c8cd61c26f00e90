"""The SLURM script that starts servers and trainer, with stand-ins for what it calls."""

import json
import os
import subprocess
import time

import pytest
from doc_blocks import ROOT
from lightning.fabric.plugins.environments import SLURMEnvironment

from fgexpo.cli import main
from fgexpo.rollout.vllm.server_facts import BACKEND, FLAT_FLAG, LOGPROBS_FLAG

SCRIPT = ROOT / "configs" / "slurm" / "servers.sbatch"
# Runs the command once on each node, as srun does, and ends all when one fails.
SRUN = """#!/bin/bash
trap 'kill $(jobs -p) 2>/dev/null; exit 143' TERM
while [[ $1 == --* ]]; do
  [[ $1 == --nodelist=* ]] && nodes=${1#--nodelist=}
  [[ $1 == --ntasks-per-node=* ]] && export SLURM_NTASKS_PER_NODE=${1#*=}
  echo "$1" >> {here}/srun
  shift
done
for node in ${nodes//,/ }; do NODE=$node "$@" & done
for node in ${nodes//,/ }; do
  wait -n || { status=$?; kill $(jobs -p) 2>/dev/null; exit $status; }
done
"""
SCONTROL = """#!/bin/bash
[[ "$*" == "show hostnames n[1-3]" ]] && printf 'n1\\nn2\\nn3\\n'
[[ "$*" == "show hostnames n1" ]] && echo n1
"""
# Writes what it was called with, then goes on until it is killed, or as long as it is told to.
TOLD = """#!/bin/bash
python3 - "$@" <<'END'
import json, os, sys
keys = ("NODE", "MASTER_ADDR", "VLLM_SERVER_DEV_MODE", "SLURM_NNODES", "SLURM_NTASKS_PER_NODE")
record = {{"arguments": sys.argv[1:], **{{key: os.environ.get(key) for key in keys}}}}
open(f"{here}/{name}-" + os.environ["NODE"], "w").write(json.dumps(record))
END
echo $BASHPID > {here}/pid-{name}-$NODE
trap 'echo usr1 >> {here}/heard-{name}-$NODE' USR1
{then}
"""
FOREVER = "while true; do sleep 0.05; done"


@pytest.fixture
def cluster(tmp_path):
    """Runs the script; what stands in for the servers and the trainer is a line of bash."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (tmp_path / "activate").write_text("")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "activate").write_text("")

    def start(*arguments, vllm=FOREVER, trainer="exit 0", ready="true", nodes="n[1-3]"):
        scripts = {
            "srun": SRUN.replace("{here}", str(tmp_path)),
            "scontrol": SCONTROL,
            "curl": f"#!/bin/bash\n{ready}",
            "vllm": TOLD.format(here=tmp_path, name="vllm", then=vllm),
            "python": TOLD.format(here=tmp_path, name="trainer", then=trainer),
        }
        for name, text in scripts.items():
            (commands / name).write_text(text)
            (commands / name).chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "VENV": str(tmp_path / "venv"),
            "SLURM_JOB_NODELIST": nodes,
            "SLURM_JOB_ID": "17",
            "SLURM_NNODES": "3",
            "SLURM_CPUS_ON_NODE": "16",
            "GPUS": "2",
            "LOOK_SECONDS": "0.05",
        }
        return subprocess.Popen(
            ["bash", str(SCRIPT), *arguments],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def told(folder, name, node):
    return json.loads((folder / f"{name}-{node}").read_text())


def wait_for(*paths):
    end = time.monotonic() + 20
    while not all(path.exists() and path.read_text().strip() for path in paths):
        assert time.monotonic() < end, paths
        time.sleep(0.02)


def pids(folder):
    return [int(path.read_text()) for path in folder.glob("pid-*")]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def all_ended(folder):
    end = time.monotonic() + 10
    while any(alive(pid) for pid in pids(folder)):
        assert time.monotonic() < end, [pid for pid in pids(folder) if alive(pid)]
        time.sleep(0.02)


def test_servers_and_trainer_get_what_they_need(cluster, tmp_path):
    job = cluster("my-model", "--config", "r1_1p5b", "--steps=7", trainer="sleep 0.5; exit 3")
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 3, said  # the trainer's
    all_ended(tmp_path)
    for node in ("n1", "n2"):
        server = told(tmp_path, "vllm", node)
        line = " ".join(server["arguments"])
        assert line.startswith("serve my-model --host 0.0.0.0 --port 8000 ")
        for flag in (LOGPROBS_FLAG, FLAT_FLAG, BACKEND.replace("'", "")):
            assert flag in line
        assert line.endswith("--data-parallel-size 2")
        assert server["VLLM_SERVER_DEV_MODE"] == "1"
    assert not (tmp_path / "vllm-n3").exists()
    trainer = told(tmp_path, "trainer", "n3")
    assert trainer["MASTER_ADDR"] == "n3"
    assert trainer["arguments"] == [
        *("-m", "fgexpo", "fit", "--config", "r1_1p5b", "--steps=7", "--model.name=my-model"),
        *("--trainer.devices=2", "--trainer.num_nodes=1", "--model.engine=VLLMServer"),
        *('--model.engine.url=["http://n1:8000","http://n2:8000"]', "--ckpt_path=last"),
    ]
    asked = (tmp_path / "srun").read_text().split()
    assert {"--nodes=2", "--ntasks=2", "--nodelist=n1,n2", "--nodelist=n3"} <= set(asked)
    assert asked.count("--kill-on-bad-exit=1") == 2 and "--cpus-per-task=8" in asked


def test_lightning_accepts_the_trainers_part_of_the_job(cluster, tmp_path, monkeypatch):
    job = cluster("my-model")
    assert job.wait(timeout=60) == 0
    trainer = told(tmp_path, "trainer", "n3")
    for key in ("SLURM_NNODES", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.setenv(key, trainer[key])
    monkeypatch.delenv("SLURM_JOB_NAME", raising=False)  # "bash" would be an interactive job
    SLURMEnvironment().validate_settings(num_devices=2, num_nodes=1)


def test_a_server_that_dies_ends_the_job(cluster, tmp_path):
    dies = "[[ $NODE == n2 ]] && { sleep 0.5; exit 9; }\n" + FOREVER
    job = cluster("my-model", vllm=dies, trainer=FOREVER)
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 1 and "a server ended (status 9): see server-17-*.log" in said
    all_ended(tmp_path)


def test_servers_that_never_get_ready_are_named(cluster, tmp_path):
    job = cluster("my-model", vllm="exit 4", ready="false")
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 1 and "ended before they were ready: see server-17-*.log" in said
    assert not (tmp_path / "trainer-n3").exists()


def test_the_trainer_waits_until_all_servers_are_well(cluster, tmp_path):
    ready = f'echo "${{@: -1}}" >> {tmp_path}/looks; [[ -e {tmp_path}/well ]]'
    job = cluster("my-model", ready=ready)
    wait_for(tmp_path / "looks", tmp_path / "pid-vllm-n1", tmp_path / "pid-vllm-n2")
    assert not (tmp_path / "trainer-n3").exists()
    (tmp_path / "well").touch()
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 0, said
    looks = set((tmp_path / "looks").read_text().split())
    assert looks == {"http://n1:8000/health", "http://n2:8000/health"}
    assert (tmp_path / "trainer-n3").exists()
    all_ended(tmp_path)


def test_what_cannot_be_is_refused(cluster):
    for arguments, nodes, said in (
        ([], "n[1-3]", "usage: sbatch --nodes=N servers.sbatch MODEL"),
        (["my-model"], "n1", "needs at least two nodes, got 1"),
    ):
        job = cluster(*arguments, nodes=nodes)
        assert said in job.communicate(timeout=60)[0] and job.returncode == 2


def test_signals_for_the_trainer_do_not_end_a_server():
    text = SCRIPT.read_text()
    assert """bash -c 'trap "" USR1; exec vllm serve "$@"' vllm""" in text
    assert "#SBATCH --signal=USR1@" in text and "#SBATCH --requeue" in text


def test_the_parser_takes_what_the_script_gives(capsys):
    given = ['--model.engine.url=["http://n1:8000","http://n2:8000"]', "--model.name=m"]
    with pytest.raises(SystemExit) as done:
        main(["fit", "--config", "r1_1p5b", "--model.engine=VLLMServer", *given, "--print_config"])
    found = capsys.readouterr().out
    assert done.value.code == 0
    assert "VLLMServer" in found and "- http://n1:8000" in found and "- http://n2:8000" in found
    assert "tensor_parallel" not in found  # a setting of the engine that it stands for
