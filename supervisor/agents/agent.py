"""One agent: what is wanted of it and what it is, over as many runs as it takes.

``keep`` is the whole story: a run lives and ends, one transaction closes it and, where nothing is to be waited for,
opens its successor; otherwise the agent is left idle, backing off, or held.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

import trio

from supervisor.agents.child import Child
from supervisor.agents.keeping import Keeping
from supervisor.agents.leavings import Leavings
from supervisor.agents.leftovers import end_marked
from supervisor.agents.lifecycle import Ending, Life, Verdict, judge
from supervisor.agents.opening import Opening, Prepared, open_run, prepare
from supervisor.agents.restart import Again, Decision, Held, Limits, decide
from supervisor.agents.storing import store
from supervisor.errors import AgentdError
from supervisor.paths import Home
from supervisor.records import agents, runs
from supervisor.records.db import Database
from supervisor.records.frames import RunRef
from supervisor.records.transaction import Tx

T = TypeVar("T")


class Between(Enum):
    """What an agent is while it has no run."""

    IDLE = "idle"
    BACKOFF = "backoff"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Last:
    """How an agent's last run ended; ``at`` is wall time."""

    state: Life
    reason: str
    at: float
    ref: RunRef


@dataclass(frozen=True, slots=True)
class World:
    """What all agents share."""

    db: Database
    home: Home
    keeping: Keeping
    limits: Limits


@dataclass(slots=True)
class Agent:
    """``own`` are its settings as its definer wrote them, ``caps`` the budgets that an operator has set since."""

    name: str
    world: World
    own: dict[str, Any] = field(repr=False)
    origin: str
    originator: str
    wanted: bool = False
    caps: dict[str, Any] = field(default_factory=dict)
    crashes: int = 0
    restarts: int = 0
    held: str = ""
    backoff_until: float | None = None
    since: float = field(default_factory=time.time)
    child: Child | None = None
    last: Last | None = None
    closing: bool = False
    """agentd is being shut down: nothing follows, and what is wanted stays as it is stored."""
    restarting: bool = False
    """It is stopped to be started again: what is wanted stays as it is stored."""
    changed: trio.Event = field(default_factory=trio.Event, repr=False)
    """Set, and replaced by a new one, at each change that may be shown."""
    kept: trio.Event | None = field(default=None, repr=False)
    """Set when ``keep`` has come to its end; None while it has never begun."""
    _wait: trio.CancelScope | None = field(default=None, repr=False)

    @property
    def between(self) -> Between:
        """What it is, if it has no run."""
        if self.held:
            return Between.HELD
        return Between.BACKOFF if self.backoff_until is not None else Between.IDLE

    @property
    def state(self) -> str:
        """What it is, in one word."""
        return self.child.facts.life.value if self.child else self.between.value

    def pulse(self) -> None:
        """Wake whoever waits for a change."""
        self.changed.set()
        self.changed = trio.Event()

    def prepare(self) -> Prepared:
        """Check its settings anew. It blocks; raises as ``opening.prepare`` does."""
        return prepare(self.name, self.own, self.caps, self.world.home)

    # Runs

    def begin(self, opening: Opening) -> None:
        """Take on a run that has its row: from now on it is the agent's. ``keep`` lives through it."""
        if self.kept is None or self.kept.is_set():
            self.kept = trio.Event()
        world = self.world
        leavings = Leavings(world.home.runs / str(opening.ref.run_id))
        self.child = Child(opening, world.db, world.keeping, leavings, self.pulse)
        self.held, self.backoff_until = "", None
        if not self.wanted or self.closing:
            self.child.stop("told to stop before it began")
        self.pulse()

    def begin_backoff(self, delay: float) -> None:
        """Take on a wait of ``delay`` seconds that another supervisor began. ``keep`` sees it through."""
        self.kept = trio.Event()
        self.backoff_until = time.time() + delay
        self.pulse()

    async def keep(self, backoff: tuple[float, RunRef | None] | None = None) -> None:
        """Live through the run that was begun and all that follow it, until nothing follows.

        ``backoff``: what was begun is a wait of so many seconds instead, for a successor of that run.
        """
        assert self.kept is not None
        try:
            async with trio.open_nursery() as cleaning:
                if backoff is not None:
                    await self._after_backoff(*backoff)
                while self.child is not None:
                    await self._live(self.child, cleaning)
        finally:
            self.kept.set()
            self.pulse()

    async def _live(self, child: Child, cleaning: trio.Nursery) -> None:
        ending = await child.live()
        verdict = judge(ending)
        decision = self._decide(child, verdict)
        fresh = isinstance(decision, Again) and decision.fresh
        after = None if fresh else child.ref
        prepared = None
        if isinstance(decision, Again) and not decision.delay:
            prepared = await self._prepared(after)
        stderr = await trio.to_thread.run_sync(child.leavings.stderr_tail)
        if ending.unknown:
            await trio.to_thread.run_sync(end_marked, {self.world.home.mark(child.ref.run_id)})

        def close(tx: Tx) -> Opening | None:
            _close(tx, child, ending, verdict, stderr, child.leavings.stdout_tail)
            self.note(tx, decision)
            if isinstance(prepared, Prepared):
                return open_run(tx, prepared, self.world.home, self.originator, after)
            return None

        following = await self._store(close)
        self.become(child.ref, verdict, decision, following)
        cleaning.start_soon(self._clean_up, child)
        if following is None and isinstance(decision, Again):
            await self._after_backoff(decision.delay, after)

    async def _clean_up(self, child: Child) -> None:
        """Have the keeper forget a run whose end is stored, and delete its journal."""
        await self.world.keeping.forget(child.ref.run_id)
        await trio.to_thread.run_sync(child.leavings.forget_journal)

    def _decide(self, child: Child, verdict: Verdict) -> Decision:
        lived = trio.current_time() - child.ready_at if child.ready_at is not None else 0.0
        held = ""
        if child.facts.pause is not None:
            held = f"it died while it was paused ({child.facts.pause.reason}): resume it"
        elif child.is_to_pause:
            held = "it died before its next iteration, in which it was to pause: resume it"
        elif child.facts.in_turn and child.definition.on_interrupted == "hold":
            held = f"iteration {child.facts.iteration} was interrupted: look, then resume it"
        return decide(
            child.definition.restart,
            verdict,
            wanted=self.wanted and not self.closing,
            crashes=self.crashes,
            healthy=child.facts.healthy or lived >= self.world.limits.healthy_after,
            held=held,
            chance=random.random(),
            limits=self.world.limits,
        )

    def note(self, tx: Tx, decision: Decision) -> None:
        """Store what follows a run."""
        match decision:
            case Again():
                until = tx.now + decision.delay if decision.delay else None
                agents.set_backoff(tx, self.name, until, decision.crashes)
                agents.count_restart(tx, self.name)
            case Held():
                agents.set_backoff(tx, self.name, None, decision.crashes)
                agents.set_held(tx, self.name, decision.reason)
            case _:
                agents.set_backoff(tx, self.name, None, 0)
                if not self.closing and not self.restarting:
                    agents.set_wanted(tx, self.name, "down")

    def become(
        self, ref: RunRef, verdict: Verdict, decision: Decision, following: Opening | None = None
    ) -> None:
        """Be what was stored; no await lies between the end of a run and the beginning of the next."""
        self.child = None
        self.since = time.time()
        self.last = Last(verdict.state, verdict.reason, self.since, ref)
        self.crashes, self.held, self.backoff_until = 0, "", None
        match decision:
            case Again():
                self.crashes = decision.crashes
                self.restarts += 1
                self.backoff_until = self.since + decision.delay if decision.delay else None
            case Held():
                self.crashes, self.held = decision.crashes, decision.reason
            case _:
                self.wanted = False
        if following is not None:
            self.begin(following)
        self.pulse()

    async def _after_backoff(self, delay: float, after: RunRef | None) -> None:
        with trio.CancelScope() as self._wait:
            if self.wanted and not self.closing:
                await trio.sleep(delay)
        self._wait = None
        self.backoff_until = None
        if not self.wanted or self.closing:
            return
        prepared = await self._prepared(after)
        if prepared is not None:
            self.begin(
                await self._store(lambda tx: open_run(tx, prepared, self.world.home, self.originator, after))
            )

    async def _prepared(self, after: RunRef | None) -> Prepared | None:
        """Prepare a successor; one that cannot be becomes a failed run that says why."""
        try:
            return await trio.to_thread.run_sync(self.prepare)
        except (AgentdError, OSError) as error:
            await self.fail_to_start(after, f"it could not be started again: {error}")
            return None

    async def fail_to_start(self, after: RunRef | None, reason: str) -> None:
        """Record a run that failed before it began, and want the agent no more."""
        lineage = after.lineage if after else None
        before = after.run_id if after else None
        self.wanted = False

        def fail(tx: Tx) -> int:
            run_id = runs.open_run(
                tx,
                agent=self.name,
                lineage=lineage,
                predecessor=before,
                template=str(self.own.get("template", self.name)),
                template_digest="",
                adapter=str(self.own.get("adapter", "")),
                originator=self.originator,
                settings={},
            )
            runs.close_run(tx, run_id, Life.FAILED.value, reason)
            agents.set_wanted(tx, self.name, "down")
            return run_id

        run_id = await self._store(fail)
        self.since = time.time()
        self.last = Last(Life.FAILED, reason, self.since, RunRef(run_id, self.name, lineage or run_id))
        self.pulse()

    @property
    def between_runs(self) -> bool:
        """Whether a run is over and another may follow."""
        return self.child is None and self.kept is not None and not self.kept.is_set()

    async def leave_backoff(self) -> None:
        """Where a run is over and another may follow, see to it that none does; returns once that is certain."""
        if self.between_runs:
            assert self.kept is not None
            self.wanted = False
            if self._wait is not None:
                self._wait.cancel()
            await self.kept.wait()

    async def _store(self, work: Callable[[Tx], T]) -> T:
        return await store(self.world.db, f"agent {self.name}", work)


def _close(tx: Tx, child: Child, ending: Ending, verdict: Verdict, stderr: str, stdout: str) -> None:
    runs.close_run(
        tx,
        child.ref.run_id,
        verdict.state.value,
        verdict.reason,
        exit_reason=ending.said,
        exit_code=ending.code,
        exit_signal=ending.signal,
        stderr_tail=stderr,
        stdout_tail=stdout,
    )
