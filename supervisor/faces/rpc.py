"""JSON-RPC 2.0 over the supervisor's socket: framing, one answer for each request, and who may call what.

The requests of one connection are answered in their order, but for those the catalogue marks as waiting: they are
answered when they are done. Notifications from a client mean nothing here and are ignored.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import orjson
import trio

from ipc.control import (
    CATALOGUE,
    EVENT,
    EVENTS_END,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    OWN_ERRORS,
    PARSE_ERROR,
    Access,
    BadCall,
    check_call,
)
from ipc.lines import LINE_LIMIT, Overlong
from supervisor.errors import AgentdError, Conflict, Failed, NoSupervisor, NotPermitted
from supervisor.faces.methods import HANDLERS, Call, Following
from supervisor.faces.service import Service
from supervisor.faces.streams import SEND_WITHIN, Lines, listen
from supervisor.principals import Principal
from supervisor.records.values import to_json

CONNECTIONS = 500
"""Clients served at once; the next one is told so and turned away."""
WAITING = 32
"""Requests of one connection that may be waiting at once."""

ANYONE = Principal("anyone")
"""Who only looks; nobody asks who it is."""

log = logging.getLogger("agentd.rpc")


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came; ``params`` are not yet checked."""

    id: str | int | float | None
    method: str
    params: dict[str, object]


class Refused(Exception):
    """A line that is no request; ``answer`` says why."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer)
        self.answer = answer


async def serve(
    service: Service, path: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer clients on ``path`` until cancelled; started once it listens. The caller holds the home's lock.

    Raises `Failed` when nothing can listen there. On cancellation every open request is answered that the
    supervisor is stopping, slow readers are cut within half a second, and the socket file is removed.
    """
    try:
        listener = listen(path)
    except OSError as error:
        raise Failed(f"{path}: cannot listen: {error.strerror}", remedy="agentctl doctor") from error
    clients: set[Lines] = set()

    async def welcome(stream: trio.SocketStream) -> None:
        async with stream:
            lines = Lines(stream)
            if len(clients) >= CONNECTIONS:
                too_many = Failed(f"{CONNECTIONS} clients are connected already", remedy="try again later")
                await lines.refuse(failure(None, too_many))
                return
            clients.add(lines)
            try:
                await Conversation(service, lines).run()
            finally:
                clients.discard(lines)

    async def hurry_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            for client in clients:
                client.hurry()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hurry_at_the_end)
            await nursery.start(trio.serve_listeners, welcome, [listener])
            task_status.started()
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


class Conversation:
    """One connection: who is calling, what is open, whom it follows."""

    def __init__(self, service: Service, lines: Lines) -> None:
        self._service = service
        self._lines = lines
        self._identify = service.identify(lines.socket)
        self._token: str | None = None
        self._waiting = 0
        self._following: trio.CancelScope | None = None

    async def run(self) -> None:
        """Answer requests until the client ends; what still waits is answered if it only ended its side.

        Cancellation answers what is open and passes.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                await self._read()
                if self._following is not None:
                    self._following.cancel()
                if await self._lines.peer_gone():
                    self._nursery.cancel_scope.cancel()
        except* trio.BrokenResourceError:
            self._lines.cut()

    async def _read(self) -> None:
        while (lines := await self._lines.receive()) is not None:
            for line in lines:
                if isinstance(line, Overlong):
                    told = f"a request may have {LINE_LIMIT} bytes, this one has more"
                    await self._lines.refuse(failure(None, BadCall(INVALID_REQUEST, told)))
                    self._lines.cut()
                    return
                await self._take(line)
        if self._lines.unended:
            await self._take(self._lines.unended)

    async def _take(self, line: bytes) -> None:
        try:
            request = parse(line)
        except Refused as refused:
            await self._reply(refused.answer)
            return
        if request is None:
            return
        method = CATALOGUE.get(request.method)
        if method is None or not method.waits:
            await self._respond(request)
        elif self._waiting < WAITING:
            self._waiting += 1
            self._nursery.start_soon(self._respond_later, request)
        else:
            busy = Conflict(f"{WAITING} requests of this connection are waiting already")
            await self._reply(failure(request.id, busy))

    async def _respond_later(self, request: Request) -> None:
        try:
            await self._respond(request)
        finally:
            self._waiting -= 1

    async def _respond(self, request: Request) -> None:
        """Answer ``request``, whatever becomes of it: the one place that turns exceptions into answers."""
        following: Following | None = None
        try:
            result = await self._call(request)
            if isinstance(result, Following):
                following, result = result, {"last": result.last}
            answer = success(request.id, result)
        except trio.Cancelled:
            stopping = failure(request.id, NoSupervisor("the supervisor is stopping"))
            with contextlib.suppress(trio.BrokenResourceError), trio.move_on_after(SEND_WITHIN, shield=True):
                await self._lines.send(stopping)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, its caller gets an answer
            answer = failure(request.id, error)
        await self._reply(answer)
        if following is not None:
            self._following = trio.CancelScope()
            self._nursery.start_soon(self._follow, following, self._following)

    async def _reply(self, answer: bytes) -> None:
        with trio.CancelScope(shield=True):  # Lines.send is bounded
            await self._lines.send(answer)

    async def _call(self, request: Request) -> object:
        params = check_call(request.method, request.params)
        if request.method == "session.authenticate":
            owner = await self._caller(str(params["token"]))
            self._token = str(params["token"])
            return {"principal": owner.name}
        access = CATALOGUE[request.method].access
        principal = ANYONE if access is Access.LOOK else await self._caller(self._token)
        check_access(access, principal, request.method)
        if request.method == "events.follow" and self._following is not None:
            raise Conflict("this connection follows events already", remedy="open another one")
        return await HANDLERS[request.method](Call(self._service, principal, params))

    async def _caller(self, token: str | None) -> Principal:
        """Who is calling now: a process that has gone, or a token that has ended, may no longer decide."""
        peer = await self._identify()
        return peer if token is None else await self._service.authenticate(token, peer)

    async def _follow(self, following: Following, scope: trio.CancelScope) -> None:
        after = following.last
        try:
            with scope:
                async for batch in following.events:
                    await self._lines.send(b"".join(notification(EVENT, event._asdict()) for event in batch))
                    after = batch[-1].id
                await self._lines.send(notification(EVENTS_END, {"after": after}))
        finally:
            self._following = None


def check_access(access: Access, principal: Principal, method: str) -> None:
    """Raise `NotPermitted` where the caller as such may not call ``method``, whatever agent it is about."""
    if access is Access.LOOK:
        return
    if principal.inside is not None:
        raise NotPermitted(
            f"{method}: not from inside an agent: {principal.inside}", remedy="ask the person who started it"
        )
    if access is Access.ADMINISTER and not principal.admin:
        raise NotPermitted(
            f"{method}: {principal.name} is no administrator", remedy="be the supervisor's Unix user, or root"
        )


def parse(line: bytes) -> Request | None:
    """Read one request; `None` for a notification. Raises `Refused`."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Refused(failure(None, BadCall(PARSE_ERROR, f"this is no JSON: {error}"))) from None
    if not isinstance(value, dict):
        what = "batches are not supported" if isinstance(value, list) else "a request is an object"
        raise Refused(failure(None, BadCall(INVALID_REQUEST, what)))
    number = value.get("id")
    if isinstance(number, bool | list | dict):
        raise Refused(failure(None, BadCall(INVALID_REQUEST, "id: wanted text or a number")))
    if value.get("jsonrpc") != "2.0":
        raise Refused(failure(number, BadCall(INVALID_REQUEST, 'jsonrpc: wanted "2.0"')))
    method = value.get("method")
    if not isinstance(method, str):
        raise Refused(failure(number, BadCall(INVALID_REQUEST, "method: wanted text")))
    if "id" not in value:
        return None
    params = value.get("params", {})
    if not isinstance(params, dict):
        raise Refused(failure(number, BadCall(INVALID_PARAMS, "params: wanted an object")))
    return Request(number, method, params)


def success(id: object, result: object) -> bytes:
    """Encode an answer. Raises `TypeError` or `ValueError` for what JSON cannot hold."""
    return _line({"jsonrpc": "2.0", "id": id, "result": result})


def failure(id: object, error: Exception) -> bytes:
    """Encode ``error`` as an answer; what nobody foresaw is logged in full and told in brief."""
    told: dict[str, object]
    if isinstance(error, AgentdError):
        told = {"code": OWN_ERRORS - error.exit_code, "message": str(error), "data": error.data()}
    elif isinstance(error, BadCall):
        data = {"name": "invalid", "exit_code": 2, "remedy": ""}
        told = {"code": error.code, "message": str(error), "data": data}
    else:
        log.error("a request failed", exc_info=error)
        failed = Failed(
            f"internal error: {type(error).__name__}", remedy="see agentd.log in the state folder"
        )
        told = {"code": INTERNAL_ERROR, "message": str(failed), "data": failed.data()}
    return _line({"jsonrpc": "2.0", "id": id, "error": told})


def notification(method: str, params: object) -> bytes:
    """Encode a notification."""
    return _line({"jsonrpc": "2.0", "method": method, "params": params})


def _line(message: dict[str, object]) -> bytes:
    return f"{to_json(message)}\n".encode()
