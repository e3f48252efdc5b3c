"""What a runner says, applied to the tables: in one pass, in one transaction, each numbered frame once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipc.errors import RemoteError
from ipc.frames import (
    PROTOCOL,
    Exit,
    IterationDone,
    IterationStart,
    Log,
    Notify,
    PausedBudget,
    PermissionApplied,
    PermissionRequest,
    PermissionWithdrawn,
    Ready,
    Resumed,
    RunnerFrame,
    StrayLine,
    UnknownFrame,
    Usage,
)
from supervisor.errors import NoSuchRun
from supervisor.records import questions, spending
from supervisor.records.iterations import highest_iteration, running_iterations, was_begun
from supervisor.records.rows import one
from supervisor.records.sessions import put_session
from supervisor.records.transaction import Draft, Tx
from supervisor.records.values import amount, count, to_text

HIGHEST = 2**53
"""Iterations and attempts are numbered below this."""

Heard = RunnerFrame | UnknownFrame | StrayLine
"""What may come from a runner."""


@dataclass(frozen=True, slots=True)
class RunRef:
    """Whose frames they are."""

    run_id: int
    agent: str
    lineage: int


@dataclass(slots=True)
class Applied:
    """What some frames changed; everything is stored once the transaction is."""

    last_seq: int
    """The highest number applied so far: what may be acknowledged."""
    fresh: int = 0
    """Frames that had not been seen before."""
    ready: Ready | None = None
    begun: tuple[int, int] | None = None
    """(iteration, attempt) begun last in these frames."""
    finished: list[IterationDone] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    """Numbers of the permissions that are newly open."""
    settled: list[int] = field(default_factory=list)
    """Numbers of the permissions that were handed over or withdrawn."""
    paused: PausedBudget | None = None
    """The pause that has begun and still goes on."""
    resumed: bool = False
    """A pause is over, and no other has begun."""
    exit: Exit | None = None
    fault: RemoteError | None = None
    """The frame after the last applied one contradicts what the runner said before; nothing behind it was looked at."""


def apply_frames(tx: Tx, run: RunRef, frames: Sequence[Heard]) -> Applied:
    """Store the effect of ``frames``, in order, and return what they changed.

    A frame whose ``seq`` was applied before changes nothing, and neither does any frame once the run has ended.
    What came before a frame that is a fault of the runner is stored; ``fault`` is to end the run. Raises `NoSuchRun`.
    """
    row = one(
        tx.conn,
        """SELECT last_seq, protocol, ended_at, adapter, iteration, iterations, pause_kind,
            stalled_since FROM agent_runs
        WHERE run_id = ?""",
        (run.run_id,),
    )
    if row is None:
        raise NoSuchRun(f"there is no run {run.run_id}")
    if row["ended_at"] is not None:
        return Applied(row["last_seq"])
    applying = _Applying(tx, run, row)
    applied = applying.applied
    last = applied.last_seq
    for frame in frames:
        seq = _seq(frame)
        if seq is not None and seq <= last:
            continue
        handler = _HANDLERS.get(type(frame))
        if handler is not None:
            try:
                handler(applying, frame)
            except RemoteError as fault:
                applied.fault = fault
                break
        applied.fresh += 1
        if seq is not None:
            last = seq
    applied.last_seq = last
    if applied.fresh and row["stalled_since"] is not None:
        applying.changes["stalled_since"] = None
        applying.emit("run.stirred", {})
    applying.store()
    return applied


def _seq(frame: Heard) -> int | None:
    if isinstance(frame, UnknownFrame):
        seq = frame.raw.get("seq")
        return seq if type(seq) is int else None
    return getattr(frame, "seq", None)


class _Applying:
    """One pass over some frames: events in order as they come, rows of one table together at the end."""

    def __init__(self, tx: Tx, run: RunRef, row: dict[str, Any]) -> None:
        self.tx = tx
        self.run = run
        self.applied = Applied(row["last_seq"])
        self.plain = not row["protocol"]
        self.adapter: str = row["adapter"]
        self.paused = row["pause_kind"] is not None
        self.iterations: int = row["iterations"]
        self.before = row
        self.changes: dict[str, Any] = {}
        self.running = running_iterations(tx.conn, run.run_id)
        self.highest = highest_iteration(tx.conn, run.run_id)
        self.begun: dict[tuple[int, int], list[Any]] = {}
        self.ended: list[tuple[Any, ...]] = []
        self.usage: dict[spending.Key, spending.Spent] = {}
        self.totals: dict[tuple[int, int], spending.Spent] = {}
        self.session: str | None = None

    def emit(self, kind: str, data: dict[str, Any]) -> None:
        self.tx.drafts.append(Draft(kind, self.run.agent, self.run.run_id, data))

    # One method for each op

    def log(self, frame: Log) -> None:
        self.emit("log", {"level": frame.level, "msg": frame.msg})

    def notify(self, frame: Notify) -> None:
        self.emit("notify", {"text": frame.text, "bridge": frame.bridge})

    def ready(self, frame: Ready) -> None:
        self.applied.ready = frame
        self.plain = frame.protocol < PROTOCOL
        self.changes |= {"protocol": 0 if self.plain else PROTOCOL, "ready_at": self.tx.now}
        self.emit("runner.ready", {"protocol": self.changes["protocol"]})

    def iteration_start(self, frame: IterationStart) -> None:
        self._going_on()
        key = self._numbers(frame)
        if self._was_begun(key):
            if self.plain:
                return
            field = "iteration_start.iteration"
            raise RemoteError(f"{field} {key[0]} (attempt {key[1]}) was begun before", field=field)
        self._begin(key, self.tx.now)
        self.emit("iteration.started", {"iteration": key[0], "attempt": key[1]})
        if frame.messages:
            self.tx.conn.executemany(
                "UPDATE commands SET iteration = ? WHERE run_id = ? AND cmd = ? AND op = 'message'",
                ((key[0], self.run.run_id, cmd) for cmd in frame.messages),
            )

    def usage_total(self, frame: Usage) -> None:
        if not self.plain and self._numbers(frame) not in self.running:
            raise RemoteError(f"usage.iteration {frame.iteration} does not run", field="usage.iteration")
        key, found = spending.spent(frame)
        self.usage[key] = spending.highest(self.usage.get(key, found), found)
        tokens_in, tokens_out, cache_read, cache_write, cost = found
        self.emit(
            "usage",
            {
                "iteration": frame.iteration,
                "attempt": frame.attempt,
                "model": frame.model,
                "tokens_in": tokens_in,
                "tokens_out": tokens_out,
                "cache_read_tokens": cache_read,
                "cache_write_tokens": cache_write,
                "cost_usd": cost,
            },
        )

    def iteration_done(self, frame: IterationDone) -> None:
        self._going_on()
        key = self._numbers(frame)
        duration, cost = amount(frame.duration_s), amount(frame.cost_usd)
        if key not in self.running:
            if not self.plain:
                field = "iteration_done.iteration"
                raise RemoteError(f"{field} {key[0]} (attempt {key[1]}) was never begun", field=field)
            if self._was_begun(key):
                return
            self._begin(key, self.tx.now - (duration or 0.0))
        tokens = (
            count(frame.tokens_in),
            count(frame.tokens_out),
            count(frame.cache_read_tokens),
            count(frame.cache_write_tokens),
        )
        end = [
            frame.status,
            self.tx.now,
            duration,
            to_text(frame.summary),
            *tokens,
            cost,
            None if frame.error is None else to_text(frame.error),
            None if frame.session is None else to_text(frame.session),
        ]
        self.running.remove(key)
        started = self.begun.get(key)
        if started is None:
            self.ended.append((*end, self.run.run_id, *key))
        else:
            started[3:] = [end[0], started[4], *end[1:]]
        if cost != 0.0 or any(tokens):
            self.totals[key] = (*tokens, cost)
        if frame.session is not None:
            self.session = frame.session
        self.iterations += 1
        self.applied.finished.append(frame)
        self.emit(
            "iteration.done",
            {
                "iteration": key[0],
                "attempt": key[1],
                "status": frame.status,
                "duration_s": duration,
                "summary": frame.summary,
                "tokens_in": tokens[0],
                "tokens_out": tokens[1],
                "cost_usd": cost,
                "error": frame.error,
            },
        )

    def permission_request(self, frame: PermissionRequest) -> None:
        self._going_on()
        asked = questions.ask(self.tx, self.run.run_id, self.run.agent, frame)
        if asked is not None:
            self.applied.asked.append(asked)

    def permission_applied(self, frame: PermissionApplied) -> None:
        self._settled(questions.apply(self.tx, self.run.run_id, self.run.agent, frame))

    def permission_withdrawn(self, frame: PermissionWithdrawn) -> None:
        self._settled(questions.withdraw(self.tx, self.run.run_id, self.run.agent, frame))

    def paused_budget(self, frame: PausedBudget) -> None:
        self.paused, self.applied.paused, self.applied.resumed = True, frame, False
        resume_at = amount(frame.resume_at)
        self.changes |= {
            "pause_kind": frame.kind,
            "pause_reason": to_text(frame.reason),
            "pause_seq": frame.seq,
            "resume_at": resume_at,
        }
        self.emit("pause.began", {"kind": frame.kind, "reason": frame.reason, "resume_at": resume_at})

    def resumed(self, frame: Resumed | None = None) -> None:
        self.paused, self.applied.paused, self.applied.resumed = False, None, True
        self.changes |= dict.fromkeys(("pause_kind", "pause_reason", "pause_seq", "resume_at"))
        self.emit("pause.ended", {})

    def exit(self, frame: Exit) -> None:
        self._going_on(resumes=False)
        self.applied.exit = frame
        self.changes["exit_reason"] = frame.reason
        self.emit("runner.exit", {"reason": frame.reason, "iterations": frame.iterations})

    # What they share

    def _going_on(self, *, resumes: bool = True) -> None:
        """A plain runner that goes on has handed over what was decided, and its pause is over."""
        if self.plain:
            self.applied.settled += questions.apply_decided(self.tx, self.run.run_id, self.run.agent)
            if resumes and self.paused:
                self.resumed()

    def _settled(self, permission_id: int | None) -> None:
        if permission_id is not None:
            self.applied.settled.append(permission_id)

    def _numbers(self, frame: IterationStart | IterationDone | Usage) -> tuple[int, int]:
        for name, number in (("iteration", frame.iteration), ("attempt", frame.attempt)):
            if not 0 <= number < HIGHEST:
                raise RemoteError(f"{frame.op}.{name} is {number}", field=f"{frame.op}.{name}")
        return frame.iteration, frame.attempt

    def _was_begun(self, key: tuple[int, int]) -> bool:
        if key in self.begun or key in self.running:
            return True
        return key[0] <= self.highest and was_begun(self.tx.conn, self.run.run_id, *key)

    def _begin(self, key: tuple[int, int], at: float) -> None:
        self.begun[key] = [self.run.run_id, *key, "running", at, *[None] * 10]
        self.running.add(key)
        self.applied.begun = key
        self.highest = max(self.highest, key[0])
        self.changes["iteration"] = key[0]

    def store(self) -> None:
        """Write the rows that were gathered."""
        tx, run = self.tx, self.run
        if self.begun:
            marks = ", ".join("?" * 15)
            tx.conn.executemany(f"INSERT INTO iterations VALUES ({marks})", self.begun.values())
        if self.ended:
            tx.conn.executemany(
                """UPDATE iterations SET status = ?, ended_at = ?, duration_s = ?, summary = ?, tokens_in = ?,
                    tokens_out = ?, cache_read_tokens = ?, cache_write_tokens = ?, cost_usd = ?, error = ?, session = ?
                WHERE run_id = ? AND iteration = ? AND attempt = ? AND status = 'running'""",
                self.ended,
            )
        whole = {key: total for key, total in self.totals.items() if key in self.begun}
        usage = self.usage | spending.rests(whole, self.usage)
        if usage:
            spending.put_usage(tx, run.run_id, run.agent, run.lineage, usage.items())
        if len(whole) < len(self.totals):
            spending.settle(tx, run.run_id, run.agent, run.lineage, self.totals.keys() - whole.keys())
        if self.session is not None:
            put_session(tx, run.agent, self.adapter, self.session)
        changes = self.changes | {"last_seq": self.applied.last_seq, "iterations": self.iterations}
        changed = {
            name: value
            for name, value in changes.items()
            if name not in self.before or self.before[name] != value
        }
        if changed:
            what = ", ".join(f"{name} = :{name}" for name in changed)
            tx.conn.execute(
                f"UPDATE agent_runs SET {what} WHERE run_id = :run_id", changed | {"run_id": run.run_id}
            )


_HANDLERS: dict[type[Any], Callable[[_Applying, Any], None]] = {
    Log: _Applying.log,
    Notify: _Applying.notify,
    Ready: _Applying.ready,
    IterationStart: _Applying.iteration_start,
    Usage: _Applying.usage_total,
    IterationDone: _Applying.iteration_done,
    PermissionRequest: _Applying.permission_request,
    PermissionApplied: _Applying.permission_applied,
    PermissionWithdrawn: _Applying.permission_withdrawn,
    PausedBudget: _Applying.paused_budget,
    Resumed: _Applying.resumed,
    Exit: _Applying.exit,
}
"""By class of frame; what is not here leaves no row."""
