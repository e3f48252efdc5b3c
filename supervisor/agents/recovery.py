"""What a supervisor does with what the last one left.

It ends what still runs, reads what was said, records how each run ended (``lost``, where it did not end by itself),
and starts what is wanted. All that happens behind the listening socket: callers see the agents at once, and verbs
that change them wait until it is done.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterable, Mapping
from typing import Any

import trio

from supervisor.agents.agent import Agent, Last, World
from supervisor.agents.facts import Facts
from supervisor.agents.keeper import KeeperExit, Kept
from supervisor.agents.leavings import Leavings, frames_after
from supervisor.agents.leftovers import end_marked
from supervisor.agents.lifecycle import Ending, Life, Verdict, judge
from supervisor.agents.opening import open_run
from supervisor.agents.pool import Pool
from supervisor.agents.restart import Again, Decision, Held, decide
from supervisor.errors import AgentdError
from supervisor.records import agents, runs
from supervisor.records.frames import RunRef, apply_frames
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
        agent.caps = row["caps"] or {}
        pool.agents[name] = agent
    for name, row in (await pool.world.db.read(runs.last_runs)).items():
        if (agent_of := pool.agents.get(name)) is not None and row["ended_at"] is not None:
            ref = RunRef(row["run_id"], name, row["lineage"])
            agent_of.last = Last(Life(row["state"]), row["reason"] or "", row["ended_at"], ref)
            agent_of.since = row["ended_at"]


async def recover(pool: Pool) -> None:
    """End and close what the last supervisor left, then start every agent that is wanted."""
    world = pool.world
    unfinished = await world.db.read(runs.unfinished_runs)
    kept = await world.keeping.leftovers()
    await _end_kept(world, [run.run_id for run in kept if run.exit is None])
    held = {run.run_id for run in kept}
    strangers = [row for row in unfinished if row["run_id"] not in held]
    if strangers:
        marks = {f"{world.home.identity}:{row['run_id']}" for row in strangers}
        known = {row["pid"]: row["start_time"] for row in strangers if row["pid"]}
        await trio.to_thread.run_sync(end_marked, marks, known)
    exits = {run.run_id: run for run in kept}
    ends = {row["agent"]: await _close(pool, row, exits.get(row["run_id"])) for row in unfinished}
    for run in kept:
        await world.keeping.forget(run.run_id)
    async with trio.open_nursery() as nursery:
        for agent in list(pool.agents.values()):
            if agent.wanted and not agent.held and agent.child is None:
                nursery.start_soon(_start, pool, agent, ends.get(agent.name))


async def _end_kept(world: World, run_ids: Iterable[int]) -> None:
    """End the runners that the keeper holds, all at once, and so that their iterations count as interrupted."""
    async with trio.open_nursery() as nursery:
        for run_id in run_ids:
            nursery.start_soon(_end_one, world, run_id)


async def _end_one(world: World, run_id: int) -> None:
    ended = trio.Event()

    def tell(_: KeeperExit) -> None:
        ended.set()

    world.keeping.expect(run_id, tell)
    while not ended.is_set():
        await world.keeping.signal(run_id, signal.SIGKILL, group=True)
        with trio.move_on_after(KILL_AGAIN):
            await ended.wait()
    world.keeping.unexpect(run_id)


async def _close(pool: Pool, row: dict[str, Any], kept: Kept | None) -> Verdict:
    """Store what a run still had in its journal, and how it ended."""
    world, run_id = pool.world, row["run_id"]
    ref = RunRef(run_id, row["agent"], row["lineage"])
    leavings = Leavings(world.home.runs / str(run_id))
    facts = Facts(Life(row["state"]), time.time())
    seq = row["last_seq"]
    try:
        while batch := await trio.to_thread.run_sync(frames_after, leavings.folder, seq):
            applied = await world.db.write(lambda tx, batch=batch: apply_frames(tx, ref, batch))  # type: ignore[misc]
            facts = facts.after(batch, time.time())
            if applied.fault is not None or applied.last_seq == seq:
                break
            seq = applied.last_seq
    except OSError as error:
        log.warning("run %s: its journal cannot be read to the end: %s", run_id, error)
    said = facts.said or row["exit_reason"]
    learnt = kept.exit if kept is not None else None
    ending = Ending(
        code=learnt.code if learnt else None,
        signal=learnt.signal if learnt else None,
        said=said,
        detail=facts.detail,
        stop_asked=row["state"] == Life.STOPPING.value,
        why_stopped=row["reason"] or "",
    )
    by_itself = learnt is not None or said is not None
    verdict = judge(ending) if by_itself else Verdict(Life.LOST, REASON, counted=False)
    stderr = await trio.to_thread.run_sync(leavings.stderr_tail)
    await world.db.write(
        lambda tx: runs.close_run(
            tx,
            run_id,
            verdict.state.value,
            verdict.reason,
            stderr_tail=stderr,
            exit_reason=said,
            exit_code=ending.code,
            exit_signal=ending.signal,
        )
    )
    await trio.to_thread.run_sync(leavings.forget_journal)
    if (agent := pool.agents.get(ref.agent)) is not None:
        agent.last = Last(verdict.state, verdict.reason, time.time(), ref)
        agent.since = time.time()
    return verdict


async def _start(pool: Pool, agent: Agent, ended: Verdict | None) -> None:
    """Start a wanted agent; ``ended``: how the run ended that was closed just now, which then decides."""
    async with pool.alone(agent.name):
        if not agent.wanted or agent.child is not None:
            return
        after = agent.last.ref if ended is not None and agent.last is not None else None
        try:
            prepared = await trio.to_thread.run_sync(agent.prepare)
        except (AgentdError, OSError) as error:
            await agent.fail_to_start(after, f"it could not be started: {error}")
            return
        if ended is not None:
            definition = prepared.resolved.definition
            match _follows(pool, agent, definition.restart, ended):
                case Again() as again:
                    after = None if again.fresh else after
                    agent.crashes = again.crashes
                case Held(reason):
                    await pool.world.db.write(lambda tx: agents.set_held(tx, agent.name, reason))
                    agent.held = reason
                    return
                case _:
                    await pool.world.db.write(lambda tx: agents.set_wanted(tx, agent.name, "down"))
                    agent.wanted = False
                    return
        opening = await pool.world.db.write(
            lambda tx: open_run(tx, prepared, pool.world.home, agent.originator, after)
        )
        crashes = agent.crashes
        pool.keep(agent, opening)
        agent.crashes = crashes


def _follows(pool: Pool, agent: Agent, policy: str, ended: Verdict) -> Decision:
    return decide(
        policy,
        ended,
        wanted=True,
        crashes=agent.crashes,
        healthy=False,
        chance=0.0,
        limits=pool.world.limits,
    )
