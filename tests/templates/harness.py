"""Runs a template's steps by hand, with the environment that the runner gives them."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipc.program import read
from supervisor.settings.templates import builtin_folder


@dataclass
class Turn:
    """What one iteration did: exit code of its last step, what was printed, what was said, and who had to ask."""

    code: int = 0
    printed: str = ""
    said: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def unchanged(self) -> bool:
        return {"type": "no_change"} in self.said

    def texts(self, kind: str) -> list[str]:
        return [said["text"] for said in self.said if said["type"] == kind]


@dataclass
class Agent:
    """A template in a folder of its own, run an iteration at a time."""

    template: str
    cwd: Path
    home: Path
    args: tuple[str, ...] = ()

    @property
    def output(self) -> Path:
        return self.home / "output"

    @property
    def state(self) -> Path:
        return self.output / ".state"

    def turn(self, *, grant: bool = True, seconds: float = 60) -> Turn:
        """Run the steps in order; ``no_change``, a failure and a denied question end the iteration."""
        self.state.mkdir(parents=True, exist_ok=True)
        done = Turn()
        for step in read(builtin_folder() / f"{self.template}.md").steps:
            if step.ask is not None:
                done.asked.append(step.ask)
                if not grant:
                    break
            if step.language == "sh":
                command = ["sh", "-eu", "-c", step.code, "sh", *self.args]
            else:
                command = [sys.executable, "-I", "-c", step.code, *self.args]
            self._run(command, done, seconds)
            if done.code or done.unchanged:
                break
        return done

    def _run(self, command: list[str], done: Turn, seconds: float) -> None:
        said = self.home / "said"
        with said.open("wb") as file:
            env = {
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "AGENTD_STATE": str(self.state),
                "AGENTD_OUTPUT": str(self.output),
                "AGENTD_FD": str(file.fileno()),
                "AGENTD_ITERATION": "1",
            }
            ended = subprocess.run(
                command,
                cwd=self.cwd,
                env=env,
                pass_fds=[file.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        done.code = ended.returncode
        done.printed += ended.stdout.decode()
        done.said += [json.loads(line) for line in said.read_bytes().splitlines()]
