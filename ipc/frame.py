"""What every message of the wire is: a class with an op, a sender and fields that have kinds."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from ipc.fields import Kind

PROTOCOL = 1
"""The version that both sides must offer before any addition of ours is used."""

PAUSE_KINDS = ("budget", "window", "operator")


class Side(Enum):
    """The two ends of the wire."""

    SUPERVISOR = "supervisor"
    RUNNER = "runner"


class Frame:
    """One message of the wire."""

    if not TYPE_CHECKING:
        __slots__ = ()
    op: ClassVar[str]
    sender: ClassVar[Side]
    ours: ClassVar[bool] = False
    numbered: ClassVar[bool] = True
    """Whether it carries ``seq`` (from the runner) or ``cmd`` (from the supervisor) in protocol 1."""
    PLAN: ClassVar[tuple[tuple[str, Kind, bool, bool], ...]]


class SupervisorFrame(Frame):
    """What a supervisor may say."""

    sender = Side.SUPERVISOR
    if TYPE_CHECKING:
        cmd: int | None
    else:
        __slots__ = ()


class RunnerFrame(Frame):
    """What a runner may say."""

    sender = Side.RUNNER
    if TYPE_CHECKING:
        seq: int | None
    else:
        __slots__ = ()
