"""An agent as it will run: its own settings and its template's, merged and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ipc.frames import PROTOCOL, Budget, InitPayload
from supervisor.settings.keys import AGENT_KEYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """All settings of one agent; spans of time in seconds, paths absolute.

    ``env`` maps a variable to its value, or to None where the supervisor's own is passed on; the repr is without it.
    ``budgets`` caps a run and those that continue it, ``agent_budgets`` the agent for good: kind of cap to number.
    ``options`` is the table of the adapter.
    """

    name: str
    template: str
    description: str | None
    adapter: str
    args: tuple[str, ...]
    cwd: str
    interval: float
    max_iterations: int | None
    iteration_timeout: float
    grace: float
    bootstrap_prompt: str | None
    prompt: str | None
    model: str | None
    env: Mapping[str, str | None] = field(repr=False)
    extra_args: tuple[str, ...]
    auto_approve: bool
    restart: str
    launch: tuple[str, ...]
    autostart: bool
    stagnation_limit: int
    failure_limit: int
    same_failure_limit: int
    cooldown_limit: float
    on_denied: str
    on_interrupted: str
    stall_after: float | None
    budgets: Mapping[str, float]
    agent_budgets: Mapping[str, float]
    options: Mapping[str, Any]

    def public(self) -> dict[str, Any]:
        """The settings as JSON holds them, without the values of ``env``: each is null.

        What it returns can be resolved again; the variables then come from the supervisor's environment.
        """
        plain: dict[str, Any] = {}
        for key in fields(self):
            value = getattr(self, key.name)
            if key.name not in {"name", "env", "budgets", "agent_budgets", "options"} and value is not None:
                plain[key.name] = list(value) if isinstance(value, tuple) else value
        plain["env"] = dict.fromkeys(self.env)
        plain["budgets"] = dict(self.budgets) | (
            {"agent": dict(self.agent_budgets)} if self.agent_budgets else {}
        )
        plain[self.adapter] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in self.options.items()
        }
        return plain

    def init_payload(
        self,
        *,
        run_id: int,
        template_path: Path,
        output: Path,
        log_dir: Path,
        env: dict[str, str],
        start_iteration: int = 1,
        attempt: int = 1,
        budgets: Sequence[Budget] = (),
        session: str | None = None,
        task: str | None = None,
    ) -> InitPayload:
        """What the runner is told first. ``output`` is the agent's output folder, ``env`` all its processes get.

        ``auto_approve`` is always false: the supervisor answers itself, so that each decision is on record.
        """
        return InitPayload(
            name=self.name,
            run_id=str(run_id),
            template=str(template_path),
            args=list(self.args),
            config={
                "prompt": self.prompt,
                "bootstrap_prompt": self.bootstrap_prompt,
                "model": self.model,
                "extra_args": list(self.extra_args),
                "options": self.public()[self.adapter],
                "stagnation_limit": self.stagnation_limit,
                "failure_limit": self.failure_limit,
                "same_failure_limit": self.same_failure_limit,
                "cooldown_limit": self.cooldown_limit,
                "on_denied": self.on_denied,
                "output": str(output),
            },
            interval=self.interval,
            auto_approve=False,
            log_dir=str(log_dir),
            protocol=PROTOCOL,
            adapter=self.adapter,
            cwd=self.cwd,
            env=env,
            start_iteration=start_iteration,
            attempt=attempt,
            max_iterations=self.max_iterations,
            iteration_timeout_s=self.iteration_timeout,
            grace_s=self.grace,
            budgets=list(budgets),
            session=session,
            task=task,
        )


def without_secrets(own: Mapping[str, Any]) -> dict[str, Any]:
    """``own`` settings as they may be stored: values of ``env`` are null, to be asked of the environment again."""
    kept = dict(own)
    if isinstance(env := own.get("env"), Mapping):
        kept["env"] = dict.fromkeys(env)
    return kept


DEFAULTS: dict[str, Any] = {name: key.default for name, key in AGENT_KEYS.items()}
"""What holds where neither agent nor template says anything."""
