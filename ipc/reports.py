"""The runner's half of the catalogue: what it says to its supervisor."""

from __future__ import annotations

from typing import Any

from ipc.fields import AMOUNT, COUNT, COUNTS, FLAG, OBJECT, TEXT, choice, clipped, fielded, optional, required
from ipc.frame import PAUSE_KINDS, RunnerFrame

STATUSES = ("ok", "error", "permission", "no_change", "cancelled", "timed_out")
EXIT_REASONS = ("completed", "exception", "stopped", "failed", "stagnant", "supervisor_lost")
PLAIN_STATUSES = {"no_change": "ok", "cancelled": "error", "timed_out": "error"}
PLAIN_EXIT_REASONS = {
    "stopped": "completed",
    "failed": "exception",
    "stagnant": "exception",
    "supervisor_lost": "completed",
}


@fielded
class Ready(RunnerFrame):
    """The answer to ``init`` and the first thing that a runner says."""

    op = "ready"
    protocol: int = optional(COUNT, ours=True, default=0)
    pid: int | None = optional(COUNT, ours=True, default=None)
    capabilities: dict[str, Any] | None = optional(OBJECT, ours=True, default=None)
    seq: int | None = optional(COUNT, ours=True, default=None)


@fielded
class Reserve(RunnerFrame):
    """May this iteration begin? Asked where a cap is shared with others; ``reserved`` answers."""

    op = "reserve"
    ours = True
    iteration: int = required(COUNT)
    attempt: int = optional(COUNT, default=1)
    seq: int | None = optional(COUNT, default=None)


@fielded
class IterationStart(RunnerFrame):
    """A turn begins; ``messages`` are the numbers of the messages that its prompt contains."""

    op = "iteration_start"
    iteration: int = required(COUNT)
    attempt: int = optional(COUNT, ours=True, default=1)
    messages: list[int] = optional(COUNTS, ours=True, default=[])
    seq: int | None = optional(COUNT, ours=True, default=None)


@fielded
class Usage(RunnerFrame):
    """What one model has cost the iteration from its start to now; a cost that nobody knows is left out."""

    op = "usage"
    ours = True
    iteration: int = required(COUNT)
    attempt: int = optional(COUNT, default=1)
    model: str = optional(TEXT, default="")
    tokens_in: int = optional(COUNT, default=0)
    tokens_out: int = optional(COUNT, default=0)
    cache_read_tokens: int = optional(COUNT, default=0)
    cache_write_tokens: int = optional(COUNT, default=0)
    cost_usd: float | None = optional(AMOUNT, default=None)
    seq: int | None = optional(COUNT, default=None)


@fielded
class IterationDone(RunnerFrame):
    """How an iteration ended; each that began has one."""

    op = "iteration_done"
    iteration: int = required(COUNT)
    status: str = required(choice(*STATUSES, plainly=PLAIN_STATUSES))
    duration_s: float | None = optional(AMOUNT, default=None)
    summary: str = optional(clipped(500), default="")
    tokens_in: int = optional(COUNT, default=0)
    tokens_out: int = optional(COUNT, default=0)
    cache_read_tokens: int = optional(COUNT, ours=True, default=0)
    cache_write_tokens: int = optional(COUNT, ours=True, default=0)
    cost_usd: float | None = optional(AMOUNT, default=None)
    attempt: int = optional(COUNT, ours=True, default=1)
    session: str | None = optional(TEXT, ours=True, default=None)
    error: str | None = optional(TEXT, ours=True, default=None)
    seq: int | None = optional(COUNT, ours=True, default=None)


@fielded
class PermissionRequest(RunnerFrame):
    """The agent asks whether it may use a tool, and waits for the answer."""

    op = "permission_request"
    request_id: str = required(TEXT)
    tool: str = required(TEXT)
    input: dict[str, Any] = optional(OBJECT, default={})
    rationale: str = optional(TEXT, default="")
    digest: str | None = optional(TEXT, ours=True, default=None)
    seq: int | None = optional(COUNT, ours=True, default=None)


@fielded
class PermissionApplied(RunnerFrame):
    """The agent has got the answer."""

    op = "permission_applied"
    ours = True
    request_id: str = required(TEXT)
    granted: bool = required(FLAG)
    seq: int | None = optional(COUNT, default=None)


@fielded
class PermissionWithdrawn(RunnerFrame):
    """The question is moot: nobody needs to answer it any more."""

    op = "permission_withdrawn"
    ours = True
    request_id: str = required(TEXT)
    reason: str = optional(TEXT, default="")
    seq: int | None = optional(COUNT, default=None)


@fielded
class PausedBudget(RunnerFrame):
    """The runner begins nothing until it is told ``resume`` or ``stop``."""

    op = "paused_budget"
    reason: str = optional(clipped(300), default="")
    kind: str = optional(choice(*PAUSE_KINDS), ours=True, default="budget")
    resume_at: float | None = optional(AMOUNT, ours=True, default=None)
    seq: int | None = optional(COUNT, ours=True, default=None)


@fielded
class Resumed(RunnerFrame):
    """The runner goes on."""

    op = "resumed"
    seq: int | None = optional(COUNT, ours=True, default=None)


@fielded
class Notify(RunnerFrame):
    """Something that a person should see; ``bridge`` says by which way, and ``*`` is all of them."""

    op = "notify"
    text: str = required(TEXT)
    bridge: str = optional(TEXT, default="*")
    seq: int | None = optional(COUNT, ours=True, default=None)


@fielded
class Log(RunnerFrame):
    """Something for the log that operators read."""

    op = "log"
    level: str = optional(TEXT, default="info")
    msg: str = required(TEXT)
    seq: int | None = optional(COUNT, ours=True, default=None)


@fielded
class Stream(RunnerFrame):
    """What happens just now, for whoever looks; lost if nobody reads fast enough."""

    op = "stream"
    ours = True
    numbered = False
    stream: str = required(choice("assistant", "tool", "lifecycle"))
    data: dict[str, Any] = optional(OBJECT, default={})


@fielded
class Attached(RunnerFrame):
    """Where the runner stands when it is taken over: its last frame and the last command that it has seen."""

    op = "attached"
    ours = True
    numbered = False
    id: str = required(TEXT)
    last_seq: int = required(COUNT)
    last_cmd: int = required(COUNT)
    iteration: int = required(COUNT)
    status: str = required(TEXT)


@fielded
class Pong(RunnerFrame):
    """Here I am."""

    op = "pong"
    ours = True
    numbered = False
    id: str = required(TEXT)


@fielded
class Exit(RunnerFrame):
    """Why the runner ends, and how many iterations it finished. One that is killed never says it."""

    op = "exit"
    reason: str = required(choice(*EXIT_REASONS, plainly=PLAIN_EXIT_REASONS))
    iterations: int = optional(COUNT, default=0)
    seq: int | None = optional(COUNT, ours=True, default=None)
