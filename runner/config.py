"""What ``init`` says about the loop and the adapter, checked before anything begins."""

from typing import Any, ClassVar

from ipc.errors import RemoteError
from ipc.fields import (
    AMOUNT,
    COUNT,
    FLAG,
    OBJECT,
    TEXT,
    TEXTS,
    FieldError,
    Kind,
    build,
    choice,
    fielded,
    optional,
)


@fielded
class Config:
    """The object ``init.payload.config``; durations in seconds, unknown names are ignored."""

    PLAN: ClassVar[tuple[tuple[str, Kind, bool, bool], ...]]
    prompt: str | None = optional(TEXT, default=None)
    bootstrap_prompt: str | None = optional(TEXT, default=None)
    model: str | None = optional(TEXT, default=None)
    extra_args: list[str] = optional(TEXTS, default=[])
    options: dict[str, Any] = optional(OBJECT, default={})
    stagnation_limit: int = optional(COUNT, default=3)
    failure_limit: int = optional(COUNT, default=4)
    same_failure_limit: int = optional(COUNT, default=3)
    cooldown_limit: float = optional(AMOUNT, default=300.0)
    on_denied: str = optional(choice("stop", "continue"), default="stop")
    output: str | None = optional(TEXT, default=None)
    reserve: bool = optional(FLAG, default=False)
    """A shared cap applies: each iteration asks the supervisor first."""


def read_config(raw: dict[str, Any]) -> Config:
    """Check ``raw``; :exc:`RemoteError` names the first field that does not fit."""
    try:
        return build(Config, raw)
    except FieldError as error:
        field = f"init.payload.config.{error.path}"
        raise RemoteError(f"{field}: wanted {error.wanted}", field=field) from None
