"""The keeper: forks runners, holds their pipes, reaps them, and remembers how they ended until it is told to forget.

Single-threaded around one selector, and it waits for nobody. It outlives supervisors and knows nothing of what its
runners do.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from setproctitle import setproctitle

from ipc.errors import RemoteError
from ipc.fields import build
from ipc.identity import boot_id, start_time
from ipc.keeper import (
    EXIT_RECORD,
    RUNS_LIMIT,
    VERBS,
    VERSION,
    Fds,
    Forget,
    Hangup,
    Hello,
    Hold,
    Listing,
    Message,
    Request,
    Shutdown,
    Signal,
    Spawn,
    close_all,
)
from runner.birth import Limit, bear, preload
from runner.descendants import become_subreaper, kill_with_groups, next_ended, reap, strays
from runner.detach import detach
from runner.holding import Holding
from runner.peers import Answer, Peers

FIRST_CALL = 10.0
"""Seconds that a new keeper waits for somebody to connect."""

RETRY = 1.0
"""Seconds between attempts at what failed for want of disk or descriptors."""

STRAYS_PATIENCE = 5.0
"""Seconds after which an end is told although something that the run left could not be killed."""


def main(path: str) -> int:
    """Start a keeper that listens at ``path``, unless one does; returns an exit code once it listens."""
    return detach(path, _keep)


def _keep(listener: socket.socket, say_ready: Callable[[], None]) -> None:
    limit = Limit.raise_it()
    become_subreaper()
    preload()
    setproctitle(f"agentd keeper {listener.getsockname()}")
    keeper = Keeper(listener, limit)
    say_ready()
    keeper.serve()


class Refused(Exception):
    """A request that cannot be granted; its text is the answer."""


class Keeper:
    """Serves the connections that ``listener`` accepts; children get the descriptor ``limit`` that it found."""

    def __init__(self, listener: socket.socket, limit: Limit) -> None:
        self._limit = limit
        pid = os.getpid()
        self._identity = {"version": VERSION, "pid": pid, "start_time": start_time(pid), "boot_id": boot_id()}
        self._holdings: dict[str, Holding] = {}
        self._children: dict[int, Holding] = {}
        """Runners that are our children and not reaped yet."""
        self._ending: dict[str, float] = {}
        """Runs reaped and not yet told, with the time when waiting for what they left is over."""
        self._unkillable: set[int] = set()
        self._retry_at = 0.0
        self._awaited_until = time.monotonic() + FIRST_CALL
        self._over = False
        self._selector = selectors.DefaultSelector()
        self._peers = Peers(listener, self._selector, self._answer)
        self._alarm, self._wake = socket.socketpair()
        for end in (self._alarm, self._wake):
            end.setblocking(False)
        self._selector.register(self._alarm, selectors.EVENT_READ, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

    def serve(self) -> None:
        """Serve until nothing is connected and nothing is held."""
        while not self._finished():
            for key, _ in self._selector.select(self._patience()):
                key.data()
            self._catch_up()

    def _finished(self) -> bool:
        if self._over or self._holdings or self._peers:
            return self._over
        return self._peers.met or time.monotonic() >= self._awaited_until

    def _patience(self) -> float | None:
        due = list(self._ending.values())
        if self._unrecorded() or not self._peers.listening:
            due.append(self._retry_at)
        if not self._peers.met:
            due.append(self._awaited_until)
        return max(min(due) - time.monotonic(), 0.0) if due else None

    def _unrecorded(self) -> list[Holding]:
        return [one for one in self._holdings.values() if one.ending and not one.recorded]

    def _catch_up(self) -> None:
        """Do what was put off and is due."""
        now = time.monotonic()
        if self._ending and min(self._ending.values()) <= now:
            self._sweep()
        if now >= self._retry_at:
            self._retry_at = now + RETRY
            self._peers.listen()
            for holding in self._unrecorded():
                holding.record()

    # Ends

    def _on_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._alarm.recv(4096):
                pass
        while (ended := next_ended(self._children)) is not None:
            holding = self._children.pop(ended.pid, None)
            if holding is not None:
                if not ended.reaped:
                    holding.kill_group()
                holding.end(ended.code, ended.signal)
                self._ending[holding.run] = time.monotonic() + STRAYS_PATIENCE
            if not ended.reaped:
                reap(ended.pid)
            self._unkillable.discard(ended.pid)
        self._sweep()

    def _on_term(self, *_: object) -> None:
        self._over = not self._holdings

    def _sweep(self) -> None:
        """Kill what dead runners left to us, and tell their ends when nothing of it is left.

        Each stray that dies raises SIGCHLD, which leads here again, and to what that one left in turn.
        """
        now = time.monotonic()
        try:
            left = [pid for pid in strays(self._children) if pid not in self._unkillable]
        except OSError:  # no descriptor is free to look with
            self._ending = {run: max(until, now + RETRY) for run, until in self._ending.items()}
            return
        kill_with_groups(left, self._children)
        if left and (not self._ending or now < min(self._ending.values())):
            return
        self._unkillable.update(left)
        for run in self._ending:
            self._tell(self._holdings[run])
        self._ending.clear()

    def _on_held_end(self, holding: Holding) -> None:
        """Tell the end, and leave its group alone: its parent may have reaped it, and its pid be another's by now."""
        if holding.pidfd >= 0:
            self._selector.unregister(holding.pidfd)
        holding.end(None, None)
        self._tell(holding)

    def _tell(self, holding: Holding) -> None:
        assert holding.ending is not None
        holding.told = True
        self._peers.tell(holding.ending.event())

    # Requests

    def _answer(self, message: Message) -> Answer:
        number = message.body.get("id")
        if type(number) is not int:
            message.close()
            raise RemoteError("a request without a number", field="id")
        fds: list[int] = []
        try:
            fields, fds = self._obey(self._request(message), message.fds)
            fields["ok"] = True
        except Refused as refusal:
            fields = {"error": str(refusal)}
        except (OSError, ValueError, OverflowError) as error:
            fields = {"error": f"{type(error).__name__}: {error}"}
        except Exception as error:  # noqa: BLE001 - a fault in one verb must not take every run's pipes with it
            traceback.print_exc()
            fields = {"error": f"a fault of the keeper: {error!r}"}
        return {"id": number, **fields}, fds

    def _request(self, message: Message) -> Request:
        verb = message.body.get("verb")
        try:
            if not isinstance(verb, str) or verb not in VERBS:
                raise Refused(f"{verb!r} is no verb of the keeper")
            request = build(VERBS[verb], message.body)
            if len(message.fds) != (2 if isinstance(request, Hold) else 0):
                raise Refused(f"{verb} with {len(message.fds)} descriptors")
        except BaseException:
            message.close()
            raise
        return request

    def _obey(self, request: Request, fds: list[int]) -> Answer:
        match request:
            case Hello():
                return self._greet(request.version), []
            case Spawn():
                return self._spawn(request)
            case Hold():
                self._hold(request, fds)
            case Listing():
                return {"runs": [holding.row() for holding in self._holdings.values()]}, []
            case Fds():
                return {}, self._copies(request.runs)
            case Signal():
                if request.signal not in signal.valid_signals():
                    raise Refused(f"{request.signal} is no signal")
                return {"sent": self._held(request.run).signal(request.signal, group=request.group)}, []
            case Hangup():
                self._held(request.run).hang_up()
            case Forget():
                self._forget(self._held(request.run))
            case Shutdown():
                if self._holdings:
                    raise Refused(f"{len(self._holdings)} runs are held")
                self._over = True
        return {}, []

    def _greet(self, version: int) -> dict[str, Any]:
        if version != VERSION:
            raise Refused(f"version {version}: this keeper speaks version {VERSION}")
        return dict(self._identity)

    def _spawn(self, request: Spawn) -> Answer:
        folder = self._claim(request.run, request.folder)
        (folder / EXIT_RECORD).unlink(missing_ok=True)
        born = bear(request, self._limit)
        # Its ends of the pipes were closed just now, so there is a descriptor for reading its start time.
        holding = Holding(
            run=request.run,
            folder=folder,
            pid=born.pid,
            start_time=start_time(born.pid),
            stdin=born.stdin,
            stdout=born.stdout,
        )
        self._holdings[request.run] = self._children[born.pid] = holding
        return {"pid": born.pid, "start_time": holding.start_time}, born.copies

    def _hold(self, request: Hold, fds: list[int]) -> None:
        try:
            folder = self._claim(request.run, request.folder)
            pidfd = self._watch(request.pid, request.start_time)
        except BaseException:
            close_all(fds)
            raise
        holding = Holding(
            run=request.run,
            folder=folder,
            pid=request.pid,
            start_time=request.start_time,
            stdin=fds[0],
            stdout=fds[1],
            is_child=False,
            pidfd=pidfd,
        )
        self._holdings[request.run] = holding
        if pidfd < 0:
            self._on_held_end(holding)
        else:
            self._selector.register(pidfd, selectors.EVENT_READ, lambda: self._on_held_end(holding))

    def _watch(self, pid: int, started: float) -> int:
        """A pidfd of just that process, or -1 if it has ended already."""
        if not hasattr(os, "pidfd_open"):
            raise Refused("this system does not tell us of processes that are not our children")
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return -1
        try:
            if start_time(pid) == started:
                return pidfd
        except ProcessLookupError:
            pass
        except BaseException:
            os.close(pidfd)
            raise
        os.close(pidfd)
        return -1

    def _copies(self, runs: list[str]) -> list[int]:
        if len(runs) > RUNS_LIMIT:
            raise Refused(f"{len(runs)} runs at once; {RUNS_LIMIT} are the most")
        copies: list[int] = []
        try:
            for run in runs:
                copies += self._held(run).copies()
        except BaseException:
            close_all(copies)
            raise
        return copies

    def _forget(self, holding: Holding) -> None:
        if not holding.told:
            raise Refused(f"run {holding.run} has not ended")
        del self._holdings[holding.run]
        holding.discard()

    def _held(self, run: str) -> Holding:
        try:
            return self._holdings[run]
        except KeyError:
            raise Refused(f"run {run} is not held") from None

    def _claim(self, run: str, folder: str) -> Path:
        if run in self._holdings:
            raise Refused(f"run {run} is held already")
        if not os.path.isabs(folder):
            raise Refused(f"folder: {folder!r} is not an absolute path")
        return Path(folder)
