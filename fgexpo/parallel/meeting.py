"""While the processes of a run meet: who is waited for, and for how long.

Until there is a process group, a process that another one never joins waits half an hour without a
word. The cause may be a process that has died, or a variable that an earlier job has left.
"""

import os
import sys
import threading
import time

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ParallelStrategy

WORD_SECONDS = 15.0
# On one machine all processes start together; nodes may start minutes apart.
LIMIT_SECONDS, LIMIT_SECONDS_OF_NODES = 40.0, 600.0
_NAMES = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "NODE_RANK", "LOCAL_RANK")


def watch_meeting(trainer: Trainer) -> None:
    """Say after a while that this process waits for others, and end it when they do not come.

    Only for processes that a launcher has started: what Lightning starts itself, it watches.
    """
    strategy = trainer.strategy
    if trainer.world_size == 1 or not isinstance(strategy, ParallelStrategy):
        return
    cluster = strategy.cluster_environment
    if cluster is None or not cluster.creates_processes_externally:
        return
    limit = LIMIT_SECONDS if trainer.num_nodes == 1 else LIMIT_SECONDS_OF_NODES
    told = [f"{name}={os.environ[name]}" for name in _NAMES if name in os.environ]
    words = (
        f"rank {cluster.global_rank()} waits for the other processes of {trainer.world_size} "
        f"({', '.join(told)})"
    )
    threading.Thread(target=_watch, args=(words, limit), daemon=True, name="meeting").start()


def _watch(words: str, limit: float) -> None:
    began, said = time.monotonic(), False
    while not torch.distributed.is_initialized():
        waited = time.monotonic() - began
        if waited > WORD_SECONDS and not said:
            print(f"{words}; if it is to run alone, unset these variables", file=sys.stderr)
            said = True
        if waited > limit:
            print(
                f"error: {words}, and not all came within {limit:.0f} s: one has died or was never "
                "started; if it is to run alone, unset these variables",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)
        time.sleep(0.2)
