"""The handlers: each turns the checked parameters of one method into one call, and its outcome into a result."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import trio

from supervisor.agents import view
from supervisor.agents.opening import with_caps
from supervisor.agents.pool import Accepted
from supervisor.consent.permissions import list_permissions
from supervisor.errors import Invalid, NotPermitted
from supervisor.faces.service import Service
from supervisor.money.ledger import budget_table
from supervisor.principals import Principal, add_token, list_tokens, remove_token
from supervisor.records.agents import get_agent
from supervisor.records.events import Subscription, read_events
from supervisor.records.runs import list_runs, show_run

LIMIT = 1000
"""Rows that one answer holds at most."""

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One call: to whom, by whom, with parameters that fit the catalogue, defaults filled in."""

    service: Service
    principal: Principal
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Following:
    """A result that goes on: ``last`` is answered, the batches of ``events`` follow."""

    last: int
    events: Subscription


Handler = Callable[[Call], Awaitable[Result | Following]]

HANDLERS: dict[str, Handler] = {}
"""The handler of each method of the catalogue, but for ``session.authenticate``, which is the connection's own."""


def handles(method: str) -> Callable[[Handler], Handler]:
    """Register a handler."""

    def register(handler: Handler) -> Handler:
        HANDLERS[method] = handler
        return handler

    return register


async def check_owner(call: Call, name: str) -> None:
    """Raise `NotPermitted` unless the caller is an administrator or the agent's originator, if it exists."""
    if call.principal.admin:
        return
    row = await call.service.database.read(lambda conn: get_agent(conn, name))
    if row is not None and row["originator"] != call.principal.name:
        raise NotPermitted(
            f"{call.principal.name} did not start agent {name}",
            remedy=f"ask {row['originator']}, or an administrator",
        )


def accepted(what: Accepted) -> Result:
    """The result of a verb."""
    return {"agent": what.agent, "run_id": what.run_id, "accepted_at": what.accepted_at}


def own_settings(params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings that came with a start, or `None` if none did. Raises `Invalid` for one said twice."""
    own = {key: params[key] for key in ("template", "args", "cwd", "adapter") if params[key] is not None}
    settings = params["settings"] or {}
    for key in own.keys() & settings.keys():
        raise Invalid(f"settings.{key}: said twice", remedy=f"leave out settings.{key}")
    return {**settings, **own} or None


@handles("agent.start")
async def start(call: Call) -> Result:
    """Start an agent; the result comes before it is ready."""
    name = call.params["name"]
    await check_owner(call, name)
    own = own_settings(call.params)
    return accepted(await call.service.pool.start(name, own, originator=call.principal))


@handles("agent.stop")
async def stop(call: Call) -> Result:
    """Begin to stop an agent."""
    await check_owner(call, call.params["name"])
    return accepted(await call.service.pool.stop(call.params["name"], _reason(call)))


@handles("agent.restart")
async def restart(call: Call) -> Result:
    """Stop an agent if it runs, and start it."""
    name = call.params["name"]
    await check_owner(call, name)
    return accepted(await call.service.pool.restart(name, _reason(call), call.principal))


@handles("agent.pause")
async def pause(call: Call) -> Result:
    """Pause an agent before its next iteration."""
    await check_owner(call, call.params["name"])
    return accepted(await call.service.steering.pause(call.params["name"], _reason(call)))


@handles("agent.resume")
async def resume(call: Call) -> Result:
    """End an agent's pause."""
    await check_owner(call, call.params["name"])
    return accepted(await call.service.steering.resume(call.params["name"], call.params["budgets"]))


@handles("agent.cancel")
async def cancel(call: Call) -> Result:
    """End an agent's present iteration."""
    await check_owner(call, call.params["name"])
    return accepted(await call.service.steering.cancel(call.params["name"], _reason(call)))


@handles("agent.message")
async def message(call: Call) -> Result:
    """Hand an agent a word for its next turn."""
    await check_owner(call, call.params["name"])
    return accepted(await call.service.steering.message(call.params["name"], call.params["text"]))


@handles("agent.signal")
async def signal(call: Call) -> Result:
    """Send a signal to an agent's runner."""
    await check_owner(call, call.params["name"])
    return accepted(await call.service.steering.signal(call.params["name"], call.params["signal"]))


@handles("agent.wait")
async def wait(call: Call) -> Result:
    """Wait for a run; nothing is changed."""
    name, run_id = call.params["name"], call.params["run_id"]
    if (name is None) == (run_id is None):
        raise Invalid("agent.wait: wanted either name or run_id")
    return await view.wait(
        call.service.pool,
        name=name,
        run_id=run_id,
        until=call.params["until"],
        timeout_s=call.params["timeout_s"],
    )


@handles("agent.list")
async def list_agents(call: Call) -> Result:
    """The agents as they are now."""
    rows = await view.rows(call.service.pool)
    if call.params["long"]:
        from supervisor.faces.processes import sample

        used = await trio.to_thread.run_sync(sample, [row["pid"] for row in rows if row["pid"]])
        rows = [{**row, **used.get(row["pid"], {})} for row in rows]
    return {"agents": rows}


@handles("agent.add")
async def add(call: Call) -> Result:
    """Define an agent without starting it."""
    own = own_settings(call.params) or {}
    return accepted(await call.service.pool.add(call.params["name"], own, call.principal))


@handles("agent.remove")
async def remove(call: Call) -> Result:
    """Forget an agent; its history stays."""
    await check_owner(call, call.params["name"])
    return accepted(await call.service.pool.remove(call.params["name"]))


@handles("run.list")
async def runs(call: Call) -> Result:
    """Runs, newest first."""
    agent, before = call.params["agent"], call.params["before"]
    limit = min(call.params["limit"], LIMIT)
    return {"runs": await call.service.database.read(lambda conn: list_runs(conn, agent, limit, before))}


@handles("run.show")
async def run(call: Call) -> Result:
    """One run with all that belongs to it."""
    run_id = call.params["run_id"]
    return await call.service.database.read(lambda conn: show_run(conn, run_id))


@handles("permission.list")
async def permissions(call: Call) -> Result:
    """Questions in a state, oldest first."""
    state, agent = call.params["state"], call.params["agent"]
    wanted = None if state == "all" else state
    return {
        "permissions": await call.service.database.read(lambda conn: list_permissions(conn, wanted, agent))
    }


@handles("permission.answer")
async def answer(call: Call) -> Result:
    """Decide a question once."""
    decided = await call.service.steering.answer(
        call.params["id"],
        granted=call.params["granted"],
        principal=call.principal,
        reason=call.params["reason"],
    )
    return {
        "id": decided.permission_id,
        "agent": decided.agent,
        "state": "decided",
        "granted": decided.granted,
        "decided_by": decided.decided_by,
    }


@handles("budget.show")
async def show_budgets(call: Call) -> Result:
    """Caps, and what has been spent of them."""
    return {"budgets": await _budgets(call, call.params["agent"])}


@handles("budget.set")
async def set_budgets(call: Call) -> Result:
    """Give an agent new caps."""
    agent = call.params["agent"]
    await check_owner(call, agent)
    await call.service.steering.set_caps(agent, call.params["budgets"])
    return {"agent": agent, "budgets": await _budgets(call, agent)}


@handles("events.read")
async def events(call: Call) -> Result:
    """A page of events."""
    after, limit, agent = call.params["after"], min(call.params["limit"], LIMIT), call.params["agent"]
    last = call.service.events.last
    found = await call.service.database.read(lambda conn: read_events(conn, after, limit, agent))
    return {
        "events": [event._asdict() for event in found],
        "last": found[-1].id if found else last,
    }


@handles("events.follow")
async def follow(call: Call) -> Following:
    """What happens from now on, or since a number."""
    after, agent = call.params["after"], call.params["agent"]
    newest = call.service.events.last
    last = newest if after is None else min(after, newest)

    await trio.lowlevel.checkpoint()
    return Following(last, call.service.events.subscribe(last, agent))


@handles("system.status")
async def status(call: Call) -> Result:
    """The supervisor itself."""
    service = call.service
    rows = await view.rows(service.pool)
    return {
        "pid": os.getpid(),
        "version": service.version,
        "started_at": service.started_at,
        "now": time.time(),
        "home": service.home.identity,
        "agents": dict(Counter(row["state"] for row in rows)),
        "degraded": list(service.degraded()),
        "socket": str(service.home.socket),
        "database": str(service.home.db),
    }


@handles("system.check")
async def check(call: Call) -> Result:
    """What is wrong with a file of settings."""
    from supervisor.settings import toml

    home = call.service.home
    path = Path(call.params["path"] or home.config_file)
    return {"faults": await trio.to_thread.run_sync(toml.check, path, home)}


@handles("system.shutdown")
async def shutdown(call: Call) -> Result:
    """Stop everything; the answer comes first."""
    call.service.shut_down()
    await trio.lowlevel.checkpoint()
    return {}


@handles("token.add")
async def new_token(call: Call) -> Result:
    """Make a token and say it this once."""
    name, principal = call.params["name"], call.params["principal"]
    expires_s = call.params["expires_s"]
    return {
        "token": await call.service.database.write(
            lambda tx: add_token(tx, name, principal or name, expires_s=expires_s)
        )
    }


@handles("token.list")
async def tokens(call: Call) -> Result:
    """Tokens without what would let someone use them."""
    return {"tokens": await call.service.database.read(list_tokens)}


@handles("token.remove")
async def revoke(call: Call) -> Result:
    """End a token."""
    name = call.params["name"]
    await call.service.database.write(lambda tx: remove_token(tx, name))
    return {"name": name}


async def _budgets(call: Call, name: str | None) -> list[dict[str, Any]]:
    pool = call.service.pool
    agents = list(pool.agents.values()) if name is None else [pool.get(name)]

    def read(conn: apsw.Connection) -> list[dict[str, Any]]:
        found = []
        for agent in agents:
            last = next(iter(list_runs(conn, agent.name, 1)), None)
            settings = last["settings"] if last else agent.own
            caps = with_caps(settings, agent.caps).get("budgets") or {}
            table = budget_table(conn, caps, agent.name, last["lineage"] if last else None)
            found += [{"agent": agent.name, **row} for row in table]
        return found

    return await call.service.database.read(read)


def _reason(call: Call) -> str:
    return call.params.get("reason") or f"asked by {call.principal.name}"
