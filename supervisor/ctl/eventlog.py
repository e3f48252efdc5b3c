"""Events as lines, read back and followed over restarts of the supervisor."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import orjson

from supervisor.ctl.client import Client
from supervisor.ctl.invocation import Invocation, Row
from supervisor.ctl.visible import visible
from supervisor.errors import NoSupervisor

PAGE = 500
"""Events asked for at once."""
TRY_AGAIN = 1.0
"""Seconds between two attempts to reach a supervisor that went away."""


def print_events(ctl: Invocation, *, agent: str | None, after: int | None, lines: int, follow: bool) -> None:
    """Print the last ``lines`` events, or all after a number, then with ``follow`` each as it comes, for ever."""
    with ctl.connect() as client:
        last = after
        for event in pages(client, after, agent) if after is not None else latest(client, lines, agent):
            print_event(event, ctl)
            last = event["id"]
        if follow:
            sys.stdout.flush()
            for event in followed(client, ctl, last, agent):
                print_event(event, ctl)
                sys.stdout.flush()


def pages(client: Client, after: int, agent: str | None) -> Iterator[Row]:
    """Yield the events after a number that there are now."""
    while True:
        page = client.call("events.read", after=after, limit=PAGE, agent=agent)
        yield from page["events"]
        if not page["events"]:
            return
        after = page["last"]


def latest(client: Client, lines: int, agent: str | None) -> list[Row]:
    """Return the last ``lines`` events, looking further and further back."""
    end: int = client.call("events.read", after=2**62, limit=1)["last"]
    span = lines
    while True:
        found = list(pages(client, max(0, end - span), agent))
        if len(found) >= lines or span >= end:
            return found[-lines:] if lines else []
        span *= 8


def followed(client: Client, ctl: Invocation, after: int | None, agent: str | None) -> Iterator[Row]:
    """Yield events for ever, each once; when the connection ends, the next supervisor is waited for."""
    after = client.call("events.follow", after=after, agent=agent)["last"]
    while True:
        while (event := client.event(None)) is not None:
            after = event["id"]
            yield event
        client.close()
        ctl.note("the supervisor is gone; waiting for it")
        client = follow_again(ctl, after, agent)


def follow_again(ctl: Invocation, after: int, agent: str | None) -> Client:
    """Follow the events after a number as soon as a supervisor answers. Raises what waiting does not cure."""
    while True:
        try:
            client = ctl.connect()
            client.call("events.follow", after=after, agent=agent)
        except NoSupervisor:
            time.sleep(TRY_AGAIN)
        else:
            return client


def print_event(event: Row, ctl: Invocation) -> None:
    """Print one event."""
    if ctl.json:
        ctl.show(event)
        return
    clock = time.strftime("%m-%d %H:%M:%S", time.localtime(event["at"]))
    about = [
        part for part in (event.get("agent"), f"run {event['run_id']}" if event.get("run_id") else "") if part
    ]
    told = ", ".join(
        f"{key} {plain(value)}" for key, value in (event.get("data") or {}).items() if value is not None
    )
    line = f"{event['id']:>6} {clock} {event['kind']} {' '.join(about)}"
    ctl.say(visible(f"{line}: {told}" if told else line))


def plain(value: object) -> str:
    """Write a value of an event's data."""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
