"""All agents of a home: the verbs that a caller has, each a plain call that returns what was accepted.

Whatever comes of it is stored by the agent's own task, and becomes an event.
"""

from __future__ import annotations

import logging
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from supervisor.agents.agent import Agent, World
from supervisor.agents.lifecycle import Life
from supervisor.agents.opening import Opening, Prepared, open_run, prepare
from supervisor.errors import Conflict, Degraded, Invalid, NoSuchAgent, NotRunning
from supervisor.principals import Principal
from supervisor.records import agents
from supervisor.records.frames import RunRef
from supervisor.records.transaction import StorageFailed, Tx
from supervisor.settings.definition import without_secrets
from supervisor.settings.names import check_name

RECOVERY_PATIENCE = 10.0
"""Seconds that a verb waits for the recovery."""

SHUTDOWN_SPARE = 5.0
"""Seconds beyond the longest grace after which a shutdown waits no longer."""

log = logging.getLogger("agentd.pool")


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a verb was accepted for; ``accepted_at`` is wall time."""

    agent: str
    run_id: int | None
    accepted_at: float


class Pool:
    """The agents of one home, and a task for each that has something to do."""

    def __init__(self, world: World, nursery: trio.Nursery) -> None:
        self.world = world
        self.agents: dict[str, Agent] = {}
        self._nursery = nursery
        self._names: defaultdict[str, trio.Lock] = defaultdict(trio.Lock)
        self._closing = False
        self.former: set[int] = set()
        """Pids that the last supervisor's runs had, as long as they may be there still."""
        self.recovered = trio.Event()
        """What the last supervisor left is taken care of; verbs that start or end anything wait for it."""

    async def recovery(self) -> None:
        """Wait until what the last supervisor left is taken care of.

        Raises:
            Degraded: that takes too long, as it does while nothing can be stored.
        """
        with trio.move_on_after(RECOVERY_PATIENCE):
            await self.recovered.wait()
            return
        why = self.world.db.degraded or self.world.keeping.trouble or "it takes long"
        raise Degraded(f"what the last agentd left is not taken care of yet: {why}", remedy="agentctl doctor")

    def alone(self, name: str) -> trio.Lock:
        """The lock under which an agent is started, defined or removed: one at a time."""
        return self._names[name]

    def get(self, name: str) -> Agent:
        """Return the agent.

        Raises:
            NoSuchAgent: there is none of this name.
        """
        agent = self.agents.get(name)
        if agent is None:
            raise NoSuchAgent(f"no agent is named {name!r}", remedy="agentctl status lists them")
        return agent

    # Starting and stopping

    async def start(
        self,
        name: str,
        own: Mapping[str, Any] | None = None,
        *,
        originator: Principal,
    ) -> Accepted:
        """Start an agent that exists, or with ``own`` settings one made for the occasion.

        One that exists keeps its originator: whoever starts it again does not take its questions over.

        Raises:
            Invalid: something is wrong with it; nothing was changed.
            Conflict: it runs already, or a file defines it and ``own`` would say otherwise.
            NoSuchAgent: it does not exist, and no settings were given.
            StorageFailed: the database refuses.
        """
        check_name(name)
        await self.recovery()
        async with self._names[name]:
            known = self._startable(name, own)
            settings = dict(own or {}) if known is None or own is not None else known.own
            caps = known.caps if known is not None and own is None else {}
            prepared = await self._prepare(name, settings, caps)
            if known is not None:
                await known.leave_backoff()
                self._startable(name, own)
            agent = known or Agent(name, self.world, settings, "adhoc", originator.name)
            owner = agent.originator if own is None else originator.name

            def work(tx: Tx) -> Opening:
                stored = without_secrets(settings)
                agents.put_agent(tx, name, stored, origin=agent.origin, originator=owner, wanted="up")
                if known is not None and known.caps != caps:
                    agents.set_caps(tx, name, caps)
                agents.set_held(tx, name, None)
                agents.set_backoff(tx, name, None, 0)
                return open_run(tx, prepared, self.world.home, owner)

            opening = await self.world.db.write(work)
            agent.own, agent.caps, agent.originator, agent.crashes = settings, caps, owner, 0
            self.agents[name] = agent
            return self.keep(agent, opening)

    def _startable(self, name: str, own: Mapping[str, Any] | None) -> Agent | None:
        """Return the agent of this name, if there is one; raises where it cannot be started now."""
        if self._closing:
            raise Conflict("agentd is shutting down", remedy="start it again")
        known = self.agents.get(name)
        if known is None:
            if own is None:
                raise NoSuchAgent(
                    f"no agent is named {name!r}",
                    remedy=f"agentctl start {name} --template TEMPLATE makes one",
                )
            return None
        if known.child is not None:
            raise Conflict(
                f"agent {name} is already {known.state} (run {known.child.ref.run_id})",
                remedy=f"agentctl stop {name} first, or agentctl restart {name}",
            )
        if own is not None and known.origin == "file":
            raise Conflict(
                f"agent {name} is defined in agentd.toml",
                remedy="start it without settings, or under another name",
            )
        return known

    async def resume(self, agent: Agent) -> Accepted:
        """Start an agent that is held, in the lineage of its last run.

        Raises:
            Conflict: it is not held; Invalid; StorageFailed.
        """
        async with self._names[agent.name]:
            self._startable(agent.name, None)
            if not agent.held:
                raise Conflict(f"agent {agent.name} is {agent.state}", remedy=f"agentctl start {agent.name}")
            after = agent.last.ref if agent.last else None
            prepared = await self._prepare(agent.name, agent.own, agent.caps)
            await agent.leave_backoff()

            def work(tx: Tx) -> Opening:
                agents.set_held(tx, agent.name, None)
                agents.set_backoff(tx, agent.name, None, 0)
                agents.set_wanted(tx, agent.name, "up")
                return open_run(tx, prepared, self.world.home, agent.originator, after)

            opening = await self.world.db.write(work)
            agent.crashes = 0
            return self.keep(agent, opening)

    async def _prepare(self, name: str, own: Mapping[str, Any], caps: Mapping[str, Any]) -> Prepared:
        try:
            return await trio.to_thread.run_sync(prepare, name, own, caps, self.world.home)
        except OSError as error:
            raise Invalid(f"agent {name} has no output folder: {error}") from None

    def keep(self, agent: Agent, opening: Opening) -> Accepted:
        """Make ``opening`` the agent's run, and give it the task that lives through it and what follows."""
        agent.wanted, agent.held = True, ""
        agent.closing = self._closing
        agent.begin(opening)
        self._nursery.start_soon(self._keep, agent)
        return Accepted(agent.name, opening.ref.run_id, time.time())

    def keep_after(self, agent: Agent, delay: float, after: RunRef | None) -> None:
        """Let a successor of ``after`` follow in ``delay`` seconds, as was decided before we were there."""
        agent.closing = self._closing
        agent.begin_backoff(delay)
        self._nursery.start_soon(self._keep, agent, (delay, after))

    async def _keep(self, agent: Agent, backoff: tuple[float, RunRef | None] | None = None) -> None:
        try:
            await agent.keep(backoff)
        except Exception:
            # One agent's trouble, even if it is a bug of ours, is not another's.
            log.exception("agent %s is held after an error in agentd itself", agent.name)
            if agent.child is not None:
                await self.world.keeping.signal(agent.child.ref.run_id, signal.SIGKILL, group=True)
            agent.child, agent.held = None, "an error in agentd itself: see agentd.log"
            agent.pulse()

    async def stop(self, name: str, reason: str) -> Accepted:
        """Begin to stop an agent; it stays stopped over restarts of agentd.

        Raises:
            NoSuchAgent, NotRunning: there is nothing to stop.
            Degraded: it is being stopped, but that cannot be stored.
        """
        await self.recovery()
        agent = self.get(name)
        if agent.child is None and not agent.between_runs and not agent.held:
            raise NotRunning(f"agent {name} is not running")
        run_id = agent.child.ref.run_id if agent.child else None
        agent.wanted, agent.held = False, ""
        if agent.child is not None:
            agent.child.stop(reason)
        await self._unwant(agent)
        if agent.child is None:
            await agent.leave_backoff()
        agent.pulse()
        return Accepted(name, run_id, time.time())

    async def _unwant(self, agent: Agent) -> None:
        def work(tx: Tx) -> None:
            agents.set_wanted(tx, agent.name, "down")
            agents.set_held(tx, agent.name, None)

        try:
            await self.world.db.write(work)
        except StorageFailed as error:
            raise Degraded(
                f"agent {agent.name} is being stopped, but that cannot be stored: {error}",
                remedy="after a restart of agentd it would start again; see agentctl doctor",
            ) from None

    async def restart(self, name: str, reason: str, originator: Principal) -> Accepted:
        """Stop an agent if it runs, wait for its end, and start it anew.

        Raises:
            NoSuchAgent, Invalid, StorageFailed: as ``start`` does.
        """
        await self.recovery()
        agent = self.get(name)
        await self._prepare(name, agent.own, agent.caps)
        if agent.child is not None or agent.between_runs:
            agent.restarting = True
            try:
                await self._halt(agent, reason)
                await self.until_idle(agent)
            finally:
                agent.restarting = False
        return await self.start(name, originator=originator)

    async def _halt(self, agent: Agent, reason: str) -> None:
        agent.wanted, agent.held = False, ""
        if agent.child is not None:
            agent.child.stop(reason)
        else:
            await agent.leave_backoff()
        agent.pulse()

    async def until_idle(self, agent: Agent) -> None:
        """Wait until nothing is kept of ``agent``; for one that was told to stop."""
        if agent.kept is not None:
            await agent.kept.wait()

    async def shutdown(self, reason: str) -> None:
        """Stop all agents at once and wait for their ends; what is wanted of them stays as it is.

        It is bounded: what does not end, or cannot be stored, is left to the next supervisor's recovery.
        """
        self._closing = True
        graces = [agent.child.definition.grace for agent in self.running() if agent.child]
        limit = max(graces, default=0.0) + SHUTDOWN_SPARE
        with trio.move_on_after(limit) as patience:
            await self._shut_all(reason)
        if patience.cancelled_caught:
            why = self.world.db.degraded or self.world.keeping.trouble or "something does not end"
            log.error("shut down without the ends of all agents after %g s: %s", limit, why)

    async def _shut_all(self, reason: str) -> None:
        await self.recovered.wait()
        for lock in list(self._names.values()):
            async with lock:
                pass  # whoever was starting has started, and nobody will
        async with trio.open_nursery() as nursery:
            for agent in self.agents.values():
                nursery.start_soon(self._shut, agent, reason)

    async def _shut(self, agent: Agent, reason: str) -> None:
        agent.closing = True
        if agent.child is not None:
            agent.child.stop(reason)
        else:
            await agent.leave_backoff()
        await self.until_idle(agent)

    # What exists

    async def add(self, name: str, own: Mapping[str, Any], originator: Principal) -> Accepted:
        """Define an agent without starting it.

        Raises:
            Conflict: there is one of this name; Invalid: something is wrong with it; StorageFailed.
        """
        check_name(name)
        async with self._names[name]:
            if name in self.agents:
                raise Conflict(f"agent {name} exists", remedy=f"agentctl remove {name} first")
            agent = Agent(name, self.world, dict(own), "adhoc", originator.name)
            await self._prepare(name, own, {})

            def work(tx: Tx) -> None:
                stored = without_secrets(own)
                agents.put_agent(tx, name, stored, origin="adhoc", originator=originator.name, wanted="down")

            await self.world.db.write(work)
            self.agents[name] = agent
            return Accepted(name, None, time.time())

    async def remove(self, name: str) -> Accepted:
        """Forget an agent; its history stays.

        Raises:
            Conflict: it runs, or a file defines it; NoSuchAgent; StorageFailed.
        """
        await self.recovery()
        async with self._names[name]:
            agent = self.get(name)
            if agent.child is not None:
                raise Conflict(f"agent {name} is {agent.state}", remedy=f"agentctl stop {name} first")
            if agent.origin == "file":
                raise Conflict(f"agent {name} is defined in agentd.toml", remedy="remove it there")
            await agent.leave_backoff()
            await self.world.db.write(lambda tx: agents.remove_agent(tx, name))
            del self.agents[name]
            agent.pulse()
            return Accepted(name, None, time.time())

    def running(self) -> list[Agent]:
        """The agents that have a run."""
        return [agent for agent in self.agents.values() if agent.child is not None]

    @property
    def pids(self) -> list[int]:
        """The pids of all runners, also of those that the last supervisor left."""
        return [*self.former] + [
            agent.child.pid for agent in self.running() if agent.child and agent.child.pid
        ]

    def by_permission(self, permission_id: int) -> Agent | None:
        """The agent whose present run has asked for this permission."""
        for agent in self.agents.values():
            if agent.child is not None and permission_id in agent.child.asked:
                return agent
        return None

    def by_run(self, run_id: int) -> Agent | None:
        """The agent whose present run is ``run_id``."""
        for agent in self.agents.values():
            if agent.child is not None and agent.child.ref.run_id == run_id:
                return agent
        return None


READY = frozenset({Life.RUNNING, Life.WAITING, Life.PAUSED})
"""The states in which a run has said that it is ready, and does not end."""


@asynccontextmanager
async def open_pool(world: World) -> AsyncIterator[Pool]:
    """A pool whose agents' tasks end when the block does; their processes stay with the keeper."""
    async with trio.open_nursery() as nursery:
        yield Pool(world, nursery)
        nursery.cancel_scope.cancel()
