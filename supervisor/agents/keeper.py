"""The supervisor's side of the keeper: find a living one or start one, ask it, hear of ends."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from ipc.errors import LocalError, RemoteError
from ipc.keeper import RUNS_LIMIT, VERSION, Ending, Inbox, Message, Outbox, close_all
from supervisor.agents import keeper_process
from supervisor.errors import Degraded, Failed
from supervisor.paths import Home

PATIENCE = 2.0
"""Seconds of silence, with a question open, after which the keeper counts as degraded."""

GREET_WITHIN = 20.0
"""Seconds for a keeper's first answer."""

TRIES = 40
TRY_AGAIN = 0.05
"""Seconds between tries to reach a keeper while another one is ending, or starting."""


class KeeperFailed(Exception):
    """The keeper refused a request; nothing was changed."""


class KeeperLost(KeeperFailed):
    """The keeper, or the connection to it, ended before it answered: what was asked may have been done or not."""


@dataclass(frozen=True, slots=True)
class KeeperExit:
    """How a run's process ended; both ``code`` and ``signal`` are None where nobody could learn them."""

    pid: int
    code: int | None
    signal: int | None
    at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """A new runner; the descriptors are the caller's to close."""

    pid: int
    start_time: float
    """Seconds after boot, as `ipc.identity.start_time` tells it."""
    stdin_fd: int
    stdout_fd: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A run that the keeper holds; ``exit`` is None while it runs. ``held``: it is not the keeper's own child."""

    run_id: int
    pid: int
    start_time: float
    held: bool
    exit: KeeperExit | None


@dataclass(slots=True)
class _Question:
    """A request that waits for its answer."""

    answered: trio.Event = field(default_factory=trio.Event)
    answer: Message | None = None


class Keeper:
    """A connection to the keeper; made by `open_keeper`. Requests may be made by many tasks at once.

    Each request raises `KeeperFailed` when it is refused and `KeeperLost` when the keeper is gone. None has a time-out
    of its own; `degraded` tells when waiting has become odd. Cancelling one stops only the waiting: it may be carried
    out nevertheless, and descriptors that arrive for it are closed.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.on_exit: Callable[[int, KeeperExit], None] = lambda *_: None
        """Called on the loop with each end of a run; set it before the first await, then ask for the `list`."""
        self.degraded: str | None = None
        """Why the keeper counts as degraded: it owes an answer and has been silent for `PATIENCE` seconds."""
        self.lost = trio.Event()
        """The keeper has died, or has cut us off; `open_keeper` finds or starts one again."""
        self.pid = 0
        self.start_time = 0.0
        self.boot_id = ""
        self._sock = sock
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._unsent = trio.Event()
        self._questions: dict[int, _Question] = {}
        self._last_id = 0
        self._owed = 0
        self._owed_since = 0.0

    # Requests

    async def spawn(
        self,
        run_id: int,
        folder: Path,
        env: Mapping[str, str],
        title: str,
        launch: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> Spawned:
        """Start a runner, with its stderr in ``folder``; by a command in front where ``launch`` names one."""
        fields: dict[str, Any] = {"run": str(run_id), "folder": str(folder), "env": dict(env), "title": title}
        if launch:
            fields["launch"] = list(launch)
        if cwd is not None:
            fields["cwd"] = str(cwd)
        answer = await self._ask("spawn", fields, brings=2)
        return Spawned(answer.body["pid"], answer.body["start_time"], *answer.fds)

    async def hold(
        self, run_id: int, folder: Path, pid: int, start_time: float, stdin_fd: int, stdout_fd: int
    ) -> None:
        """Let the keeper hold copies of these descriptors, for a runner that is not its child.

        Its end is told as of any other, also when it has ended before; the code stays unknown.
        """
        fields = {"run": str(run_id), "folder": str(folder), "pid": pid, "start_time": start_time}
        await self._ask("hold", fields, (stdin_fd, stdout_fd))

    async def list(self) -> list[Kept]:
        """Everything that is held, the ended included."""
        answer = await self._ask("list", {})
        return [
            Kept(
                run_id=int(row["run"]),
                pid=row["pid"],
                start_time=row["start_time"],
                held=row["held"],
                exit=KeeperExit(row["pid"], row["code"], row["signal"], row["at"])
                if row["state"] == "exited"
                else None,
            )
            for row in answer.body["runs"]
        ]

    async def fds(self, run_ids: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Copies of each run's stdin write end and stdout read end; they are the caller's to close."""
        wanted = [*dict.fromkeys(run_ids)]
        found: dict[int, tuple[int, int]] = {}
        try:
            for start in range(0, len(wanted), RUNS_LIMIT):
                runs = wanted[start : start + RUNS_LIMIT]
                answer = await self._ask("fds", {"runs": [str(run) for run in runs]}, brings=2 * len(runs))
                pairs = zip(answer.fds[::2], answer.fds[1::2], strict=True)
                found.update(zip(runs, pairs, strict=True))
        except BaseException:
            for pair in found.values():
                close_all(pair)
            raise
        return found

    async def signal(self, run_id: int, signum: int, group: bool = True) -> bool:
        """Signal a run's process group, or only its process; tells whether there was one left that we may signal."""
        answer = await self._ask("signal", {"run": str(run_id), "signal": int(signum), "group": group})
        return bool(answer.body["sent"])

    async def hangup(self, run_id: int) -> None:
        """Close the keeper's copy of a run's stdin; whoever else has one closes theirs."""
        await self._ask("hangup", {"run": str(run_id)})

    async def forget(self, run_id: int) -> None:
        """Let the keeper drop an ended run and delete its exit record; to be asked once the end is stored."""
        await self._ask("forget", {"run": str(run_id)})

    async def shutdown(self) -> None:
        """End the keeper; refused while it holds a run."""
        await self._ask("shutdown", {})

    async def _ask(
        self, verb: str, fields: dict[str, Any], fds: Sequence[int] = (), *, brings: int = 0
    ) -> Message:
        number, question = self._pose(verb, fields, fds)
        try:
            await self._wait(verb, question)
        except BaseException:
            if question.answer is not None:
                question.answer.close()
            raise
        finally:
            self._questions.pop(number, None)
        return _judged(verb, question.answer, brings)

    def _pose(self, verb: str, fields: dict[str, Any], fds: Sequence[int]) -> tuple[int, _Question]:
        if self.lost.is_set():
            raise KeeperLost("the keeper is gone")
        self._last_id += 1
        number, question = self._last_id, _Question()
        try:
            self._outbox.append({"id": number, "verb": verb, **fields}, _duplicates(fds))
        except LocalError as error:
            raise KeeperFailed(f"{verb}: {error}") from None
        self._questions[number] = question
        if not self._owed:
            self._owed_since = trio.current_time()
        self._owed += 1
        self._send()
        return number, question

    async def _wait(self, verb: str, question: _Question) -> None:
        """Wait for the answer; the keeper's silence, whoever asked and still waits, makes it degraded meanwhile."""
        while not question.answered.is_set():
            silent_since = self._owed_since
            with trio.move_on_at(silent_since + PATIENCE if self.degraded is None else float("inf")):
                await question.answered.wait()
                return
            if self._owed_since == silent_since:
                self.degraded = f"the keeper (pid {self.pid}) has not answered {verb} in {PATIENCE:g} s"

    # The connection

    async def greet(self) -> None:
        """Exchange versions and learn who the keeper is; to be done before `run`."""
        _, question = self._pose("hello", {"version": VERSION}, ())
        while not question.answered.is_set():
            await self._receive()
        answer = _judged("hello", question.answer, 0).body
        self.pid, self.start_time, self.boot_id = answer["pid"], answer["start_time"], answer["boot_id"]

    async def run(self) -> None:
        """Send and receive until the keeper is gone; whoever still waits learns that then."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_rest)
            while not self.lost.is_set():
                await self._receive()
            nursery.cancel_scope.cancel()

    async def _receive(self) -> None:
        """Wait for something and take it in; the end of the connection is something, too."""
        try:
            await trio.lowlevel.wait_readable(self._sock)
            self._inbox.receive(self._sock)
        except (EOFError, OSError, RemoteError, trio.ClosedResourceError):
            self.hang_up()
        while self._inbox.messages:
            self._take(self._inbox.messages.popleft())

    def _take(self, message: Message) -> None:
        self._owed_since = trio.current_time()
        self.degraded = None
        if message.body.get("event") == "exit":
            message.close()
            end = Ending.read(message.body)
            self.on_exit(int(end.run), KeeperExit(end.pid, end.code, end.signal, end.at))
            return
        self._owed = max(0, self._owed - 1)
        number = message.body.get("id")
        question = self._questions.pop(number, None) if isinstance(number, int) else None
        if question is None:
            message.close()
            return
        question.answer = message
        question.answered.set()

    def _send(self) -> None:
        try:
            self._outbox.flush(self._sock)
        except OSError:
            self.hang_up()
        if len(self._outbox):
            self._unsent.set()

    async def _send_rest(self) -> None:
        while not self.lost.is_set():
            await self._unsent.wait()
            with contextlib.suppress(trio.ClosedResourceError):
                await trio.lowlevel.wait_writable(self._sock)
            self._unsent = trio.Event()
            self._send()

    def hang_up(self) -> None:
        """Note that the keeper is gone; whoever waits learns it now. Synchronous, may be called twice."""
        self.lost.set()
        self._outbox.close()
        while self._questions:
            self._questions.popitem()[1].answered.set()

    def close(self) -> None:
        """Close the socket and every descriptor under way."""
        self.hang_up()
        self._inbox.close()
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


@asynccontextmanager
async def open_keeper(
    home: Home, environ: Mapping[str, str], *, command: Sequence[str] = keeper_process.COMMAND
) -> AsyncIterator[Keeper]:
    """Connect to the keeper of ``home``, or start one with the allow-listed part of ``environ``.

    Leaving it closes the connection; a keeper that holds runs lives on. ``command`` starts a keeper when the socket's
    path is appended. Being cancelled leaves at most a keeper that ends itself after a while.

    Raises:
        Failed: no keeper could be started, with its own words; or it speaks another version.
        Degraded: there is one and it does not answer.
    """
    keeper = await _reach(home.keeper_socket, environ, command)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run)
            yield keeper
            nursery.cancel_scope.cancel()
    finally:
        keeper.close()


async def _reach(path: Path, environ: Mapping[str, str], command: Sequence[str]) -> Keeper:
    for attempt in range(TRIES):
        if attempt > 1:
            await trio.sleep(TRY_AGAIN)
        sock = keeper_process.connect(path)
        if sock is None:
            await keeper_process.start(path, environ, command)
        elif (keeper := await _meet(sock)) is not None:
            return keeper
    raise Failed(f"no keeper could be reached at {path}", remedy="agentctl doctor")


async def _meet(sock: socket.socket) -> Keeper | None:
    """Greet the keeper on the other side; None when it was just ending."""
    keeper, pid, met = Keeper(sock), keeper_process.pid_behind(sock), False
    try:
        with trio.fail_after(GREET_WITHIN):
            await keeper.greet()
        met = True
    except KeeperLost:
        return None
    except KeeperFailed as error:
        remedy = "agentctl shutdown ends it with its agents"
        raise Failed(f"the keeper (pid {pid}): {error}", remedy=remedy) from None
    except trio.TooSlowError:
        raise Degraded(f"the keeper (pid {pid}) does not answer", remedy=f"kill -CONT {pid}") from None
    finally:
        if not met:
            keeper.close()
    return keeper


def _judged(verb: str, answer: Message | None, brings: int) -> Message:
    if answer is None:
        raise KeeperLost(f"the keeper ended before it answered {verb}")
    if "ok" not in answer.body or len(answer.fds) != brings:
        answer.close()
        raise KeeperFailed(str(answer.body.get("error") or f"an odd answer to {verb}"))
    return answer


def _duplicates(fds: Sequence[int]) -> list[int]:
    copies: list[int] = []
    try:
        copies.extend(map(os.dup, fds))
    except OSError:
        close_all(copies)
        raise
    return copies
