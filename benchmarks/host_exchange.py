"""What processes send each other in a step, in processes of their own that talk by gloo."""

import json
import os
import socket
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from host_work import CPU, Size, graded, tokenizer

from fgexpo.parallel import move_questions
from fgexpo.parallel.balance import assign
from fgexpo.parallel.move_questions import hand_over, take_rows
from fgexpo.rollout import RolloutRequest, Sampling
from fgexpo.rollout.vllm.tensor_parallel import EngineGroup
from fgexpo.study.processes import start
from fgexpo.types import RolloutBatch

MOVED = "questions to other processes, for balance"
SHARED = "prompts and seeds of an engine that two share"


def measure(size: Size) -> dict[str, tuple[float, float]]:
    """Seconds before and after of each exchange, of the slowest process.

    Raises:
        SystemExit: with a process's log, if it fails.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"log-{rank}" for rank in range(size.processes)]
        environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        running = [
            start(run_rank, size, rank, folder, log=log, environment=environment)
            for rank, log in enumerate(logs)
        ]
        for process, log in zip(running, logs, strict=True):
            process.join()
            if process.exitcode:
                raise SystemExit(log.read_text())
        found = [
            json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(len(logs))
        ]
    return {
        name: (max(one[name][0] for one in found), max(one[name][1] for one in found))
        for name in found[0]
    }


def run_rank(size: Size, rank: int, folder: str) -> None:
    """One process: exchange twice each way, and write the second's seconds."""
    dist.init_process_group("gloo", rank=rank, world_size=size.processes)
    whole = graded(size, tokenizer())
    numbers = list(range(rank, size.questions, size.processes))
    rows = [row for n in numbers for row in range(n * size.group, (n + 1) * size.group)]
    own = take_rows(whole, rows, whole.source.select(numbers), whole.groups.select(numbers), CPU)
    lengths_Q = own.groups.sums(own.completions.lengths_N)
    shares = [torch.empty_like(lengths_Q) for _ in range(size.processes)]
    dist.all_gather(shares, lengths_Q)
    plan = assign(torch.stack(shares), len(numbers))
    trainer: Any = SimpleNamespace(global_rank=rank)

    def move() -> None:
        hand_over(trainer, own, plan)

    new, move_questions._exchange = move_questions._exchange, gather_all
    before = seconds(move)
    move_questions._exchange = new
    found = {MOVED: (before, seconds(move)), SHARED: (0.0, 0.0)}
    if size.processes % 2 == 0:
        os.environ.setdefault("LOCAL_RANK", str(rank))
        request = RolloutRequest(
            own.source.prompts, [[1] * size.group for _ in numbers], Sampling(), [1], CPU, 1
        )
        group = EngineGroup(2, CPU)
        spent = seconds(lambda: group.together(request))
        found[SHARED] = (spent, spent)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def gather_all(leaving: list[dict[int, RolloutBatch]], me: int) -> list[dict[int, RolloutBatch]]:
    """As it was: every process receives and unpickles what any of them sends to any other."""
    everything: list[Any] = [None] * len(leaving)
    sent = {question: batch for part in leaving for question, batch in part.items()}
    dist.all_gather_object(everything, sent)
    return everything


def seconds(work: Any) -> float:
    """Of the second call, which all processes begin together."""
    spent = 0.0
    for _ in range(2):
        dist.barrier()
        began = time.perf_counter()
        work()
        spent = time.perf_counter() - began
    return spent
