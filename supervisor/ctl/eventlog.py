"""Events as lines, read back and followed over restarts of the supervisor."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import orjson

from supervisor.ctl.client import Client
from supervisor.ctl.follow import latest_run
from supervisor.ctl.invocation import Invocation, Row
from supervisor.ctl.visible import visible
from supervisor.errors import NoSuchAgent, NoSupervisor

PAGE = 500
"""Events asked for at once."""
TRY_AGAIN = 1.0
"""Seconds between two attempts to reach a supervisor that went away."""


def print_events(ctl: Invocation, *, agent: str | None, after: int | None, lines: int, follow: bool) -> None:
    """Print the last ``lines`` events, or all after a number, then with ``follow`` each as it comes, for ever.

    Once reached, a supervisor that goes away is waited for with ``follow``; each event is printed once. Raises
    `NoSuchAgent` for a name that never was an agent's, `NoSupervisor`.
    """
    client = ctl.connect()
    while True:
        try:
            with client:
                if agent is not None:
                    check_known(client, agent)
                if after is None or not follow:  # following from a number begins with what there is
                    for event in (
                        latest(client, lines, agent) if after is None else pages(client, after, agent)
                    ):
                        print_event(event, ctl)
                        after = event["id"]
                if not follow:
                    return
                sys.stdout.flush()
                after = client.call("events.follow", after=after, agent=agent)["last"]
                while (news := client.event(None)) is not None:
                    print_event(news, ctl)
                    sys.stdout.flush()
                    after = news["id"]
        except NoSupervisor:
            if not follow:
                raise
        ctl.note("the supervisor is gone; waiting for it")
        client = connect_again(ctl)


def check_known(client: Client, agent: str) -> None:
    """Raise `NoSuchAgent` for a name of which there is neither an agent nor a run nor an event."""
    try:
        latest_run(client, agent)
    except NoSuchAgent:
        if not latest(client, 1, agent):
            raise


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


def connect_again(ctl: Invocation) -> Client:
    """Connect as soon as a supervisor answers. Raises what waiting does not cure."""
    while True:
        time.sleep(TRY_AGAIN)
        try:
            return ctl.connect()
        except NoSupervisor:
            continue


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
