"""A blocking client of the supervisor's socket, in nothing but the standard library and orjson."""

from __future__ import annotations

import _socket  # what `socket` wraps: importing that takes a tenth of the time of ``agentctl status``
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Self

import orjson

from ipc.control import EVENT, EVENTS_END, BadCall, check_call
from supervisor.errors import Degraded, Failed, Invalid, NoSupervisor, as_error
from supervisor.paths import check_socket_path

ANSWER_WITHIN = 30.0
"""Seconds a supervisor has to answer; waits have their own time on top."""
CHUNK = 65_536

Result = dict[str, Any]
"""An object of JSON."""


class Client:
    """One connection. A context manager; not for several threads."""

    def __init__(self, path: str) -> None:
        """Connect to ``path``. Raises `NoSupervisor` when nobody listens there."""
        check_socket_path(path)
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._data = bytearray()
        self._searched = 0
        self._events: deque[Result] = deque()
        self._id = 0
        self.ended = False
        self.is_first = False
        """The supervisor was started for this connection, and may have started what was wanted by itself."""
        try:
            self._socket.settimeout(ANSWER_WITHIN)
            self._socket.connect(path)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            self._socket.close()
            raise NoSupervisor(
                "no supervisor is running here", remedy="agentctl start NAME, or agentd"
            ) from None
        except PermissionError:
            self._socket.close()
            raise NoSupervisor(
                f"{path}: this socket is another user's", remedy="be that user, or root"
            ) from None
        except OSError as error:
            self._socket.close()
            raise Degraded(f"{path}: {error.strerror or 'the supervisor does not answer'}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self._socket.close()

    def fileno(self) -> int:
        """The socket's descriptor, for `select`."""
        return self._socket.fileno()

    def call(self, method: str, **params: object) -> Result:
        """Ask, and return the result; what is None is left out.

        Raises the `AgentdError` that the supervisor answers with; `NoSupervisor` when it goes meanwhile; `Degraded`
        when it does not answer in `ANSWER_WITHIN` (after ``timeout_s``, if there is one); `Invalid` for what the
        catalogue or JSON does not allow, such as text that is no UTF-8, before anything is sent.
        """
        given = {name: value for name, value in params.items() if value is not None}
        try:
            checked = check_call(method, given)
        except BadCall as error:
            raise Invalid(str(error)) from None
        self._id += 1
        request = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": given}
        try:
            line = orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError as error:
            raise Invalid(f"{method}: this cannot be sent: {error}") from None
        extra = checked.get("timeout_s")
        self._socket.settimeout(ANSWER_WITHIN + (extra if isinstance(extra, int | float) else 0))
        try:
            self._socket.sendall(line)
        except OSError:
            pass  # it may have said why before it hung up
        while True:
            message = self._message()
            if message is None:
                self.ended = True
                raise NoSupervisor("the supervisor ended before it answered")
            if "method" in message:
                self._events.append(message)
            elif message.get("id") in (self._id, None):
                return _result(message)

    def event(self, seconds: float | None) -> Result | None:
        """Return the next event of an ``events.follow``, or `None` when none comes in ``seconds``.

        After the last one `ended` is true. `None` for ``seconds`` waits for as long as it takes.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self.ended:
            if self._events:
                message = self._events.popleft()
            else:
                self._socket.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
                try:
                    received = self._message()
                except Degraded:
                    return None
                if received is None:
                    break
                message = received
            params = message.get("params")
            if message.get("method") == EVENTS_END:
                break
            if message.get("method") == EVENT and isinstance(params, dict):
                return params
        self.ended = True
        return None

    def wait_for_end(self, seconds: float) -> bool:
        """Whether the supervisor closes the connection within ``seconds``."""
        deadline = time.monotonic() + seconds
        while not self.ended and time.monotonic() < deadline:
            self.event(deadline - time.monotonic())
        return self.ended

    def _message(self) -> Result | None:
        while True:
            end = self._data.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(self._data[:end])
                del self._data[: end + 1]
                self._searched = 0
                return _decoded(line)
            self._searched = len(self._data)
            try:
                data = self._socket.recv(CHUNK)
            except TimeoutError:
                raise Degraded("the supervisor does not answer", remedy="agentctl doctor") from None
            except OSError:
                return None
            if not data:
                return None
            self._data += data


def _decoded(line: bytes) -> Result:
    try:
        message = orjson.loads(line)
    except orjson.JSONDecodeError:  # lone surrogates, such as a file name that is no UTF-8
        import json

        message = json.loads(line)
    if not isinstance(message, dict):
        raise Failed("the supervisor answered with something that is no JSON-RPC", remedy="agentctl doctor")
    return message


def _result(message: Mapping[str, object]) -> Result:
    error, result = message.get("error"), message.get("result")
    if isinstance(error, dict):
        data = error.get("data")
        raise as_error({**(data if isinstance(data, dict) else {}), "message": error.get("message")})
    return result if isinstance(result, dict) else {}


def connect(path: str, token_file: str | None = None) -> Client:
    """Connect to the supervisor that listens on ``path``, as the owner of the token in ``token_file`` if there is one.

    Raises `NoSupervisor`, `NotPermitted` for a token that is not known, `Invalid` for a file that cannot be read.
    """
    client = Client(path)
    if token_file is not None:
        try:
            with open(token_file, encoding="utf-8") as file:
                token = file.read().strip()
            client.call("session.authenticate", token=token)
        except (OSError, UnicodeDecodeError) as error:
            client.close()
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise Invalid(f"token file {token_file}: {why}") from None
        except BaseException:
            client.close()
            raise
    return client
