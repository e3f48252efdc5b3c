"""What the socket needs of the rest of the supervisor, handed to it by whoever opens it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from socket import socket
from typing import TYPE_CHECKING

import trio

from ipc.identity import is_living, start_time
from supervisor.peers import peer_of
from supervisor.principals import Principal, principal_of
from supervisor.principals import authenticate as owner_of

if TYPE_CHECKING:
    from supervisor.agents.pool import Pool
    from supervisor.agents.steering import Steering
    from supervisor.paths import Home
    from supervisor.records.db import Database
    from supervisor.records.events import Events

Identify = Callable[[socket], Callable[[], Awaitable[Principal]]]
Authenticate = Callable[[str, Principal], Awaitable[Principal]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Everything the handlers call.

    ``identify`` makes of a connected socket a way to ask who is behind it now, ``authenticate`` says whose a token is
    now; ``degraded`` what does not work; ``shut_down`` asks for the end and returns at once. ``started_at`` is wall
    time.
    """

    pool: Pool
    steering: Steering
    database: Database
    events: Events
    home: Home
    version: str
    started_at: float
    identify: Identify
    authenticate: Authenticate
    degraded: Callable[[], Sequence[str]]
    shut_down: Callable[[], None]


def identify_by_socket(home: Home, ours: Callable[[], Collection[int]]) -> Identify:
    """Return an `Identify` that asks the kernel; ``ours`` are the pids of keeper and runners now.

    Who was seen outside stays there: a process can only be handed down to those it descends from already. So later
    calls look no further than whether it is there still.
    """

    def identify(connection: socket) -> Callable[[], Awaitable[Principal]]:
        outside: list[tuple[int, float, Principal]] = []

        async def caller() -> Principal:
            if outside:
                pid, started, principal = outside[0]
                if is_living(pid, started):
                    await trio.lowlevel.checkpoint()
                    return principal
            return await trio.to_thread.run_sync(look, ours())

        def look(pids: Collection[int]) -> Principal:
            pid = peer_of(connection).pid
            try:
                started = start_time(pid)
            except ProcessLookupError:
                return principal_of(connection, home, None, pids)
            principal = principal_of(connection, home, None, pids)
            if principal.inside is None:
                outside[:] = [(pid, started, principal)]
            return principal

        return caller

    return identify


def authenticate_by_token(database: Database, now: Callable[[], float]) -> Authenticate:
    """Return an `Authenticate` that knows the tokens of ``database``; ``now`` is wall time."""

    async def authenticate(token: str, peer: Principal) -> Principal:
        return await database.read(lambda conn: owner_of(conn, token, peer, now()))

    return authenticate
