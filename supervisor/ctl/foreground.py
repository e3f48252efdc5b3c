"""The verb ``run``: start an agent, follow it here, answer what it asks, stop it with Ctrl-C."""

from __future__ import annotations

import math
import os
import re
import select
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from supervisor.ctl.client import Client
from supervisor.ctl.consent import decide, permission_lines, whole_input
from supervisor.ctl.daemon import connect_or_start
from supervisor.ctl.follow import LOOK_EVERY, print_line
from supervisor.ctl.invocation import Args, Invocation, Row
from supervisor.ctl.runlog import RunLog
from supervisor.ctl.settings import own_settings, template_name
from supervisor.ctl.times import ahead
from supervisor.ctl.visible import visible
from supervisor.errors import INTERRUPTED, AgentdError, Failed, Invalid, NoSupervisor

USAGE = {
    "run": """
Start an agent from a template and follow it here, over restarts; Ctrl-C stops it.

Usage: agentctl run [options] [--arg A]... [--set KEY=VALUE]... TEMPLATE [--] [ARGS...]

Starts agentd if none runs. What the agent asks is asked here; without a terminal you are told how to answer.
Exit code 0 if the run succeeded or was stopped, 130 after Ctrl-C, 1 otherwise.

Options:
  --name NAME        the agent's name; made from the template's if left out
  --cwd DIR          the folder it works in; the present one if left out
  --adapter A        how a turn gets done: runbook or process
  --arg A            an argument of the program; may be repeated
  --set KEY=VALUE    any other setting; may be repeated""",
}

LONGEST_ANSWER = 4096
"""Bytes; a terminal hands over a line at a time."""
STOP_WITHIN = 60.0
"""Seconds that Ctrl-C waits for the end of the run; another Ctrl-C leaves at once."""
SETTLED_AFTER = 0.25
"""Seconds after the end of a run in which what follows it is told; it comes with the end, in one commit."""
GOOD = frozenset({"succeeded", "stopped"})
TERMINAL = frozenset({*GOOD, "failed", "crashed", "timed_out", "cancelled", "lost"})
"""States in which a run has ended."""


def run(args: Args, ctl: Invocation) -> int:
    """Start an agent and follow it to its end."""
    template = template_name(args["TEMPLATE"])
    name = args["--name"] or name_from(template)
    own = own_settings({**args, "--template": template, "--cwd": args["--cwd"] or "."})
    if args["ARGS"]:
        own["args"] = [*own.get("args", []), *args["ARGS"]]
    with connect_or_start(ctl) as client:
        client.call("events.follow", agent=name)
        with ctl.connect() as caller:
            accepted = start_uninterrupted(caller, name, own)
            ctl.show(accepted)
            with RunLog(ctl.home.runs / str(accepted["run_id"])) as log:
                return Foreground(ctl, client, caller, accepted, log).follow()


def start_uninterrupted(caller: Client, name: str, own: dict[str, Any]) -> dict[str, Any]:
    """Start the agent, holding Ctrl-C back until `Foreground.follow` can stop what was started."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return caller.call("agent.start", name=name, **own)
    except BaseException:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        raise


def name_from(template: str) -> str:
    """An agent's name made of a template's name or path. Raises `Invalid` where nothing of it would do."""
    stem = Path(template).name.removesuffix(".md").lower()
    name = re.sub(r"[^a-z0-9_.-]+", "-", stem).lstrip("-_.")[:64]
    if not name or ".." in name:
        raise Invalid(f"{template}: no agent can be called after that", remedy="--name NAME")
    return name


class Foreground:
    """One run, and those that its restart policy lets follow, at a terminal."""

    def __init__(
        self, ctl: Invocation, events: Client, caller: Client, accepted: dict[str, Any], log: RunLog
    ) -> None:
        self._ctl = ctl
        self._events = events
        self._caller = caller
        self._name: str = accepted["agent"]
        self._run: int = accepted["run_id"]
        self._log = log
        self._questions: deque[int] = deque()
        self._ended: Row | None = None
        self._over_at = 0.0
        self._told = 0

    def follow(self) -> int:
        """Print and ask until nothing follows any more; returns the exit code."""
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            self._ctl.note(f"{self._name}: run {self._run}; Ctrl-C stops it")
            while not self._look():
                asked = [sys.stdin] if self._questions and self._ctl.interactive else []
                readable, _, _ = select.select([self._events, *asked], [], [], LOOK_EVERY)
                if sys.stdin in readable:
                    self._hear(os.read(sys.stdin.fileno(), LONGEST_ANSWER))
        except KeyboardInterrupt:
            return self._interrupted()
        return self._end()

    def _look(self) -> bool:
        """Print what is new; returns whether the run has ended, and no other follows it."""
        while (event := self._events.event(0)) is not None:
            self._print_log()
            if event.get("run_id") == self._run:
                self._take(event)
            else:
                self._take_of_agent(event)
        self._print_log()
        if self._ended is not None:
            return time.monotonic() > self._over_at
        if self._events.ended:
            raise NoSupervisor(
                f"the supervisor went away; agent {self._name} may go on",
                remedy=f"agentctl tail -f {self._name}",
            )
        return False

    def _take(self, event: Row) -> None:
        kind, told = str(event["kind"]), event["data"]
        noun, _, what = kind.partition(".")
        if noun == "run" and what in TERMINAL:
            self._ended, self._over_at = event, time.monotonic() + SETTLED_AFTER
            self._questions.clear()
        elif kind == "permission.asked":
            self._show_question(int(told["permission_id"]))
        elif noun == "permission":
            self._settled(int(told["permission_id"]), what, told)
        elif kind == "pause.began":
            self._ctl.note(f"{self._name}: paused: {visible(str(told.get('reason')))}")
            self._ctl.note(f"  go on with: agentctl resume {self._name}")
        elif kind == "notify":
            self._ctl.note(f"{self._name}: {visible(str(told.get('text', '')))}")

    def _take_of_agent(self, event: Row) -> None:
        """Learn what follows the end of the run: another run, now or later, or nothing."""
        if self._ended is None:
            return
        kind, told = str(event["kind"]), event["data"]
        if kind == "run.queued" and (event.get("run_id") or 0) > self._run:
            self._tell_end()
            self._run, self._ended = int(event["run_id"]), None
            self._ctl.note(f"{self._name}: started again, run {self._run}")
            self._log.move_to(self._ctl.home.runs / str(self._run))
        elif kind == "agent.backoff":
            self._tell_end()
            self._ctl.note(f"{self._name}: starts again {ahead(told.get('until'), time.time())}")
            self._over_at = math.inf
        elif kind == "agent.held":
            self._ctl.note(f"{self._name}: held: {visible(str(told.get('reason')))}")
            self._over_at = 0.0
        elif kind == "agent.removed" or (kind == "agent.wanted" and told.get("wanted") == "down"):
            self._over_at = 0.0

    def _print_log(self) -> None:
        printed = False
        for line in self._log.read():
            print_line(line, self._ctl)
            printed = True
        sys.stdout.flush()
        if printed:
            self._prompt()

    def _show_question(self, permission_id: int) -> None:
        """Show a question that is still open; at a terminal the person is asked, one question after the other."""
        rows: list[Row] = self._caller.call("permission.list", agent=self._name)["permissions"]
        for row in rows:
            if row["id"] != permission_id:
                continue
            row["input"] = whole_input(row, self._ctl.home.runs)
            self._ctl.show({"permission": row})
            for line in permission_lines(row, time.time()):
                self._ctl.say(line)
            if self._ctl.interactive:
                self._questions.append(permission_id)
                self._prompt()
            else:
                self._ctl.note(f"{self._name} waits for the answer to permission {permission_id}")

    def _prompt(self) -> None:
        if self._questions:
            print(f"allow {self._questions[0]}? [y]es, [n]o, [l]ater: ", end="", flush=True)

    def _hear(self, typed: bytes) -> None:
        """Take what the person typed as the answer to the first question; the end of input is "later"."""
        word = typed.decode(errors="replace").strip().lower() if typed else "later"
        if word[:1] not in ("y", "n", "l"):
            self._prompt()
            return
        permission_id = self._questions.popleft()
        if word.startswith("l"):
            self._ctl.note(f"later: agentctl allow {permission_id}, or agentctl deny {permission_id}")
        else:
            try:
                decide(self._caller, permission_id, granted=word.startswith("y"))
            except AgentdError as error:
                self._ctl.fail(error)
        self._prompt()

    def _settled(self, permission_id: int, what: str, told: Row) -> None:
        """Take back a question that somebody else has answered, or that nobody asks any more."""
        if permission_id not in self._questions:
            return
        self._questions.remove(permission_id)
        word = what
        if what == "decided":
            word = f"{'allowed' if told['granted'] else 'denied'} by {visible(str(told['decided_by']))}"
        self._ctl.note(f"\npermission {permission_id}: {word}")
        self._prompt()

    def _interrupted(self) -> int:
        self._ctl.note(f"\nstopping {self._name}")
        try:
            self._caller.close()
            with self._ctl.connect() as caller:
                caller.call("agent.stop", name=self._name, reason="Ctrl-C")
                caller.call("agent.wait", run_id=self._run, until="end", timeout_s=STOP_WITHIN)
            self._print_log()
        except AgentdError as error:
            self._ctl.fail(error)
        except KeyboardInterrupt:
            self._ctl.note(f"{self._name} is still being stopped")
        return INTERRUPTED

    def _tell_end(self) -> str:
        """Say how the run ended, once; returns its last state."""
        assert self._ended is not None
        state, why = str(self._ended["kind"]).partition(".")[2], self._ended["data"].get("reason")
        if self._told != self._run:
            self._told = self._run
            self._ctl.show({"run_id": self._run, "agent": self._name, "state": state, "reason": why})
            self._ctl.note(
                f"{self._name}: {state.replace('_', ' ')}" + (f": {visible(str(why))}" if why else "")
            )
        return state

    def _end(self) -> int:
        self._print_log()
        state = self._tell_end()
        self._ctl.note(f"  agentctl show {self._run} tells more")
        return 0 if state in GOOD else Failed.exit_code
