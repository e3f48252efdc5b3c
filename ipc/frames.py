"""The catalogue of the wire: every frame, who says it, and what each field may hold.

A field marked ``ours`` is an addition to the plain dialect, as is a frame whose class says ``ours = True``:
neither is needed from a plain peer, and neither is sent to one that would trip over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ipc.commands import (
    BUDGETS,
    CAPPED,
    Ack,
    Attach,
    Budget,
    Budgets,
    Cancel,
    Init,
    InitPayload,
    Message,
    Pause,
    PermissionResponse,
    Ping,
    Reserved,
    Resume,
    Stop,
)
from ipc.frame import PAUSE_KINDS, PROTOCOL, Frame, RunnerFrame, Side, SupervisorFrame
from ipc.reports import (
    EXIT_REASONS,
    STATUSES,
    Attached,
    Exit,
    IterationDone,
    IterationStart,
    Log,
    Notify,
    PausedBudget,
    PermissionApplied,
    PermissionRequest,
    PermissionWithdrawn,
    Pong,
    Ready,
    Reserve,
    Resumed,
    Stream,
    Usage,
)

__all__ = [
    "BUDGETS",
    "CAPPED",
    "CATALOGUE",
    "EXIT_REASONS",
    "PAUSE_KINDS",
    "PROTOCOL",
    "STATUSES",
    "Ack",
    "Attach",
    "Attached",
    "Budget",
    "Budgets",
    "Cancel",
    "Exit",
    "Frame",
    "Init",
    "InitPayload",
    "IterationDone",
    "IterationStart",
    "Log",
    "Message",
    "Notify",
    "Pause",
    "PausedBudget",
    "PermissionApplied",
    "PermissionRequest",
    "PermissionResponse",
    "PermissionWithdrawn",
    "Ping",
    "Pong",
    "Ready",
    "Reserve",
    "Reserved",
    "Resume",
    "Resumed",
    "RunnerFrame",
    "Side",
    "Stop",
    "StrayLine",
    "Stream",
    "SupervisorFrame",
    "UnknownFrame",
    "Usage",
]

CATALOGUE: Mapping[str, type[SupervisorFrame | RunnerFrame]] = {
    frame.op: frame
    for frame in (
        Init,
        PermissionResponse,
        Resume,
        Stop,
        Budgets,
        Cancel,
        Pause,
        Message,
        Reserved,
        Attach,
        Ack,
        Ping,
        Ready,
        Reserve,
        IterationStart,
        Usage,
        IterationDone,
        PermissionRequest,
        PermissionApplied,
        PermissionWithdrawn,
        PausedBudget,
        Resumed,
        Notify,
        Log,
        Stream,
        Attached,
        Pong,
        Exit,
    )
}


@dataclass(frozen=True, slots=True)
class UnknownFrame:
    """An object with an op that this version does not know; ignored, and kept whole."""

    op: str
    raw: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StrayLine:
    """A line that is no frame: something printed on the wire."""

    text: str
