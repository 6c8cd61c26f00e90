"""The one process of this program that makes questions of reasoning-gym, started when needed."""

import select
import sys
import time
from importlib.util import find_spec
from typing import Any

from ..errors import EnvironmentFailure, MissingExtra, UserError
from ..heartbeat import beat
from ..isolated.process import START_SECONDS, WORKER, WorkerProcess

MAKES = "fgexpo.gym.items"
# One item may take this long; most take less than a millisecond, a few several seconds.
ITEM_SECONDS = 120.0
PROGRESS_SECONDS = 10.0
_worker: WorkerProcess | None = None


def ask(name: str, *fields: Any) -> dict[str, Any]:
    """Ask the worker, see :func:`.items.answer`.

    Args:
        name: of the data set, for messages.
        fields: the job.

    Raises:
        MissingExtra: without the package.
        UserError: what the worker refuses, or an item that takes too long.
        EnvironmentFailure: when there is no worker to be had.
    """
    global _worker
    if find_spec("reasoning_gym") is None:
        raise MissingExtra(
            "ReasoningGym needs the package reasoning-gym: "
            "`pip install -c constraints.txt -e '.[real]'`"
        )
    if fields[0] != "more":
        _renew()
    if _worker is None:
        _worker = _started()
    _worker.submit(name, fields, ITEM_SECONDS)
    reply = _wait(_worker)
    if reply is None:
        timed_out = time.monotonic() > _worker.deadline
        _worker.close()
        _worker = None
        raise UserError(
            f"ReasoningGym {name}: its maker "
            + (f"took over {ITEM_SECONDS:g} s for one question" if timed_out else "died")
            + "; choose easier settings, or another data set"
        )
    if "refused" in reply:
        raise UserError(reply["refused"])
    return reply


def draw(
    name: str, settings: dict[str, Any], seed: int, wanted: dict[str, int]
) -> dict[str, list[dict[str, Any]]]:
    """Different questions of each part; fewer of a part that has no more.

    Args:
        name: of the data set.
        settings: fields of its configuration.
        seed: of the items.
        wanted: how many of each part.
    """
    found: dict[str, list[dict[str, Any]]] = {part: [] for part in wanted}
    began = told = time.monotonic()
    reply = ask(name, "start", name, settings, seed, wanted)
    while True:
        beat()
        for question in reply["found"]:
            found[question["part"]].append(question)
        if reply["done"] or reply["used_up"]:
            return found
        now = time.monotonic()
        if now > told + PROGRESS_SECONDS:
            told = now
            have = sum(map(len, found.values()))
            print(
                f"ReasoningGym {name}: {have} of {sum(wanted.values())} questions made after "
                f"{now - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
        reply = ask(name, "more")


def _renew() -> None:
    """Forget a worker that has ended since: it does so when it is idle."""
    global _worker
    if _worker is not None and not _worker.alive:
        _worker.close()
        _worker = None


def _started() -> WorkerProcess:
    worker = WorkerProcess(MAKES, START_SECONDS)
    if _wait(worker) is None:
        worker.close()
        raise EnvironmentFailure(
            "the process that makes questions of reasoning-gym died or hung while starting; "
            f"`{sys.executable} -m {WORKER} {MAKES}` shows why"
        )
    return worker


def _wait(worker: WorkerProcess) -> Any:
    """Its reply; None if it is dead or late."""
    while (left := worker.deadline - time.monotonic()) > 0:
        beat()
        if select.select([worker], [], [], min(left, 1.0))[0]:
            return worker.read()
    return None
