"""One vLLM server over HTTP: calls that can be hung up, and errors that name the server."""

import json
import socket
import threading
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from ...errors import EnvironmentFailure

# A node that is gone answers nothing at all, not even a refusal.
CONNECT_SECONDS = 10.0


class Unreachable(EnvironmentFailure):
    """No answer came: the server is down, is not there, or was cut off while it answered."""


class TooSlow(EnvironmentFailure):
    """The server keeps the connection open but did not answer in time."""


class Refused(EnvironmentFailure):
    """The server answered with an error.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class Connection:
    """Calls to one server, from any thread; no proxy is asked.

    Args:
        url: such as ``http://node7:8000``.
        timeout: seconds that a call may take unless it says otherwise.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url, self.timeout = url.rstrip("/"), timeout
        parts = urlsplit(self.url)
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._root = parts.netloc, parts.path
        self._waiting: set[HTTPConnection] = set()
        self._lock = threading.Lock()

    def get(self, path: str, timeout: float | None = None) -> bytes:
        """The answer to a question without content.

        Raises:
            EnvironmentFailure: :class:`Unreachable`, :class:`TooSlow` or :class:`Refused`.
        """
        return self._call("GET", path, None, timeout or self.timeout)

    def post(self, path: str, content: Any = None, timeout: float | None = None) -> bytes:
        """The answer to a JSON document; raises what :meth:`get` raises."""
        return self._call("POST", path, json.dumps(content or {}).encode(), timeout or self.timeout)

    def status(self, method: str, path: str) -> int:
        """The status of HTTP with which an empty call is answered; raises :class:`Unreachable`."""
        try:
            self._call(method, path, b"{}" if method == "POST" else None, CONNECT_SECONDS)
        except Refused as refused:
            return refused.status
        return 200

    def hang_up(self) -> None:
        """Let every call that waits for an answer fail now; the server drops its work for them."""
        with self._lock:
            waiting = list(self._waiting)
        for connection in waiting:
            if connection.sock is not None:
                with suppress(OSError):  # it may have been closed in this moment
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _call(self, method: str, path: str, data: bytes | None, timeout: float) -> bytes:
        where = f"{self.url}/{path}"
        headers = {"Content-Type": "application/json"} if data is not None else {}
        try:
            with self._connected() as connection:
                connection.sock.settimeout(timeout)
                connection.request(method, f"{self._root}/{path}", data, headers)
                response = connection.getresponse()
                content = response.read()
        except TimeoutError as error:
            raise TooSlow(f"{where} did not answer within {timeout:g} s") from error
        except (OSError, HTTPException) as error:
            why = str(error) or type(error).__name__
            raise Unreachable(f"{where} cannot be reached: {why}") from error
        if response.status >= 400:
            detail = content.decode(errors="replace")[:500]
            raise Refused(f"{where} answered {response.status}: {detail}", response.status)
        return content

    @contextmanager
    def _connected(self) -> Any:
        connection = self._kind(self._host, timeout=CONNECT_SECONDS)
        with self._lock:
            self._waiting.add(connection)
        try:
            try:
                connection.connect()
            except TimeoutError as error:
                raise ConnectionError(f"no answer within {CONNECT_SECONDS:g} s") from error
            yield connection
        finally:
            with self._lock:
                self._waiting.discard(connection)
            connection.close()
