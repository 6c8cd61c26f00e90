"""The servers as vLLM's trainer-side transfer sees them: one receiver with all their workers."""

import socket
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from ...errors import EnvironmentFailure
from .connection import Connection
from .fleet import Fleet

DOING = "took over weights"


class Receivers:
    """The four calls of vLLM's ``VLLMWeightSyncClient``, made to every server at once.

    All workers of all servers are in one NCCL group behind the trainer's sender, server after
    server, so each weight is gathered and broadcast once, however many servers there are.

    Args:
        fleet: the servers.
        workers: of each server.

    Attributes:
        abort: ends the broadcast, which would wait for ever for a server that died.
    """

    def __init__(self, fleet: Fleet, workers: Sequence[int]) -> None:
        self.fleet, self.workers = fleet, list(workers)
        self.abort: Callable[[], None] | None = None

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Let every server's workers join the group, each at its own ranks."""
        first = init_info["rank_offset"]
        offsets = [first + sum(self.workers[:n]) for n in range(len(self.workers))]
        infos = [{**init_info, "rank_offset": offset} for offset in offsets]
        self._post("init_weight_transfer_engine", [{"init_info": info} for info in infos])

    def start_weight_update(self) -> None:
        """Tell all servers that weights will come."""
        self._post("start_weight_update")

    def update_weights(self, update_info: Any) -> None:
        """Tell all servers which weights come, and wait until they have them.

        Raises:
            EnvironmentFailure: naming a server that died; the broadcast is ended.
        """
        try:
            self._post("update_weights", [{"update_info": update_info}] * len(self.workers))
        except EnvironmentFailure:
            if self.abort is not None:
                self.abort()
            raise

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Tell all servers that these were all."""
        content = {} if weight_version is None else {"weight_version": weight_version}
        self._post("finish_weight_update", [content] * len(self.workers))

    def _post(self, path: str, contents: Sequence[Any] | None = None) -> None:
        def posts(content: Any) -> Callable[[Connection], bytes]:
            return lambda server: server.post(path, content)

        contents = contents or [{}] * len(self.workers)
        self.fleet.run(DOING, [(n, posts(content)) for n, content in enumerate(contents)])


def own_address(url: str) -> str:
    """This machine's address on the way to a server; nothing is sent."""
    host = urlsplit(url).hostname or ""
    try:
        kind, _, _, _, there = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect(there)
            return probe.getsockname()[0]
    except OSError as error:
        raise EnvironmentFailure(
            f"model.engine.transfer.address must be given: no way to {host} is known ({error})"
        ) from error
