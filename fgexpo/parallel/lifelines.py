"""A connection between each process and the first one, whose end tells that a process has ended.

The kernel closes it when a process dies, whatever else its threads were doing, so nothing has to be
sent or timed, and slow work is never mistaken for death.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable

_BYE = b"."
# Whoever fails for the same reason as the one that has just ended says so itself meanwhile.
GRACE_SECONDS = 5.0
_CONNECT_SECONDS = 60.0


class Lifelines:
    """Ends this process a few seconds after another one has ended without saying goodbye.

    Args:
        rank: of this process.
        world_size: number of processes.
        during: what they are doing, for the sentence.
        host: the first process's machine.
        agree: gives every process what the first one passes to it.
    """

    def __init__(
        self, rank: int, world_size: int, during: str, host: str, agree: Callable[[int], int]
    ) -> None:
        self.rank, self.during = rank, during
        self._stopped = threading.Event()
        self._lines: list[socket.socket] = []
        if rank == 0:
            with _server(world_size) as server:
                agree(server.getsockname()[1])
                server.settimeout(_CONNECT_SECONDS)
                for _ in range(world_size - 1):
                    line, _ = server.accept()
                    line.settimeout(_CONNECT_SECONDS)
                    self._watch(line, int.from_bytes(line.recv(4)))
        else:
            line = socket.create_connection((host, agree(0)), _CONNECT_SECONDS)
            line.sendall(rank.to_bytes(4))
            self._watch(line, 0)

    def stop(self, goodbye: bool = True) -> None:
        """Watch no longer; without a goodbye the others end too."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        for line in self._lines:
            try:
                if goodbye:
                    line.sendall(_BYE)
                line.shutdown(socket.SHUT_RDWR if not goodbye else socket.SHUT_WR)
            except OSError as error:  # the other end is gone, and this process goes on
                print(f"set-up: cannot say goodbye, {error}", file=sys.stderr)

    def _watch(self, line: socket.socket, other: int) -> None:
        line.settimeout(None)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._lines.append(line)
        threading.Thread(target=self._listen, args=(line, other), daemon=True).start()

    def _listen(self, line: socket.socket, other: int) -> None:
        try:
            if line.recv(1) == _BYE:
                return
        except OSError as error:
            print(f"set-up: the connection to rank {other} is lost, {error}", file=sys.stderr)
        time.sleep(GRACE_SECONDS)
        if not self._stopped.is_set():
            print(
                f"error: rank {other} has died or failed during {self.during}; rank {self.rank} "
                "ends with it",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)


def _server(backlog: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        family = socket.AF_INET6
        return socket.create_server(("", 0), family=family, backlog=backlog, dualstack_ipv6=True)
    return socket.create_server(("", 0), backlog=backlog)
