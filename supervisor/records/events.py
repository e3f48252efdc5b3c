"""Events: numbered when they are committed, told afterwards, and read again by whoever was away or slow."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import apsw
import trio

from supervisor.records.values import from_json

BATCH = 500
"""Events handed to a follower at once, at most."""

KEPT = 2048
"""Latest events kept in memory for all followers together; who is further behind reads from the database."""

KEPT_CHARACTERS = 8 * 1_048_576
"""Text kept in memory in those events, at most."""


class Event(NamedTuple):
    """Something that happened; ``id`` rises by one from event to event, ``at`` is seconds since the epoch."""

    id: int
    at: float
    kind: str
    agent: str | None
    run_id: int | None
    data: dict[str, Any]


def last_event(conn: apsw.Connection) -> int:
    """Return the number of the last event, 0 before the first."""
    return int(conn.execute("SELECT ifnull(max(id), 0) FROM events").get)


def read_events(
    conn: apsw.Connection, after: int, limit: int = BATCH, agent: str | None = None
) -> list[Event]:
    """Return the events after number ``after``, oldest first, of one agent or of all.

    At most ``limit`` of them, and fewer where their texts are long, but at least one if there is one.
    """
    found: list[Event] = []
    room = KEPT_CHARACTERS
    query = "SELECT id, at, kind, agent, run_id, data FROM events WHERE id > :after"
    if agent is not None:
        query += " AND agent = :agent"
    given = {"after": after, "limit": limit, "agent": agent}
    for number, at, kind, of, run_id, data in conn.execute(f"{query} ORDER BY id LIMIT :limit", given):
        room -= len(data)
        if found and room < 0:
            break
        found.append(Event(number, at, kind, of, run_id, from_json(data)))
    return found


class Events:
    """Hands committed events to any number of followers, none of which can hold up anybody.

    There is one bounded memory for all of them and no queue for each: a follower has a position, and one that has
    fallen out of the memory reads from the database until it has caught up.
    """

    def __init__(self, read: Callable[[int, int], Awaitable[Sequence[Event]]], last: int) -> None:
        """``read(after, limit)`` reads from the database; ``last`` is the number of the last event in it."""
        self.last = last
        self._read = read
        self._kept: deque[tuple[Event, int]] = deque()
        self._characters = 0
        self._news = trio.Event()
        self._closed = False

    def publish(self, events: Sequence[Event]) -> None:
        """Tell every follower of ``events``, which have been committed and follow on the last ones told."""
        for event in events:
            size = sum(len(value) for value in event.data.values() if isinstance(value, str))
            self._kept.append((event, size))
            self._characters += size
        while len(self._kept) > KEPT or (self._characters > KEPT_CHARACTERS and self._kept):
            self._characters -= self._kept.popleft()[1]
        if events:
            self.last = events[-1].id
            self._wake()

    def close(self) -> None:
        """End every follower once it has had all events told so far. May be called twice."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def subscribe(self, after: int, agent: str | None = None) -> Subscription:
        """Follow the events after number ``after``, of one agent or of all."""
        return Subscription(self, after, agent)

    async def after(self, position: int) -> Sequence[Event]:
        """Return the next events after ``position``, at least one, waiting for it if need be.

        Raises:
            trio.EndOfChannel: there is none, and there will be none.
            StorageFailed: they could not be read.
        """
        while position >= self.last:
            if self._closed:
                raise trio.EndOfChannel
            await self._news.wait()
        await trio.lowlevel.checkpoint()
        # No await from here to the slice: the memory moves on with every event that is told.
        if self._kept and self._kept[0][0].id <= position + 1:
            start = position + 1 - self._kept[0][0].id
            return [event for event, _ in islice(self._kept, start, start + BATCH)]
        return await self._read(position, BATCH)


class Subscription:
    """One follower's place among the events. Iterating yields lists of events, each event once and in order."""

    def __init__(self, events: Events, after: int, agent: str | None) -> None:
        self.position = after
        self._events = events
        self._agent = agent

    def __aiter__(self) -> Subscription:
        """Iterate until the events are closed."""
        return self

    async def __anext__(self) -> Sequence[Event]:
        """Return the next events, at least one."""
        try:
            return await self.batch()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def batch(self) -> Sequence[Event]:
        """Return the next events, at least one and at most `BATCH`.

        Cancelled, it has taken none. Raises `trio.EndOfChannel` when the events are closed and all were returned.
        """
        while True:
            found = await self._events.after(self.position)
            if found:
                self.position = found[-1].id
            if self._agent is not None:
                found = [event for event in found if event.agent == self._agent]
            if found:
                return found
