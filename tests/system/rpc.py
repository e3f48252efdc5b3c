"""A client of the supervisor's socket in nothing but the standard library, every wait bounded."""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from pathlib import Path
from typing import Any

PATIENCE = 30.0
"""Seconds until a test gives up waiting for an answer or an event."""

Row = dict[str, Any]


class Refused(Exception):
    """An error answer; ``name`` and ``exit_code`` are those of its data."""

    def __init__(self, error: Row) -> None:
        data = error.get("data") or {}
        super().__init__(error["message"])
        self.name: str = data.get("name", "")
        self.exit_code: int = data.get("exit_code", 0)
        self.remedy: str = data.get("remedy", "")


class Rpc:
    """One connection."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._rest = b""
        self._last = 0
        self.told: deque[Row] = deque()
        """Parameters of the events that came."""

    def post(self, method: str, **params: Any) -> int:
        """Ask without waiting; return the request's number."""
        self._last += 1
        request = {"jsonrpc": "2.0", "id": self._last, "method": method, "params": params}
        self._socket.settimeout(PATIENCE)
        self._socket.sendall(json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        return self._last

    def answer(self, number: int, within: float = PATIENCE) -> Row:
        """Wait for the answer to that request; raises Refused."""
        while (message := self._message(within)) is not None:
            if "method" in message:
                self.told.append(message["params"])
            elif message["id"] == number:
                if "error" in message:
                    raise Refused(message["error"])
                return message["result"]  # type: ignore[no-any-return]
        raise ConnectionError("the supervisor hung up")

    def call(self, method: str, *, within: float = PATIENCE, **params: Any) -> Row:
        return self.answer(self.post(method, **params), within)

    def next_event(self, within: float) -> Row | None:
        """The next event of an ``events.follow``; None at the end of the connection."""
        if self.told:
            return self.told.popleft()
        while (message := self._message(within)) is not None:
            if message.get("method") == "events.event":
                return message["params"]  # type: ignore[no-any-return]
        return None

    def at_end(self, within: float = PATIENCE) -> bool:
        """Wait until the other side hangs up."""
        while self._message(within) is not None:
            pass
        return True

    def _message(self, within: float) -> Row | None:
        deadline = time.monotonic() + within
        while b"\n" not in self._rest:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._socket.recv(65_536)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._socket.close()
