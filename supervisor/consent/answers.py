"""From a decision to the words in which its runner hears of it, in one transaction."""

from __future__ import annotations

from ipc.frames import PermissionResponse
from supervisor.consent.permissions import Decision, answer
from supervisor.principals import Principal
from supervisor.records.commands import add_command
from supervisor.records.transaction import Tx

DEFINITION = Principal("the agent's definition", admin=True)
"""Who decides where ``auto_approve`` is set."""


def respond(
    tx: Tx,
    permission_id: int,
    *,
    granted: bool,
    principal: Principal,
    reason: str | None = None,
    how: str = "person",
) -> tuple[Decision, PermissionResponse]:
    """Decide an open permission and store the command that tells it; raises as ``permissions.answer`` does."""
    decided = answer(tx, permission_id, granted=granted, principal=principal, reason=reason, how=how)
    response = PermissionResponse(
        request_id=decided.request_id, granted=granted, digest=decided.digest, reason=reason
    )
    return decided, add_command(tx, decided.run_id, response)


def approve(tx: Tx, permission_id: int) -> PermissionResponse:
    """Allow what the agent's definition allows beforehand, on record as such."""
    _, response = respond(tx, permission_id, granted=True, principal=DEFINITION, how="auto_approve")
    return response
