"""Several vLLM servers at once: work is shared out by a fixed rule, and all are kept in view.

Which server a question goes to depends on its place in the step alone, never on who is free first,
so a step that is repeated asks the same servers the same things.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from ...errors import EnvironmentFailure
from ...heartbeat import beat
from .connection import Connection, TooSlow, Unreachable

T = TypeVar("T")
HEALTH_SECONDS = 5.0
# A server that is busy with long answers may be late to say that it is well.
MISSES = 4
HANG_UP_SECONDS = 5.0
AGAIN = "read its log, start the servers again, and continue the run with --ckpt_path=last"


def deal(questions: int, servers: int, rank: int = 0, world_size: int = 1) -> list[int]:
    """The server of each of a process's questions.

    Process ``rank`` of W holds every W-th question of a step, and the step's questions go to the
    servers in turn.
    """
    return [(n * world_size + rank) % servers for n in range(questions)]


class Fleet:
    """The servers of a run.

    Args:
        urls: of the servers.
        timeout: seconds that one call may take.
        limit: what sets this time, for the message.
        concurrency: calls that wait at each server at once.
    """

    def __init__(
        self, urls: Sequence[str], timeout: float, limit: str, concurrency: int = 1
    ) -> None:
        self.servers = [Connection(url, timeout) for url in urls]
        self.limit = limit
        self.concurrency = concurrency

    def each(self, doing: str, call: Callable[[Connection], T]) -> list[T]:
        """The same call to all servers at once; raises what :meth:`run` raises."""
        return self.run(doing, [(n, call) for n in range(len(self.servers))])

    def run(self, doing: str, jobs: Sequence[tuple[int, Callable[[Connection], T]]]) -> list[T]:
        """Do all jobs, each at its server, and return their results in this order.

        While it waits, every server with open jobs is asked whether it is well. After the first
        failure all other calls are hung up.

        Args:
            doing: what the servers do, for the message, as in "sampled".
            jobs: a server's number and what to ask it.

        Raises:
            EnvironmentFailure: in one sentence, which names the server.
        """
        pools = {n: ThreadPoolExecutor(self.concurrency) for n in {number for number, _ in jobs}}
        asked: list[Future[T]] = []
        place: dict[Future[T], int] = {}
        for number, call in jobs:
            asked.append(pools[number].submit(call, self.servers[number]))
            place[asked[-1]] = number
        try:
            self._wait(place, doing)
            return [future.result() for future in asked]
        except BaseException:
            for pool in pools.values():
                pool.shutdown(wait=False, cancel_futures=True)
            self._hang_up(asked)
            raise
        finally:
            for pool in pools.values():
                pool.shutdown(wait=False)

    def _wait(self, place: dict[Future[Any], int], doing: str) -> None:
        """Wait for all; an answer, or a server that says that it is well, is progress."""
        left, checked = set(place), time.monotonic()
        misses = dict.fromkeys(place.values(), 0)
        while left:
            done, left = wait(left, HEALTH_SECONDS, FIRST_COMPLETED)
            for future in done:
                misses[place[future]] = 0
                self._check(future, self.servers[place[future]], doing)
            if done:
                beat()
            if left and time.monotonic() >= checked + HEALTH_SECONDS:
                self._look_after({place[future] for future in left}, misses, doing)
                checked = time.monotonic()

    def _check(self, future: Future[Any], server: Connection, doing: str) -> None:
        try:
            future.result()
        except Unreachable as error:
            raise self._dead(server, doing, error) from error
        except TooSlow as error:
            raise EnvironmentFailure(
                f"{server.url} is up but was too slow while it {doing} ({error}); read its log, "
                f"or raise {self.limit}"
            ) from error

    def _look_after(self, numbers: set[int], misses: dict[int, int], doing: str) -> None:
        """Ask these servers whether they are well, all at once.

        Raises:
            EnvironmentFailure: when one is not, or has not answered several times in a row.
        """
        with ThreadPoolExecutor(len(numbers)) as pool:
            looks = {n: pool.submit(self.servers[n].get, "health", HEALTH_SECONDS) for n in numbers}
        for n, look in looks.items():
            try:
                look.result()
                misses[n] = 0
                beat()
            except TooSlow as error:
                misses[n] += 1
                if misses[n] >= MISSES:
                    raise self._dead(self.servers[n], doing, error) from error
            except EnvironmentFailure as error:
                raise self._dead(self.servers[n], doing, error) from error

    @staticmethod
    def _dead(server: Connection, doing: str, error: Exception) -> EnvironmentFailure:
        return EnvironmentFailure(f"{server.url} died while it {doing} ({error}); {AGAIN}")

    def _hang_up(self, asked: Sequence[Future[Any]]) -> None:
        """No thread is left that waits for an answer which nobody wants."""
        end = time.monotonic() + HANG_UP_SECONDS
        # A call may be about to open its connection, so it is hung up until it has ended.
        while not all(future.done() for future in asked) and time.monotonic() < end:
            for server in self.servers:
                server.hang_up()
            time.sleep(0.01)
