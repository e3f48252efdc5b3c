"""What can be said to an agent that exists: pause, resume, cancel, message, signal, new caps, an answer."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from typing import Any

from ipc.frames import CAPPED, Budget, Budgets, Cancel, Message, PermissionResponse, Resume
from supervisor.agents.agent import Agent
from supervisor.agents.child import Child
from supervisor.agents.lifecycle import Life
from supervisor.agents.pool import Accepted, Pool
from supervisor.consent.answers import respond
from supervisor.consent.permissions import Decision
from supervisor.errors import Conflict, Invalid, NotRunning, Paused
from supervisor.money import ledger
from supervisor.principals import Principal
from supervisor.records import agents
from supervisor.records.transaction import Tx
from supervisor.settings.checks import MOST
from supervisor.settings.resolve import laid_over

MESSAGE_LIMIT = 65_536
"""The longest message in bytes."""


class Steering:
    """The verbs of ``pool``'s agents that change neither whether they run nor whether they exist.

    All raise ``NoSuchAgent`` for a name that is none, ``NotRunning`` where they need a run and there is none, and
    ``StorageFailed`` when they could not be stored, in which case nothing was said to the runner.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def _child(self, name: str) -> tuple[Agent, Child]:
        await self._pool.recovery()
        agent = self._pool.get(name)
        if agent.child is None:
            raise NotRunning(f"agent {name} is not running ({agent.state})")
        return agent, agent.child

    async def pause(self, name: str, reason: str) -> Accepted:
        """Have it stop before its next iteration."""
        _, child = await self._child(name)
        if child.facts.life is Life.PAUSED:
            raise Conflict(f"agent {name} is paused already", remedy=f"agentctl resume {name}")
        await child.pause(reason)
        return _accepted(child)

    async def cancel(self, name: str, reason: str) -> Accepted:
        """End its present iteration only.

        Raises:
            Conflict: it is in none.
        """
        _, child = await self._child(name)
        if not child.facts.in_turn:
            raise Conflict(f"agent {name} is in no iteration now")
        await child.command(Cancel(iteration=child.facts.iteration, reason=reason))
        return _accepted(child)

    async def message(self, name: str, text: str) -> Accepted:
        """Put ``text`` into the prompt of its next turn.

        Raises:
            Invalid: the text is empty or too long.
        """
        if not text.strip() or len(text.encode()) > MESSAGE_LIMIT:
            raise Invalid(f"a message holds 1 to {MESSAGE_LIMIT} bytes")
        _, child = await self._child(name)
        await child.command(Message(text=text))
        return _accepted(child)

    async def signal(self, name: str, number: int) -> Accepted:
        """Send a signal to its runner.

        Raises:
            Invalid: there is no such signal.
        """
        if number not in set(signal.Signals):
            raise Invalid(f"there is no signal {number}")
        _, child = await self._child(name)
        await child.signal(number)
        return _accepted(child)

    async def resume(self, name: str, caps: Mapping[str, Any] | None = None) -> Accepted:
        """Let a paused run, or an agent that is held, go on; ``caps`` replace those that it has.

        Raises:
            Conflict: it is neither paused nor held.
            Invalid: one of ``caps`` is no cap.
            Paused: a cap is used up still, so that it would pause again at once; nothing was changed.
        """
        await self._pool.recovery()
        agent = self._pool.get(name)
        child = agent.child
        if child is None and not agent.held:
            raise Conflict(f"agent {name} is {agent.state}", remedy=f"agentctl start {name}")
        if child is not None and child.unpause():
            return _accepted(child)
        if child is not None and child.facts.pause is None:
            raise Conflict(f"agent {name} is not paused but {agent.state}")
        if caps:
            check_caps(caps)
        merged = laid_over(agent.caps, caps or {})
        if child is None:
            await self._store_caps(agent, merged, caps)
            return await self._pool.resume(agent)
        await self._refuse_if_spent(child, merged)
        await self._store_caps(agent, merged, caps)
        pause = child.facts.pause
        budgets = await self._budgets(agent, child)
        await child.command(Resume(pause_seq=pause.seq if pause else None, budgets=budgets))
        return _accepted(child)

    async def _refuse_if_spent(self, child: Child, caps: Mapping[str, Any]) -> None:
        """Raise ``Paused`` where the run would only pause again."""
        ref, caps = child.ref, _caps_of(child, caps)
        table = await self._pool.world.db.read(
            lambda conn: ledger.budget_table(conn, caps, ref.agent, ref.lineage)
        )
        for row in table:
            if row["spent"] >= row["cap"]:
                name = row["what"] if row["scope"] == "run" else f"agent.{row['what']}"
                raise Paused(
                    f"agent {ref.agent} has used up its cap on {name}: {row['spent']:g} of {row['cap']:g}",
                    remedy=f"agentctl resume {ref.agent} --set {name}=MORE",
                )

    async def set_caps(self, name: str, caps: Mapping[str, Any]) -> Accepted:
        """Replace caps of an agent, at once, also inside a turn.

        Raises:
            Invalid: one of ``caps`` is no cap.
        """
        await self._pool.recovery()
        agent = self._pool.get(name)
        check_caps(caps)
        await self._store_caps(agent, laid_over(agent.caps, caps), caps)
        if agent.child is not None and not agent.child.line.plain:
            await agent.child.command(Budgets(budgets=await self._budgets(agent, agent.child)))
        return Accepted(name, agent.child.ref.run_id if agent.child else None, time.time())

    async def _store_caps(
        self, agent: Agent, merged: dict[str, Any], changed: Mapping[str, Any] | None
    ) -> None:
        if changed:
            await self._pool.world.db.write(lambda tx: agents.set_caps(tx, agent.name, merged))
            agent.caps = merged

    async def _budgets(self, agent: Agent, child: Child) -> list[Budget]:
        ref, caps = child.ref, _caps_of(child, agent.caps)
        return await self._pool.world.db.read(
            lambda conn: ledger.budgets_for(conn, caps, ref.agent, ref.lineage, ref.run_id)
        )

    async def answer(
        self, permission_id: int, *, granted: bool, principal: Principal, reason: str | None
    ) -> Decision:
        """Decide a permission request, once.

        Raises:
            Invalid: there is none of this number. NotPermitted: ``principal`` may not.
            Conflict: it was decided before (by whom and when is said), or its run is gone.
        """

        def decide(tx: Tx) -> tuple[Decision, PermissionResponse]:
            return respond(tx, permission_id, granted=granted, principal=principal, reason=reason)

        await self._pool.recovery()
        agent = self._pool.by_permission(permission_id)
        if agent is not None and agent.child is not None:
            return await agent.child.answer(decide)
        # Its run is over, or there is no such question: the tables know which, and refuse.
        decided, _ = await self._pool.world.db.write(decide)
        return decided


def check_caps(caps: Mapping[str, Any]) -> None:
    """Refuse what is no cap.

    Raises:
        Invalid: an unknown name, no number from 0 to `MOST`, or no whole one where things are counted. What is let
            through here, the settings' own checks must let through at the next start.
    """
    for what, cap in caps.items():
        if what == "agent":
            if not isinstance(cap, Mapping):
                raise Invalid("budgets.agent: wanted caps")
            check_caps(cap)
        elif what not in CAPPED:
            raise Invalid(f"budgets.{what}: no such cap", remedy=f"there are {', '.join(CAPPED)}")
        elif isinstance(cap, bool) or not isinstance(cap, int | float) or not 0 <= cap <= MOST:
            raise Invalid(f"budgets.{what}: wanted a number from 0 to {MOST}, got {cap!r}")
        elif what in ("tokens", "iterations") and not isinstance(cap, int):
            raise Invalid(f"budgets.{what}: wanted a whole number, got {cap!r}")


def _caps_of(child: Child, caps: Mapping[str, Any]) -> dict[str, Any]:
    """The caps that hold for a run: those of its definition, and those set since."""
    defined = {**child.definition.budgets, "agent": dict(child.definition.agent_budgets)}
    return laid_over(defined, caps)


def _accepted(child: Child) -> Accepted:
    return Accepted(child.ref.agent, child.ref.run_id, time.time())
