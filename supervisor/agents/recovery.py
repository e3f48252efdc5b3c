"""What a supervisor does with what the last one left.

It ends it, reads what it said, records it as lost, and starts what is wanted. All that happens behind the listening
socket: callers see the agents at once, and verbs that change them wait until it is done.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterable, Mapping
from typing import Any

import psutil
import trio

from ipc.identity import is_living
from supervisor.agents.agent import Agent, Last, World
from supervisor.agents.facts import Facts
from supervisor.agents.leavings import Leavings, frames_after
from supervisor.agents.lifecycle import Life, Verdict
from supervisor.agents.opening import open_run
from supervisor.agents.pool import Pool
from supervisor.agents.restart import Again, decide
from supervisor.errors import AgentdError
from supervisor.records import agents, runs
from supervisor.records.frames import RunRef, apply_frames
from supervisor.records.transaction import Tx
from supervisor.settings.definition import without_secrets

GRACE = 3.0
"""Seconds between TERM and KILL for what the last supervisor left."""

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
        agent = Agent(
            name, pool.world, dict(defined.get(name) or row["definition"]), row["origin"], row["originator"]
        )
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
    held = {run.run_id for run in kept}
    await _end_held(world, [run.run_id for run in kept if run.exit is None])
    strangers = [row for row in unfinished if row["run_id"] not in held]
    if strangers:
        await trio.to_thread.run_sync(_end_unheld, world.home.identity, strangers)
    for row in unfinished:
        await _close(pool, row)
    for run_id in held:
        await world.keeping.forget(run_id)
    pool.recovered.set()
    for agent in list(pool.agents.values()):
        if agent.wanted and not agent.held and agent.child is None:
            await _start(pool, agent)


async def _end_held(world: World, held: Iterable[int]) -> None:
    """End the runners that the keeper holds, all at once."""
    ends = {run_id: trio.Event() for run_id in held}
    for run_id, ended in ends.items():
        world.keeping.expect(run_id, lambda _, ended=ended: ended.set())  # type: ignore[misc]
    async with trio.open_nursery() as nursery:
        for run_id, ended in ends.items():
            nursery.start_soon(_end_one, world, run_id, ended)


async def _end_one(world: World, run_id: int, ended: trio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGCONT):
        if not ended.is_set():
            await world.keeping.signal(run_id, number, group=True)
    with trio.move_on_after(GRACE):
        await ended.wait()
    while not ended.is_set():
        await world.keeping.signal(run_id, signal.SIGKILL, group=True)
        with trio.move_on_after(GRACE):
            await ended.wait()
    world.keeping.unexpect(run_id)


def _end_unheld(identity: str, rows: list[dict[str, Any]]) -> None:
    """End what no keeper holds: runners by their identity, what they started by its mark. It blocks."""
    marks = {f"{identity}:{row['run_id']}" for row in rows}
    known = {row["pid"]: row["start_time"] for row in rows if row["pid"]}
    doomed = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            ours = process.pid in known and is_living(process.pid, known[process.pid])
            if ours or process.environ().get("AGENTD_RUN") in marks:
                process.kill()
                doomed.append(process)
        except (psutil.Error, ProcessLookupError):
            continue
    psutil.wait_procs(doomed, timeout=GRACE)


async def _close(pool: Pool, row: dict[str, Any]) -> None:
    """Store what a run still had in its journal and record it as lost."""
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
    stderr = await trio.to_thread.run_sync(leavings.stderr_tail)
    await world.db.write(
        lambda tx: runs.close_run(
            tx, run_id, Life.LOST.value, REASON, stderr_tail=stderr, exit_reason=facts.said
        )
    )
    await trio.to_thread.run_sync(leavings.forget_journal)
    if (agent := pool.agents.get(ref.agent)) is not None:
        agent.last = Last(Life.LOST, REASON, time.time(), ref)
        agent.since = time.time()


async def _start(pool: Pool, agent: Agent) -> None:
    """Start a wanted agent: in its lineage, if its last run was lost and its policy says so."""
    last = agent.last
    after = last.ref if last is not None and last.state is Life.LOST else None
    try:
        prepared = await trio.to_thread.run_sync(agent.prepare)
    except (AgentdError, OSError) as error:
        await agent.fail_to_start(after, f"it could not be started: {error}")
        return
    if after is not None:
        verdict = Verdict(Life.LOST, REASON, counted=False)
        policy = prepared.resolved.definition.restart
        limits = pool.world.limits
        follows = decide(policy, verdict, wanted=True, crashes=0, healthy=False, chance=0.0, limits=limits)
        if not isinstance(follows, Again):
            await pool.world.db.write(lambda tx: agents.set_wanted(tx, agent.name, "down"))
            agent.wanted = False
            return
    opening = await pool.world.db.write(
        lambda tx: open_run(tx, prepared, pool.world.home, agent.originator, after)
    )
    pool.keep(agent, opening)
