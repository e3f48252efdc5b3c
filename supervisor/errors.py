"""What can go wrong for a person or a client: one class for each meaning, and the only table of exit codes.

An error is raised where it is found, crosses the socket as the ``data`` of a JSON-RPC error, and is raised
again by the client, so that the command line ends with the same words and code wherever the fault lies.
"""

from collections.abc import Mapping
from typing import ClassVar

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class AgentdError(Exception):
    """Something a caller can be told; ``str(error)`` is one sentence that names the thing.

    ``remedy`` is what the caller can do about it, or empty. ``exit_code`` is that of ``agentctl``; ``name``
    is what clients compare.
    """

    exit_code: ClassVar[int] = 1
    name: ClassVar[str] = "failed"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    def data(self) -> dict[str, object]:
        """The error as the ``data`` member of a JSON-RPC error."""
        return {"name": self.name, "exit_code": self.exit_code, "remedy": self.remedy}


class Failed(AgentdError):
    """It was tried and did not work."""


class Degraded(AgentdError):
    """The supervisor lives but cannot do this now: its database or its keeper does not answer."""

    name = "degraded"


class Invalid(AgentdError):
    """Usage or configuration is wrong; nothing was changed."""

    exit_code = 2
    name = "invalid"


class NoSuchAgent(AgentdError):
    """No agent has this name."""

    exit_code = 3
    name = "no_such_agent"


class NoSuchRun(AgentdError):
    """No run has this number."""

    exit_code = 3
    name = "no_such_run"


class NotRunning(AgentdError):
    """The agent exists and does not run."""

    exit_code = 3
    name = "not_running"


class NotPermitted(AgentdError):
    """This caller may look but not do that."""

    exit_code = 4
    name = "not_permitted"


class Conflict(AgentdError):
    """Someone was first: already running, already answered, another supervisor."""

    exit_code = 5
    name = "conflict"


class NoSupervisor(AgentdError):
    """No supervisor listens on this home's socket."""

    exit_code = 6
    name = "no_supervisor"


class Paused(AgentdError):
    """The agent is paused by a budget or a window."""

    exit_code = 75
    name = "paused"


class DatabaseTooNew(AgentdError):
    """The database was written by a newer program."""

    exit_code = 78
    name = "database_too_new"


class WaitTimedOut(AgentdError):
    """What was waited for did not come in time; the work goes on."""

    exit_code = 124
    name = "wait_timed_out"


KINDS: dict[str, type[AgentdError]] = {
    kind.name: kind
    for kind in (
        Failed,
        Degraded,
        Invalid,
        NoSuchAgent,
        NoSuchRun,
        NotRunning,
        NotPermitted,
        Conflict,
        NoSupervisor,
        Paused,
        DatabaseTooNew,
        WaitTimedOut,
    )
}
"""Every error a client can be told, by its ``name``."""


def as_error(data: Mapping[str, object]) -> AgentdError:
    """Build the error again that ``data`` (name, remedy, message) describes; an unknown name is `Failed`."""
    kind = KINDS.get(str(data.get("name")), Failed)
    return kind(str(data.get("message") or kind.__doc__), remedy=str(data.get("remedy") or ""))
