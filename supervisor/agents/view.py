"""Agents as they are shown: rows of plain values, and waiting for what they become."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import trio

from supervisor.agents.agent import Agent
from supervisor.agents.lifecycle import TERMINAL, Life
from supervisor.agents.pool import READY, Pool
from supervisor.errors import NotRunning
from supervisor.money import ledger
from supervisor.records import runs

UNREAD_FOR = 5.0
"""Seconds after which a runner that does not read what it is told is shown as unresponsive."""


def midnight(now: float) -> float:
    """The beginning of the day that ``now`` is in, in the local time zone; wall time."""
    day = time.localtime(now)
    return time.mktime((day.tm_year, day.tm_mon, day.tm_mday, 0, 0, 0, 0, 0, -1))


async def rows(pool: Pool) -> list[dict[str, Any]]:
    """One row an agent, by name."""
    since = midnight(time.time())
    spent = await pool.world.db.read(lambda conn: ledger.totals_since(conn, since))
    return [row(agent, spent) for _, agent in sorted(pool.agents.items())]


def row(agent: Agent, spent: Mapping[str, ledger.Totals]) -> dict[str, Any]:
    """What there is to say of one agent; times are wall times in seconds."""
    child, last = agent.child, agent.last
    facts = child.facts if child else None
    today = spent.get(agent.name)
    pause = facts.pause if facts else None
    return {
        "name": agent.name,
        "state": agent.state,
        "since": facts.since if facts else agent.since,
        "run_id": child.ref.run_id if child else last.ref.run_id if last else None,
        "iteration": facts.iteration if facts else None,
        "attempt": facts.attempt if facts else None,
        "activity": facts.activity if facts else "",
        "waiting_for": agent.originator if facts and facts.life is Life.WAITING else None,
        "restarts": agent.restarts,
        "tokens_today": today.tokens if today else 0,
        "cost_today": today.cost_usd if today else 0.0,
        "cost_unknown": today.cost_unknown if today else False,
        "wanted": "up" if agent.wanted else "down",
        "origin": agent.origin,
        "originator": agent.originator,
        "template": agent.own.get("template", agent.name),
        "adapter": child.definition.adapter if child else agent.own.get("adapter"),
        "folder": child.definition.cwd if child else agent.own.get("cwd"),
        "flags": _flags(agent),
        "reason": agent.held or (last.reason if last and not child else ""),
        "last_state": last.state.value if last else None,
        "backoff_until": agent.backoff_until,
        "pause": {"kind": pause.kind, "reason": pause.reason, "resume_at": pause.resume_at}
        if pause
        else None,
        "pid": child.pid if child else None,
        "stray_lines": child.leavings.strays if child else 0,
    }


def _flags(agent: Agent) -> list[str]:
    child = agent.child
    if child is None:
        return []
    flags = ["stalled"] if child.stalled else []
    if child.line.unread is not None and trio.current_time() - child.line.unread > UNREAD_FOR:
        flags.append("unresponsive")
    return flags


async def wait(
    pool: Pool, *, name: str | None = None, run_id: int | None = None, until: str, timeout_s: float
) -> dict[str, Any]:
    """Wait until a run is ready or has ended; never stops the work.

    ``until`` is ``ready`` or ``end``. The answer's ``status`` is ``ok``, ``error`` or ``timeout``.

    Raises:
        NoSuchAgent, NoSuchRun: there is none.
        NotRunning: the agent has never run.
    """
    if run_id is None:
        agent = pool.get(name or "")
        if agent.child is not None:
            run_id = agent.child.ref.run_id
        elif agent.last is not None:
            run_id = agent.last.ref.run_id
        else:
            raise NotRunning(f"agent {agent.name} has not run yet")
    ready = False
    with trio.move_on_after(timeout_s):
        while not ready and (agent_of := pool.by_run(run_id)) is not None:
            assert agent_of.child is not None
            # What was ready once was ready, however soon it ends: the row may tell of that already.
            ready = until == "ready" and agent_of.child.facts.life in READY
            if not ready:
                await agent_of.changed.wait()
    found = await pool.world.db.read(lambda conn: runs.get_run(conn, run_id))
    state = Life(found["state"])
    reached = state in TERMINAL or ready
    good = state is Life.SUCCEEDED or (ready and state not in TERMINAL)
    return {
        "status": "timeout" if not reached else "ok" if good else "error",
        "agent": found["agent"],
        "run_id": run_id,
        "state": state.value,
        "started_at": found["started_at"],
        "ended_at": found["ended_at"],
        "error": None if good else found["reason"],
    }
