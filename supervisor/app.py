"""``agentd``: one supervisor for one home. What is opened first is closed last."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import time
from importlib.metadata import version

import trio

from supervisor.agents.agent import World
from supervisor.agents.keeper_process import connect
from supervisor.agents.keeping import open_keeping
from supervisor.agents.pool import Pool, open_pool
from supervisor.agents.recovery import load, recover
from supervisor.agents.restart import Limits
from supervisor.agents.steering import Steering
from supervisor.descriptors import raise_limit
from supervisor.errors import AgentdError, Conflict, Failed, NotPermitted
from supervisor.faces.rpc import serve
from supervisor.faces.service import Service, authenticate_by_token, identify_by_socket
from supervisor.paths import Home
from supervisor.peers import peer_of, seen_inside
from supervisor.principals import administrator
from supervisor.records.db import open_database
from supervisor.records.events import Events, last_event, read_events
from supervisor.settings.toml import Config
from supervisor.settings.toml import load as load_config

USAGE = """Start the supervisor in the foreground; agentctl starts it in the background when it is needed.

Usage:
  agentd [--ready-fd=FD]
  agentd (-h | --help)
  agentd --version

Options:
  --ready-fd=FD  Write one byte to this descriptor once the socket listens, and close it.

SIGTERM ends agentd and leaves its agents running; Ctrl-C stops them first.
"""

RECOVER_AGAIN = 2.0
"""Seconds between attempts to take care of what the last supervisor left."""

log = logging.getLogger("agentd")


def main() -> None:
    """Run the supervisor; leaves with one of the exit codes of ``supervisor.errors``."""
    from docopt import DocoptExit, docopt

    try:
        given = docopt(USAGE, version=version("agentd"))
        ready = int(given["--ready-fd"]) if given["--ready-fd"] else None
    except (DocoptExit, ValueError):
        sys.stderr.write(USAGE)
        sys.exit(2)
    try:
        sys.exit(run(Home.from_environ(os.environ), ready))
    except AgentdError as error:
        sys.stderr.write(f"agentd: {error}\n" + (f"  {error.remedy}\n" if error.remedy else ""))
        sys.exit(error.exit_code)


def run(home: Home, ready: int | None) -> int:
    """Serve ``home`` until told to end; ``ready`` is a descriptor to write to once the socket listens.

    Raises:
        AgentdError: it cannot: another one serves it, its settings are faulty, its database cannot be used.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("agentd").setLevel(logging.INFO)
    home.make_folders()
    _refuse_inside(home)
    config = load_config(home.config_file)
    lock_home(home)
    raise_limit()
    try:
        trio.run(_serve, home, config, ready)
    except BaseExceptionGroup as group:
        raise _told_in(group) from group
    return 0


def _refuse_inside(home: Home) -> None:
    """Raise `NotPermitted` where an agent of this home starts us: what ends the agent would end its supervisor."""
    sock = connect(home.keeper_socket)
    ours = set()
    if sock is not None:
        with sock:
            ours.add(peer_of(sock).pid)
    if (inside := seen_inside(os.getpid(), home.identity, ours)) is not None:
        raise NotPermitted(
            f"agentd cannot be started by an agent: this process {inside}",
            remedy="start it from a terminal that no agent has opened",
        )


def _told_in(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a person can be told of ``group``: nurseries wrap an error once for each that it passes."""
    for error in group.exceptions:
        if isinstance(error, AgentdError):
            return error
        if isinstance(error, BaseExceptionGroup) and isinstance(told := _told_in(error), AgentdError):
            return told
    return group


def lock_home(home: Home) -> None:
    """Take the home's lock until this process ends: it is never closed, so that who gets it finds us gone.

    Raises:
        Conflict: another supervisor holds it.
        Failed: it cannot be had at all.
    """
    try:
        fd = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failed(f"{home.lock}: {error.strerror}", remedy="agentctl doctor") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(fd, 20).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise Conflict(
            f"another agentd (pid {owner}) serves {home.state}",
            remedy="agentctl status talks to it; agentctl shutdown ends it",
        ) from None
    os.ftruncate(fd, 0)
    os.write(fd, f"{os.getpid()}\n".encode())


async def _serve(home: Home, config: Config, ready: int | None) -> None:
    told = Telling()
    with trio.CancelScope() as everything:
        await _serve_until_told(home, config, ready, told, everything)


async def _serve_until_told(
    home: Home, config: Config, ready: int | None, told: Telling, everything: trio.CancelScope
) -> None:
    async with open_database(home.db, told.publish) as database:
        events = Events(
            lambda after, limit: database.read(lambda conn: read_events(conn, after, limit)),
            await database.read(last_event),
        )
        told.events = events
        limits = Limits(
            config.supervisor.restart_limit, config.supervisor.backoff_limit, config.supervisor.healthy_after
        )
        async with open_keeping(home) as keeping, open_pool(World(database, home, keeping, limits)) as pool:
            await load(pool, config.agents, administrator().name)
            ending = Ending(everything)
            service = Service(
                pool=pool,
                steering=Steering(pool),
                database=database,
                events=events,
                home=home,
                version=version("agentd"),
                started_at=time.time(),
                identify=identify_by_socket(home, lambda: [*keeping.pids, *pool.pids]),
                authenticate=authenticate_by_token(database, time.time),
                degraded=lambda: [why for why in (database.degraded, keeping.trouble) if why],
                shut_down=ending.shut_down,
            )
            async with trio.open_nursery() as front:
                await front.start(serve, service, home.socket)
                _say_ready(ready)
                front.start_soon(_recover, pool)
                await front.start(ending.on_signals)
                await ending.told.wait()
                if ending.stop_agents:
                    await pool.shutdown(ending.reason)
                events.close()
                front.cancel_scope.cancel()


class Telling:
    """Hands committed events on, once there is somebody to hand them to."""

    def __init__(self) -> None:
        self.events: Events | None = None

    def publish(self, events: object) -> None:
        """Tell the followers."""
        if self.events is not None:
            self.events.publish(events)  # type: ignore[arg-type]


async def _recover(pool: Pool) -> None:
    """Take care of what the last supervisor left, as often as it takes: till then no agent is started or answered."""
    while True:
        try:
            await recover(pool)
        except Exception:
            log.exception("what the last agentd left could not be taken care of; trying again")
            await trio.sleep(RECOVER_AGAIN)
        else:
            pool.recovered.set()
            return


def _say_ready(fd: int | None) -> None:
    if fd is not None:
        os.write(fd, b"\n")
        os.close(fd)


class Ending:
    """How this supervisor is told to end: by a signal, or by ``agentctl shutdown``."""

    def __init__(self, everything: trio.CancelScope) -> None:
        self.told = trio.Event()
        self.stop_agents = False
        self.reason = ""
        self.everything = everything

    def shut_down(self, reason: str = "agentd was shut down") -> None:
        """Stop the agents, then end."""
        self.stop_agents, self.reason = True, self.reason or reason
        self.told.set()

    async def on_signals(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """SIGTERM leaves the agents running, SIGINT stops them; a second signal no longer waits for them."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    continue
                if self.told.is_set():
                    self.everything.cancel()
                if number == signal.SIGINT:
                    self.shut_down("Ctrl-C")
                else:
                    self.told.set()
