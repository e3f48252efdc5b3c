"""What every way of doing a turn has in common."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from ipc.program import Program
from runner.log import Log
from runner.turn import Turn


class AdapterError(Exception):
    """The adapter cannot work with what it was given; the text names the thing and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """What an adapter knows of its agent, for the whole run."""

    name: str
    run_id: str
    template: str
    program: Program
    args: tuple[str, ...]
    options: dict[str, Any]
    extra_args: tuple[str, ...]
    cwd: Path
    output: Path | None
    folder: Path | None
    """The run's folder."""
    log: Log
    model: str | None = None
    low: tuple[int, int]
    """Two descriptor numbers below 10, free for what a program inherits."""
    env: dict[str, str] = field(repr=False)
    children: set[int] = field(default_factory=set)
    """Processes that an adapter has started and will reap itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a turn ended.

    ``summary`` is what people read. ``claimed`` tells whether the agent itself said it: only then does saying the
    same again and again count as stagnation.
    """

    status: Literal["ok", "error", "no_change", "permission"]
    summary: str = ""
    claimed: bool = True
    error: str | None = None
    session: str | None = None


class Adapter:
    """One way of doing turns, for one run: ``prepare`` once, ``turn`` again and again, ``close`` once."""

    prompted: ClassVar[bool] = True
    """Whether a turn needs a prompt."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    async def prepare(self) -> None:
        """Check what can be checked before the first turn, and make ready what turns need.

        Raises:
            AdapterError: it cannot work.
        """

    async def turn(self, turn: Turn) -> Outcome:
        """Do one turn.

        When cancelled it ends what it started, shielded and within ``turn.term_grace()`` and a little, and passes
        the cancellation on.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of what outlives turns; called once, also after an error."""

    def environment(self, turn: Turn) -> dict[str, str]:
        """Return the environment of a program that works on ``turn``."""
        agent = self.agent
        env = dict(agent.env)
        env.setdefault("AGENTD_RUN", agent.run_id)
        env["AGENTD_AGENT"] = agent.name
        env["AGENTD_ITERATION"] = str(turn.iteration)
        env["AGENTD_ATTEMPT"] = str(turn.attempt)
        if agent.output is not None:
            env["AGENTD_OUTPUT"] = str(agent.output)
            env["AGENTD_STATE"] = str(agent.output / ".state")
        return env
