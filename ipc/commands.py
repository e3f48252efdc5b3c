"""The supervisor's half of the catalogue: what it says to a runner."""

from __future__ import annotations

from typing import Any, ClassVar

from ipc.fields import (
    AMOUNT,
    ARGS,
    COUNT,
    ENV,
    FLAG,
    NUMBER,
    OBJECT,
    TEXT,
    Kind,
    build,
    choice,
    fielded,
    optional,
    required,
)
from ipc.frame import PAUSE_KINDS, SupervisorFrame

CAPPED = ("cost_usd", "tokens", "iterations", "wall_s")


@fielded
class Budget:
    """A cap: the runner stops once ``base`` (spent elsewhere) plus its own total reaches ``cap``."""

    ours: ClassVar[bool] = True
    PLAN: ClassVar[tuple[tuple[str, Kind, bool, bool], ...]]
    scope: str = required(TEXT)
    what: str = required(choice(*CAPPED))
    cap: float = required(AMOUNT)
    base: float = optional(NUMBER, default=0.0)


def _budgets(value: Any) -> list[Budget]:
    if type(value) is not list:
        raise ValueError
    return [build(Budget, item) for item in value]


BUDGETS = Kind("list of budgets {scope, what, cap, base}", _budgets)


@fielded
class InitPayload:
    """Who the agent is and how it runs; times in seconds."""

    PLAN: ClassVar[tuple[tuple[str, Kind, bool, bool], ...]]
    name: str = required(TEXT)
    run_id: str = required(TEXT)
    template: str = required(TEXT)
    args: list[str] = optional(ARGS, default=[])
    config: dict[str, Any] = optional(OBJECT, default={})
    interval: float = optional(AMOUNT, default=2.0)
    auto_approve: bool | None = optional(FLAG, default=None)
    log_dir: str | None = optional(TEXT, default=None)
    protocol: int = optional(COUNT, ours=True, default=0)
    adapter: str = optional(TEXT, ours=True, default="runbook")
    cwd: str | None = optional(TEXT, ours=True, default=None)
    env: dict[str, str] | None = optional(ENV, ours=True, default=None)
    start_iteration: int = optional(COUNT, ours=True, default=1)
    attempt: int = optional(COUNT, ours=True, default=1)
    max_iterations: int | None = optional(COUNT, ours=True, default=None)
    iteration_timeout_s: float | None = optional(AMOUNT, ours=True, default=None)
    grace_s: float = optional(AMOUNT, ours=True, default=10.0)
    budgets: list[Budget] = optional(BUDGETS, ours=True, default=[])
    session: str | None = optional(TEXT, ours=True, default=None)
    task: str | None = optional(TEXT, ours=True, default=None)

    def __repr__(self) -> str:
        """Without ``env`` and ``config``, which may hold what nobody should read in a log."""
        return f"InitPayload(name={self.name!r}, run_id={self.run_id!r}, template={self.template!r})"


INIT_PAYLOAD = Kind("object", lambda value: build(InitPayload, value))


@fielded
class Init(SupervisorFrame):
    """Says who the runner is and what it runs; its payload is described below as ``InitPayload``."""

    op = "init"
    numbered = False
    payload: InitPayload = required(INIT_PAYLOAD)


@fielded
class PermissionResponse(SupervisorFrame):
    """What a person, or a rule, decided about a question; said once for each."""

    op = "permission_response"
    request_id: str = required(TEXT)
    granted: bool = required(FLAG)
    digest: str | None = optional(TEXT, ours=True, default=None)
    reason: str | None = optional(TEXT, ours=True, default=None)
    updated_input: dict[str, Any] | None = optional(OBJECT, ours=True, default=None)
    updated_digest: str | None = optional(TEXT, ours=True, default=None)
    cmd: int | None = optional(COUNT, ours=True, default=None)


@fielded
class Resume(SupervisorFrame):
    """Go on after the pause that frame ``pause_seq`` announced; ``budgets``, if given, hold from here."""

    op = "resume"
    pause_seq: int | None = optional(COUNT, ours=True, default=None)
    budgets: list[Budget] | None = optional(BUDGETS, ours=True, default=None)
    cmd: int | None = optional(COUNT, ours=True, default=None)


@fielded
class Stop(SupervisorFrame):
    """Cancel the turn, if there is one, and exit. No wait of the runner outlasts it."""

    op = "stop"
    numbered = False
    reason: str | None = optional(TEXT, ours=True, default=None)
    deadline_s: float | None = optional(AMOUNT, ours=True, default=None)


@fielded
class Budgets(SupervisorFrame):
    """All caps anew: those that are not in the list are gone. They hold within the running turn already."""

    op = "budgets"
    ours = True
    budgets: list[Budget] = required(BUDGETS)
    cmd: int | None = optional(COUNT, default=None)


@fielded
class Cancel(SupervisorFrame):
    """Cancel one iteration, if it is still the running one, and go on with the next."""

    op = "cancel"
    ours = True
    iteration: int = required(COUNT)
    reason: str = optional(TEXT, default="")
    cmd: int | None = optional(COUNT, default=None)


@fielded
class Pause(SupervisorFrame):
    """Begin nothing more until ``resume``; the runner confirms with a ``paused_budget`` whose kind is ``operator``."""

    op = "pause"
    ours = True
    reason: str = optional(TEXT, default="")
    cmd: int | None = optional(COUNT, default=None)


@fielded
class Message(SupervisorFrame):
    """Something that an operator wants the agent to read; it becomes part of the following prompt."""

    op = "message"
    ours = True
    text: str = required(TEXT)
    cmd: int | None = optional(COUNT, default=None)


@fielded
class Reserved(SupervisorFrame):
    """Whether the iteration that ``reserve`` asked for may begin, and if not, why and until when."""

    op = "reserved"
    ours = True
    iteration: int = required(COUNT)
    granted: bool = required(FLAG)
    reason: str = optional(TEXT, default="")
    kind: str | None = optional(choice(*PAUSE_KINDS), default=None)
    resume_at: float | None = optional(AMOUNT, default=None)
    budgets: list[Budget] | None = optional(BUDGETS, default=None)
    cmd: int | None = optional(COUNT, default=None)


@fielded
class Attach(SupervisorFrame):
    """You have a new supervisor, which knows your frames up to ``last_seq``."""

    op = "attach"
    ours = True
    numbered = False
    id: str = required(TEXT)
    last_seq: int = required(COUNT)


@fielded
class Ack(SupervisorFrame):
    """This frame and all before it are in the database."""

    op = "ack"
    ours = True
    numbered = False
    seq: int = required(COUNT)


@fielded
class Ping(SupervisorFrame):
    """Are you there? Asked when there is reason to doubt it, not regularly."""

    op = "ping"
    ours = True
    numbered = False
    id: str = required(TEXT)
