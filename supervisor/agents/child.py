"""One run, from the request for its process to the last thing that can be learnt of it.

A child reads its runner's frames, stores each batch in one transaction, and only then acts on it, acknowledges it and
lets itself be seen. Whatever changes its state takes its turn behind ``_turn``, so that what is computed from the
state is stored against the same state.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import TypeVar

import trio

from ipc.frames import (
    Ack,
    Init,
    Pause,
    PermissionResponse,
    Resume,
    RunnerFrame,
    Stop,
    StrayLine,
    SupervisorFrame,
    UnknownFrame,
)
from ipc.session import Fault, Received
from supervisor.agents.facts import Facts
from supervisor.agents.keeper import KeeperExit, KeeperFailed, Spawned
from supervisor.agents.keeping import Keeping
from supervisor.agents.ladder import descend
from supervisor.agents.leavings import Leavings, frames_after
from supervisor.agents.lifecycle import Ending, Happening, Life
from supervisor.agents.line import Line
from supervisor.agents.opening import Opening
from supervisor.agents.outlet import Outlet
from supervisor.agents.patience import expect_end, expect_ready, watch_for_stall
from supervisor.agents.storing import store
from supervisor.consent.answers import approve
from supervisor.consent.permissions import Decision
from supervisor.errors import Conflict
from supervisor.records import commands, runs
from supervisor.records.db import Database
from supervisor.records.frames import Applied, apply_frames
from supervisor.records.transaction import StorageFailed, Tx, storage_failed

T = TypeVar("T")
log = logging.getLogger("agentd.child")


class Child:
    """The run that ``opening`` opened; ``report`` is called after each change that may be shown."""

    def __init__(
        self, opening: Opening, db: Database, keeping: Keeping, leavings: Leavings, report: Callable[[], None]
    ) -> None:
        self.ref = opening.ref
        self.definition = opening.definition
        self.facts = Facts(Life.QUEUED, time.time(), attempt=opening.init.attempt)
        self.gone = trio.Event()
        self.ready_at: float | None = None
        self.heard_at = trio.current_time()
        self.pid: int | None = None
        self.stalled = False
        self.asked: set[int] = set()
        """Numbers of the permissions that it has asked for."""
        self._init = opening.init
        self._messages = opening.messages
        self._db = db
        self._keeping = keeping
        self.leavings = leavings
        self._report = report
        self.line = Line(f"run {opening.ref.run_id}")
        self._pause_wanted: bool | None = None
        self._turn = trio.Lock()
        self._stored = 0
        self.ready = trio.Event()
        self._stop = trio.Event()
        self._stop_reason: str | None = None
        self._fault = ""
        self._late = False
        self._ours: set[int] = set()
        self._exit: KeeperExit | None = None
        self._outlet: Outlet | None = None

    # From birth to end

    async def live(self) -> Ending:
        """Start the process, serve it until it is gone and everything that it said is stored; tell how it ended.

        Cancelling leaves the process alone: it stays with the keeper.
        """
        if self._stop.is_set():
            return self._ending()
        self._keeping.expect(self.ref.run_id, self._on_exit)
        try:
            born = await self._spawn()
            if born is None:
                return self._ending()
            self._outlet = Outlet(born.stdout_fd)
            try:
                await self._serve(born, self._outlet)
            finally:
                self._outlet.close()
                self.line.close()
        finally:
            self._keeping.unexpect(self.ref.run_id)
        await self._read_journal()
        return self._ending()

    async def _spawn(self) -> Spawned | None:
        """Have the process made and greet it."""
        try:
            await trio.to_thread.run_sync(self.leavings.make)
            born = await self._keeping.spawn(
                self.ref.run_id,
                self.leavings.folder,
                self._init.env or {},
                title=f"agentd: {self.ref.agent} run {self.ref.run_id}",
                launch=self.definition.launch,
            )
        except (KeeperFailed, OSError) as error:
            self._fault = f"it could not be started: {error}"
            return None
        self.pid = born.pid
        self.line.connect(born.stdin_fd)
        self.line.say(Init(payload=self._init))
        self.facts.step(Happening.SPAWNED, time.time())
        return born

    async def _serve(self, born: Spawned, outlet: Outlet) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.line.run)
            await nursery.start(self._note_started, born)
            nursery.start_soon(self._end_when_told)
            nursery.start_soon(expect_ready, self)
            if self.definition.stall_after is not None:
                nursery.start_soon(watch_for_stall, self, self.definition.stall_after)
            await self._read(outlet)
            await expect_end(self, self._keeping, born)
            nursery.cancel_scope.cancel()

    async def _note_started(self, born: Spawned, *, task_status: trio.TaskStatus[None]) -> None:
        """Store whose process it is; started once whatever the runner says is bound to be stored after that."""
        boot_id = self._keeping.boot_id
        async with self._turn:
            task_status.started()
            ref = self.ref
            await self._store(
                lambda tx: runs.note_process(tx, ref.run_id, born.pid, born.start_time, boot_id)
            )
        self._report()

    def _on_exit(self, learnt: KeeperExit) -> None:
        self._exit = learnt
        self.gone.set()
        if self._outlet is not None:
            self._outlet.process_is_gone()

    def _ending(self) -> Ending:
        learnt = self._exit
        return Ending(
            code=learnt.code if learnt else None,
            signal=learnt.signal if learnt else None,
            said=self.facts.said,
            detail=self.facts.detail,
            stop_asked=self._stop_reason is not None,
            why_stopped=self._stop_reason or "",
            ours=frozenset(self._ours),
            fault=self._fault,
            late=self._late,
            began=self.pid is not None,
        )

    # What it says

    async def _read(self, outlet: Outlet) -> None:
        """Take in everything that it says on the wire."""
        while data := await outlet.next():
            self.heard_at = trio.current_time()
            await self._take_in(self.line.receive(data))

    async def _read_journal(self) -> None:
        """Take in what a dead runner had written down and could not say."""
        if self.line.plain or self._fault:
            return
        while batch := await trio.to_thread.run_sync(frames_after, self.leavings.folder, self._stored):
            before = self._stored
            await self._apply(batch)
            if self._stored == before:
                return

    async def _take_in(self, received: list[Received]) -> None:
        frames = [item for item in received if isinstance(item, RunnerFrame | UnknownFrame)]
        strays = [item.text for item in received if isinstance(item, StrayLine)]
        if strays:
            await trio.to_thread.run_sync(self.leavings.add_strays, strays)
        if frames:
            await self._apply(frames)
        if received and isinstance(received[-1], Fault):
            self.fail(f"protocol fault: {received[-1].error}")

    async def _apply(self, frames: list[RunnerFrame | UnknownFrame]) -> None:
        async with self._turn:
            facts = self.facts.after(frames, time.time())
            if self.definition.auto_approve:
                facts.decide_all(time.time())

            def work(tx: Tx) -> tuple[Applied, list[PermissionResponse]]:
                applied = apply_frames(tx, self.ref, frames)
                answers = []
                if self.definition.auto_approve:
                    answers = [approve(tx, number) for number in applied.asked]
                if facts.life is not self.facts.life:
                    pause = facts.pause
                    runs.set_state(
                        tx,
                        self.ref.run_id,
                        facts.life.value,
                        pause_kind=pause.kind if pause else None,
                        pause_reason=pause.reason if pause else None,
                        pause_seq=pause.seq if pause else None,
                        resume_at=pause.resume_at if pause else None,
                    )
                return applied, answers

            applied, answers = await self._store(work)
            self._stored = applied.last_seq
            if applied.fault is not None:
                self.fail(f"protocol fault: {applied.fault}")
            self.facts = facts
            self.asked.update(applied.asked)
            for answer in answers:
                self._answered(answer)
        if applied.ready is not None:
            self.ready_at = trio.current_time()
            self.ready.set()
            if not self.line.plain:
                for message in self._messages:
                    self.line.say(message)
        self.stalled = False
        if not self.line.plain and not self.line.unread:
            self.line.say(Ack(seq=self._stored))
        await self._resume_if_taken_back()
        self._report()

    async def _store(self, work: Callable[[Tx], T]) -> T:
        return await store(self._db, f"run {self.ref.run_id}", work)

    # What it is told

    def _ready_turn(self) -> trio.Lock:
        """The turn, for a caller who waits: not behind frames that wait for the database themselves."""
        if self._turn.locked() and self._db.degraded is not None:
            raise storage_failed(self._db.degraded)
        return self._turn

    async def command(self, frame: SupervisorFrame) -> None:
        """Store a numbered command and say it.

        Raises:
            Conflict: the runner is plain and does not know it, or it has not begun or is ending.
            StorageFailed: it cannot be stored; nothing was said.
        """
        if self.facts.life in (Life.QUEUED, Life.STARTING, Life.STOPPING) or self.gone.is_set():
            raise Conflict(
                f"agent {self.ref.agent} is {self.facts.life.value}", remedy="try again once it runs"
            )
        if self.line.full:
            raise Conflict(
                f"the runner of {self.ref.agent} does not read", remedy="agentctl status tells since when"
            )
        if self.line.plain and frame.ours:
            raise Conflict(f"the runner of {self.ref.agent} does not know {frame.op!r}")
        async with self._ready_turn():
            self.line.say(await self._db.write(lambda tx: commands.add_command(tx, self.ref.run_id, frame)))

    async def pause(self, reason: str) -> None:
        """Have it stop before its next iteration; raises as ``command`` does."""
        await self.command(Pause(reason=reason))
        self._pause_wanted = True

    @property
    def is_to_pause(self) -> bool:
        """Whether it was told to pause and has not done so yet."""
        return self._pause_wanted is True

    def unpause(self) -> bool:
        """Take back a pause that has not begun; tells whether there was one to take back."""
        if taken_back := self.is_to_pause and self.facts.pause is None:
            self._pause_wanted = False
        return taken_back

    async def _resume_if_taken_back(self) -> None:
        pause = self.facts.pause
        if pause is not None and pause.kind == "operator" and self._pause_wanted is False:
            with contextlib.suppress(Conflict, StorageFailed):
                await self.command(Resume(pause_seq=pause.seq))
        if pause is not None:
            self._pause_wanted = None

    async def answer(self, decide: Callable[[Tx], tuple[Decision, PermissionResponse]]) -> Decision:
        """Store a decision on one of its questions and say it.

        Raises:
            AgentdError: what ``decide`` raised, or ``StorageFailed``; nothing was changed.
        """
        async with self._ready_turn():
            last = len(self.facts.questions) <= 1

            def work(tx: Tx) -> tuple[Decision, PermissionResponse]:
                decided = decide(tx)
                if last and self.facts.life is Life.WAITING:
                    runs.set_state(tx, self.ref.run_id, Life.RUNNING.value)
                return decided

            decision, response = await self._db.write(work)
            self._answered(response)
        self._report()
        return decision

    def _answered(self, response: PermissionResponse) -> None:
        if (happening := self.facts.decided(response.request_id)) is not None:
            self.facts.step(happening, time.time())
        self.line.say(response)

    # Its end

    def stop(self, reason: str) -> bool:
        """Begin the stop ladder; say whether this call began it."""
        if self._stop.is_set():
            return False
        self._stop_reason = reason
        self._stop.set()
        return True

    def fail(self, fault: str) -> None:
        """End it for what it did."""
        self._fault = self._fault or fault
        self._stop.set()

    async def _end_when_told(self) -> None:
        await self._stop.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._note_stopping)
            await descend(self, self.definition.grace)
            nursery.cancel_scope.cancel()

    async def _note_stopping(self) -> None:
        async with self._turn:
            before, reason = self.facts.life, self._stop_reason or self._fault
            self.facts.step(Happening.STOP, time.time())
            if self.facts.life is not before:
                try:
                    await self._db.write(
                        lambda tx: runs.set_state(tx, self.ref.run_id, Life.STOPPING.value, reason=reason)
                    )
                except StorageFailed as error:
                    log.warning("run %s is stopped though that cannot be stored: %s", self.ref.run_id, error)
        self._report()

    def ask_to_stop(self, deadline_s: float) -> None:
        """Say ``stop``."""
        self.line.say(Stop(reason=self._stop_reason or self._fault, deadline_s=deadline_s))

    async def hang_up(self) -> None:
        """Close both copies of its stdin."""
        self.line.close()
        await self._keeping.hangup(self.ref.run_id)

    async def signal(self, number: int) -> None:
        """Send a signal to its process group."""
        self._ours.add(number)
        await self._keeping.signal(self.ref.run_id, number, group=True)

    # What it is watched for

    @property
    def ending(self) -> bool:
        """Whether it has said its last word, or was told to end."""
        return self.facts.said is not None or self._stop.is_set()

    def late(self) -> None:
        """End it: it was not ready in time."""
        self._late = True
        self._stop.set()

    async def stall(self) -> None:
        """Note that it has shown no life for too long, until its next frame."""
        self.stalled = True
        await self._store(lambda tx: runs.note_stall(tx, self.ref.run_id))
        self._report()

    async def shown_life_at(self) -> float:
        """When it last said something or put something into its log, on the loop's clock."""
        age = await trio.to_thread.run_sync(self.leavings.log_age)
        return max(self.heard_at, trio.current_time() - age)
