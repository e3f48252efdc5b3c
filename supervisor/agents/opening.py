"""From an agent's settings to a run with a row: what is checked without the database first, what needs it in one go."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ipc.frames import InitPayload, Message
from supervisor.money import ledger
from supervisor.paths import Home
from supervisor.peers import MARK
from supervisor.records import runs
from supervisor.records.commands import carry_messages
from supervisor.records.frames import RunRef
from supervisor.records.iterations import lineage_position
from supervisor.records.transaction import Tx
from supervisor.settings.definition import Definition
from supervisor.settings.environment import child_environment
from supervisor.settings.resolve import Resolved, laid_over, resolve


@dataclass(frozen=True, slots=True)
class Prepared:
    """An agent that may start, and the whole environment that its processes will have."""

    resolved: Resolved
    env: Mapping[str, str]

    def __repr__(self) -> str:
        """Without the environment."""
        return f"Prepared({self.resolved!r})"


@dataclass(frozen=True, slots=True)
class Opening:
    """A run that has its row and not yet a process."""

    ref: RunRef
    definition: Definition
    init: InitPayload
    messages: Sequence[Message]
    """What no turn of the agent's earlier runs has had in its prompt."""


def prepare(name: str, own: Mapping[str, Any], caps: Mapping[str, Any], home: Home) -> Prepared:
    """Check everything that can be checked before a start. It blocks.

    ``caps`` are those an operator has set since; they stand before those of the settings.

    Raises:
        Invalid: with every fault.
        OSError: the agent's output folder cannot be made.
    """
    resolved = resolve(name, with_caps(own, caps), home)
    (home.output / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return Prepared(resolved, child_environment(resolved.definition, os.environ))


def with_caps(own: Mapping[str, Any], caps: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``own`` with ``caps`` in place of its own where both have one."""
    return laid_over(own, {"budgets": caps}) if caps else dict(own)


def open_run(tx: Tx, prepared: Prepared, home: Home, originator: str, after: RunRef | None = None) -> Opening:
    """Write the row of a new run and return all that its process needs; ``after``: the run that it continues."""
    resolved, definition = prepared.resolved, prepared.resolved.definition
    run_id = runs.open_run(
        tx,
        agent=definition.name,
        lineage=after.lineage if after else None,
        predecessor=after.run_id if after else None,
        template=str(resolved.template_path),
        template_digest=resolved.digest,
        adapter=definition.adapter,
        originator=originator,
        settings=definition.public(),
    )
    ref = RunRef(run_id, definition.name, after.lineage if after else run_id)
    iteration, attempt = lineage_position(tx.conn, ref.lineage) if after else (1, 1)
    caps = {**definition.budgets, "agent": dict(definition.agent_budgets)}
    env = {**prepared.env, MARK: home.mark(run_id)}
    init = definition.init_payload(
        run_id=run_id,
        template_path=resolved.template_path,
        output=home.output / definition.name,
        log_dir=home.runs / str(run_id),
        env=env,
        start_iteration=iteration,
        attempt=attempt,
        budgets=ledger.budgets_for(tx.conn, caps, ref.agent, ref.lineage, ref.run_id),
    )
    return Opening(ref, definition, init, carry_messages(tx, ref.agent, run_id))
