"""Any command as an agent: the prompt on stdin, the result on stdout, one process a turn."""

import shlex
import shutil
from typing import ClassVar

from ipc.fields import FieldError, Kind, build, fielded, required
from runner.adapters.base import Adapter, AdapterError, Outcome
from runner.adapters.command import Command, run_command
from runner.turn import Turn

SUMMARY_LIMIT = 500


def _words(value: object) -> list[str]:
    """A command line as text, or as a list of texts."""
    if isinstance(value, str):
        return shlex.split(value)
    if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
        raise ValueError
    return value


@fielded
class Options:
    """The table ``[agent.NAME.process]``."""

    PLAN: ClassVar[tuple[tuple[str, Kind, bool, bool], ...]]
    command: list[str] = required(Kind("a command line: text, or a list of texts", _words))


class Process(Adapter):
    """Runs ``command``, then ``extra_args``, then the agent's ``args``, once a turn."""

    _argv: tuple[str, ...] = ()

    async def prepare(self) -> None:
        """Refuse a command that is not there."""
        agent = self.agent
        try:
            options = build(Options, agent.options)
        except FieldError as error:
            raise AdapterError(f"process.{error}") from None
        if not options.command:
            raise AdapterError("process.command: no command in it")
        name = options.command[0]
        path = shutil.which(name, path=agent.env.get("PATH"))
        if path is None:
            raise AdapterError(
                f"process.command: {name}: no such command on PATH ({agent.env.get('PATH', '')})"
            )
        self._argv = (path, *options.command[1:], *agent.extra_args, *agent.args)

    async def turn(self, turn: Turn) -> Outcome:
        """Run the command. Its exit code tells whether the turn went well."""
        command = Command(
            argv=self._argv,
            env=self.environment(turn),
            stdin=turn.prompt.encode("utf-8", "replace"),
            stdout="stdout",
            stderr="stderr",
        )
        try:
            done = await run_command(command, turn, self.agent)
        except OSError as error:
            return Outcome(status="error", error=f"{self._argv[0]} could not be started: {error}")
        summary = turn.summary if turn.summary is not None else _end_of(done.output)
        if done.code == 0:
            return Outcome(status="no_change" if turn.unchanged else "ok", summary=summary)
        how = f"exit {done.code}" if done.code > 0 else f"signal {-done.code}"
        said = _end_of(done.errors) or _end_of(done.output)
        return Outcome(status="error", summary=summary, error=f"{self._argv[0]}: {how}: {said}".rstrip(": "))


def _end_of(text: str) -> str:
    """Return ``text``, or as many of its last lines as make a summary."""
    text = text.strip()
    if len(text) <= SUMMARY_LIMIT:
        return text
    end = text[-SUMMARY_LIMIT:]
    return end[end.find("\n") + 1 :] if "\n" in end[:-1] else end
