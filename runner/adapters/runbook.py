"""The runbook: the fenced blocks of the agent's program, one after the other, are one turn."""

import os
import shutil
import sys
from pathlib import Path
from typing import ClassVar

from ipc.program import Step
from runner.adapters.base import Adapter, AdapterError, Outcome
from runner.adapters.command import Command, Finished, run_command
from runner.turn import Turn

TOOL = "runbook.step"
"""What a step's question names as the tool."""

_RUN_PYTHON = (
    "import sys; sys.path[:1] = [one for one in sys.path[:1] if one]; "
    "exec(compile(chr(10) * int(sys.argv.pop(1)) + sys.argv.pop(1), sys.argv.pop(1), 'exec'))"
)
"""Runs a step under its own file name and line, without the agent's folder on the import path."""


class Runbook(Adapter):
    """Runs steps with ``sh`` and ``python3``; the first that fails ends the turn, unless it may."""

    prompted: ClassVar[bool] = False

    async def prepare(self) -> None:
        """Refuse a program without steps, or a machine without what runs them."""
        agent = self.agent
        if not agent.program.steps:
            raise AdapterError(f"{agent.template}: no program: a runbook needs a fenced sh or python block")
        if any(step.language == "sh" for step in agent.program.steps) and not self._which("sh"):
            raise AdapterError("sh: no such command on PATH")

    async def turn(self, turn: Turn) -> Outcome:
        """Run the steps. A denied one ends the turn with status ``permission``."""
        last = ""
        try:
            with_messages = self._keep_messages(turn)
        except OSError as error:
            return Outcome(status="error", error=f"the operator's messages could not be kept: {error}")
        for step in self.agent.program.steps:
            code = step.code
            if step.ask is not None:
                asked = {
                    "step": step.id,
                    "language": step.language,
                    "code": step.code,
                    "folder": str(self.agent.cwd),
                }
                decision = await turn.ask(TOOL, asked, step.ask)
                await turn.applied(decision)
                if not decision.granted:
                    reason = f": {decision.reason}" if decision.reason else ""
                    return Outcome(
                        status="permission", summary=f"step {step.id} was denied{reason}", claimed=False
                    )
                code = str(decision.input.get("code", code))
            turn.show("tool", {"phase": "start", "step": step.id})
            try:
                done = await self._run(step, code, turn, with_messages)
            except OSError as error:
                return Outcome(status="error", error=f"step {step.id} could not be started: {error}")
            turn.show("tool", {"phase": "end", "step": step.id, "code": done.code})
            failure = _failure(step, done)
            if failure is not None and not step.continue_on_error:
                return Outcome(status="error", error=failure, summary=failure[:500])
            if failure is not None:
                self.agent.log.note(f"{failure}; going on, as the step says")
            last = _last_line(done.output) or last
            if turn.unchanged:
                break
        if turn.unchanged:
            return Outcome(status="no_change", summary=turn.summary or "")
        if turn.summary is not None:
            return Outcome(status="ok", summary=turn.summary)
        return Outcome(status="ok", summary=last, claimed=False)

    async def _run(self, step: Step, code: str, turn: Turn, more: dict[str, str]) -> Finished:
        env = self.environment(turn) | more | {"AGENTD_STEP": step.id}
        args = self.agent.args
        if step.language == "sh":
            argv = ["sh", "-eu", "-c", code, step.id, *args]
        else:
            interpreter = ["python3"] if self._which("python3") else [sys.executable, "-I"]
            argv = [
                *interpreter,
                "-u",
                "-c",
                _RUN_PYTHON,
                str(step.line - 1),
                code,
                self.agent.template,
                *args,
            ]
        command = Command(argv=argv, env=env, stdout=f"step:{step.id}", timeout=step.timeout)
        return await run_command(command, turn, self.agent)

    def _which(self, name: str) -> str | None:
        return shutil.which(name, path=self.agent.env.get("PATH", os.defpath))

    def _keep_messages(self, turn: Turn) -> dict[str, str]:
        """Write what the operator said since the last turn to a file and name it in the environment."""
        if not turn.messages or self.agent.folder is None:
            return {}
        folder: Path = self.agent.folder / "inputs"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"messages-{turn.iteration}-{turn.attempt}.txt"
        path.write_text("\n".join(message.text for message in turn.messages) + "\n", encoding="utf-8")
        return {"AGENTD_MESSAGES": str(path)}


def _failure(step: Step, done: Finished) -> str | None:
    if done.overtime:
        return f"step {step.id}: took longer than {step.timeout:g} s"
    if done.code == 0:
        return None
    how = f"exit {done.code}" if done.code > 0 else f"signal {-done.code}"
    last = _last_line(done.output)
    return f"step {step.id}: {how}: {last}" if last else f"step {step.id}: {how}"


def _last_line(text: str) -> str:
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "")
