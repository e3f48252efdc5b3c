"""What a supervisor does with what the last one left.

It ends what still runs, reads what was said, records how each run ended (``lost``, where it did not end by itself),
and starts what is wanted. All that happens behind the listening socket: callers see the agents at once, and verbs
that change them wait until it is done.
"""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from supervisor.agents.agent import Agent, Last, World
from supervisor.agents.facts import Facts
from supervisor.agents.keeper import KeeperExit
from supervisor.agents.leavings import Leavings, exit_record, frames_after
from supervisor.agents.leftovers import end_marked
from supervisor.agents.lifecycle import Ending, Life, Verdict, judge
from supervisor.agents.opening import Opening, open_run
from supervisor.agents.pool import Pool
from supervisor.agents.restart import Again, Decision, decide
from supervisor.agents.storing import store
from supervisor.errors import AgentdError
from supervisor.records import agents, runs
from supervisor.records.commands import pause_is_pending
from supervisor.records.frames import RunRef, apply_frames
from supervisor.records.iterations import running_iterations
from supervisor.records.transaction import Tx
from supervisor.settings.definition import without_secrets

KILL_AGAIN = 3.0
"""Seconds after which KILL is sent once more to what is still there."""

REASON = "agentd was restarted while it ran, and ended it"

log = logging.getLogger("agentd.recovery")


async def load(pool: Pool, defined: Mapping[str, Mapping[str, Any]], administrator: str) -> None:
    """Fill ``pool`` with the agents that are stored and those that a file has defined, started or not."""

    def work(tx: Tx) -> list[dict[str, Any]]:
        known = {row["name"]: row for row in agents.all_agents(tx.conn)}
        for name, row in known.items():
            if row["origin"] == "file" and name not in defined:
                agents.remove_agent(tx, name)
        for name, own in defined.items():
            before = known.get(name)
            wanted = before["wanted"] if before else "up" if own.get("autostart", True) else "down"
            agents.put_agent(
                tx, name, without_secrets(own), origin="file", originator=administrator, wanted=wanted
            )
        return agents.all_agents(tx.conn)

    for row in await pool.world.db.write(work):
        name = row["name"]
        own = dict(defined.get(name) or row["definition"])
        agent = Agent(name, pool.world, own, row["origin"], row["originator"])
        agent.wanted = row["wanted"] == "up"
        agent.held = row["held"] or ""
        agent.crashes, agent.restarts = row["crash_count"], row["restarts"]
        agent.caps, agent.backoff_until = row["caps"] or {}, row["backoff_until"]
        pool.agents[name] = agent
    for row in await pool.world.db.read(runs.unfinished_runs):
        pool.former.update([row["pid"]] if row["pid"] else [])
    for name, row in (await pool.world.db.read(runs.last_runs)).items():
        if (agent_of := pool.agents.get(name)) is not None and row["ended_at"] is not None:
            ref = RunRef(row["run_id"], name, row["lineage"])
            agent_of.last = Last(Life(row["state"]), row["reason"] or "", row["ended_at"], ref)
            agent_of.since = row["ended_at"]


async def recover(pool: Pool) -> None:
    """End and close what the last supervisor left, then start every agent that is wanted.

    It may be called again after it has failed.

    Raises:
        KeeperFailed, StorageFailed: something of it could not be done.
    """
    world = pool.world
    ours = {agent.child.ref.run_id for agent in pool.running() if agent.child is not None}
    unfinished = [row for row in await world.db.read(runs.unfinished_runs) if row["run_id"] not in ours]
    kept = {run.run_id: run for run in await world.keeping.leftovers() if run.run_id not in ours}
    ended = {run_id: run.exit for run_id, run in kept.items() if run.exit is not None}
    await _end_kept(world, kept.keys() - ended.keys())
    told = {run.run_id for run in await world.keeping.leftovers()}
    strangers = [row for row in unfinished if row["run_id"] not in told]
    if strangers:
        marks = {world.home.mark(row["run_id"]) for row in strangers}
        boot = world.keeping.boot_id
        known = {row["pid"]: row["start_time"] for row in strangers if row["pid"] and row["boot_id"] == boot}
        await trio.to_thread.run_sync(end_marked, marks, known)
    closed: dict[str, Closed] = {}
    for row in unfinished:
        closed[row["agent"]] = await _close(world, row, ended.get(row["run_id"]))
    for run_id in kept:
        await world.keeping.forget(run_id)
    pool.former.clear()
    async with trio.open_nursery() as nursery:
        for agent in list(pool.agents.values()):
            nursery.start_soon(_go_on, pool, agent, closed.get(agent.name))


@contextmanager
def _one_agent_alone(name: str) -> Iterator[None]:
    """What goes wrong with one agent is told, and is not another's."""
    try:
        yield
    except Exception:
        log.exception("agent %s could not be taken over", name)


async def _end_kept(world: World, run_ids: Collection[int]) -> None:
    """Kill the runners that the keeper holds, all at once: so their iterations count as interrupted.

    A keeper that dies meanwhile takes what it knew with it; what the next one does not hold is not ours to wait for.
    """
    gone = {run_id: trio.Event() for run_id in run_ids}
    for run_id, event in gone.items():
        world.keeping.expect(run_id, lambda _, event=event: event.set())  # type: ignore[misc]
    while left := {run.run_id for run in await world.keeping.leftovers() if run.exit is None} & gone.keys():
        for run_id in left:
            await world.keeping.signal(run_id, signal.SIGKILL, group=True)
        with trio.move_on_after(KILL_AGAIN):
            for run_id in left:
                await gone[run_id].wait()
    for run_id in gone:
        world.keeping.unexpect(run_id)


@dataclass(frozen=True, slots=True)
class Closed:
    """How a run ended that the last supervisor had left; ``paused``: why it was; ``interrupted``: in which turn."""

    ref: RunRef
    verdict: Verdict
    paused: str | None
    interrupted: int | None
    stopping: bool
    """It was being stopped."""
    settings: Mapping[str, Any]
    """Those that the run had, without secrets."""


async def _close(world: World, row: dict[str, Any], learnt: KeeperExit | None) -> Closed:
    """Store what a run still had in its journal, and how it ended. ``learnt``: it ended by itself."""
    run_id = row["run_id"]
    ref = RunRef(run_id, row["agent"], row["lineage"])
    leavings = Leavings(world.home.runs / str(run_id))
    facts = await _read_journal(world, ref, leavings, Facts(Life(row["state"]), time.time()), row["last_seq"])
    now = await world.db.read(lambda conn: runs.get_run(conn, run_id))
    running = await world.db.read(lambda conn: running_iterations(conn, run_id))
    code, number = (learnt.code, learnt.signal) if learnt else exit_record(leavings.folder) or (None, None)
    ending = Ending(
        code=code,
        signal=number,
        said=facts.said or now["exit_reason"],
        detail=facts.detail,
        stop_asked=row["state"] == Life.STOPPING.value,
        why_stopped=row["reason"] or "",
    )
    by_itself = learnt is not None or ending.said is not None
    verdict = judge(ending) if by_itself else Verdict(Life.LOST, REASON, counted=False)
    stderr = await trio.to_thread.run_sync(leavings.stderr_tail)

    def close(tx: Tx) -> None:
        state, reason = verdict.state.value, verdict.reason
        said = {"exit_reason": ending.said, "exit_code": code, "exit_signal": number, "stderr_tail": stderr}
        runs.close_run(tx, run_id, state, reason, **said)

    await store(world.db, f"run {run_id}", close)
    await trio.to_thread.run_sync(leavings.forget_journal)
    interrupted = max((iteration for iteration, _ in running), default=None)
    paused = now["pause_reason"] if now["pause_kind"] else None
    if paused is None and await world.db.read(lambda conn: pause_is_pending(conn, run_id)):
        paused = "before its next iteration"
    return Closed(ref, verdict, paused, interrupted, ending.stop_asked, row["settings"])


async def _read_journal(world: World, ref: RunRef, leavings: Leavings, facts: Facts, seq: int) -> Facts:
    try:
        while batch := await trio.to_thread.run_sync(frames_after, leavings.folder, seq):
            work = partial(apply_frames, run=ref, frames=batch)
            applied = await store(world.db, f"run {ref.run_id}", work)
            facts = facts.after(batch, time.time())
            if applied.fault is not None or applied.last_seq == seq:
                break
            seq = applied.last_seq
    except OSError as error:
        log.warning("run %s: its journal cannot be read to the end: %s", ref.run_id, error)
    return facts


async def _go_on(pool: Pool, agent: Agent, closed: Closed | None) -> None:
    """Let an agent go on as its last run and its policy say; one that is not wanted stays as it is."""
    with _one_agent_alone(agent.name):
        async with pool.alone(agent.name):
            if agent.child is not None:
                return
            if closed is not None:
                agent.last = Last(closed.verdict.state, closed.verdict.reason, time.time(), closed.ref)
                agent.since = time.time()
            if agent.wanted and not agent.held:
                await _start(pool, agent, closed)
            else:
                agent.backoff_until = None


async def _start(pool: Pool, agent: Agent, closed: Closed | None) -> None:
    last = agent.last.ref if agent.last is not None else None
    if closed is None and agent.backoff_until is not None:
        pool.keep_after(agent, max(0.0, agent.backoff_until - time.time()), last)
        return
    decision = _follows(pool, agent, closed) if closed is not None else Again(0.0, 0, fresh=True)
    after = None if closed is None or (isinstance(decision, Again) and decision.fresh) else closed.ref
    prepared = None
    if isinstance(decision, Again) and not decision.delay:
        try:
            prepared = await trio.to_thread.run_sync(agent.prepare)
        except (AgentdError, OSError) as error:
            await agent.fail_to_start(after, f"it could not be started: {error}")
            return
    home, whose, db = pool.world.home, f"agent {agent.name}", pool.world.db

    def go_on(tx: Tx) -> Opening | None:
        if closed is not None:
            agent.note(tx, decision)
        return open_run(tx, prepared, home, agent.originator, after) if prepared is not None else None

    opening = await store(db, whose, go_on)
    if closed is not None:
        agent.become(closed.ref, closed.verdict, decision)
    if opening is not None:
        pool.keep(agent, opening)
    elif isinstance(decision, Again):
        pool.keep_after(agent, decision.delay, after)


def _follows(pool: Pool, agent: Agent, closed: Closed) -> Decision:
    """What follows a run of a wanted agent, by the settings that the run had."""
    if closed.stopping or closed.verdict.state is Life.STOPPED:
        # Whoever stops an agent wants it no more. It was agentd that was shut down, or the agent that was restarted.
        return Again(0.0, 0, fresh=True)
    held = ""
    if closed.paused is not None:
        held = f"it was paused when agentd ended ({closed.paused}): resume it"
    elif closed.interrupted is not None and closed.settings.get("on_interrupted") == "hold":
        held = f"iteration {closed.interrupted} was interrupted: look, then resume it"
    return decide(
        str(closed.settings.get("restart", "on-crash")),
        closed.verdict,
        wanted=True,
        crashes=agent.crashes,
        healthy=False,
        held=held,
        chance=random.random(),
        limits=pool.world.limits,
    )
