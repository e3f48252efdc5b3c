"""From a decision to the words in which its runner hears of it, in one transaction."""

from __future__ import annotations

from ipc.frames import PermissionResponse
from supervisor.consent.permissions import answer
from supervisor.principals import Principal
from supervisor.records.commands import add_command
from supervisor.records.transaction import Tx

DEFINITION = Principal("the agent's definition", admin=True)
"""Who decides where ``auto_approve`` is set."""


def respond(
    tx: Tx, permission_id: int, *, granted: bool, principal: Principal, reason: str | None
) -> PermissionResponse:
    """Decide an open permission for a person; raises as ``permissions.answer`` does."""
    return _respond(tx, permission_id, granted=granted, principal=principal, reason=reason, how="person")


def approve(tx: Tx, permission_id: int) -> PermissionResponse:
    """Allow what the agent's definition allows beforehand, on record as such."""
    return _respond(tx, permission_id, granted=True, principal=DEFINITION, reason=None, how="auto_approve")


def _respond(
    tx: Tx, permission_id: int, *, granted: bool, principal: Principal, reason: str | None, how: str
) -> PermissionResponse:
    decided = answer(tx, permission_id, granted=granted, principal=principal, reason=reason, how=how)
    response = PermissionResponse(
        request_id=decided.request_id, granted=granted, digest=decided.digest, reason=reason
    )
    return add_command(tx, decided.run_id, response)
