"""Verbs that follow a log: ``tail`` an agent's, ``log`` the supervisor's own."""

from __future__ import annotations

import select
import sys
import time
from collections import deque
from pathlib import Path

from supervisor.ctl.client import Client
from supervisor.ctl.invocation import Args, Invocation, Row, whole_number
from supervisor.ctl.runlog import Line, RunLog, last_lines, wanted
from supervisor.ctl.visible import visible, without_colour
from supervisor.errors import Degraded, Invalid, NoSuchAgent, NoSuchRun, NoSupervisor

USAGE = {
    "tail": """
The last lines of an agent's log; with -f also what comes, over new runs and restarts of the supervisor.

Usage: agentctl tail [options] NAME

Options:
  -f, --follow       go on as lines come
  -n, --lines N      the last so many of the latest run [default: 20]
  --stream S         only these streams, with commas between: step:ID (what that step printed), step (all of
                     them), stdout and stderr (what the command of the adapter process printed), agentd (what
                     was noted of the run), stray (what was printed where only frames belong)
  --run RUN          this run instead of the latest""",
    "log": """
The last lines of the supervisor's own log.

Usage: agentctl log [options]

Options:
  -f, --follow       go on as lines come
  -n, --lines N      the last so many [default: 20]""",
}

LOOK_EVERY = 0.1
"""Seconds between two looks at a log that is followed."""
TRY_AGAIN = 1.0
"""Seconds between two attempts to reach a supervisor that went away."""


def tail(args: Args, ctl: Invocation) -> int:
    """Print an agent's log, and follow it if asked."""
    name, number = args["NAME"], whole_number(args, "--lines") or 0
    streams = [stream for stream in (args["--stream"] or "").split(",") if stream]
    with ctl.connect() as client:
        run_id = whole_number(args, "--run")
        if run_id is None:
            run_id = latest_run(client, name)
        else:
            check_run(client, name, run_id)
        if run_id is None and not args["--follow"]:
            raise NoSuchRun(f"agent {name} has had no run", remedy=f"agentctl start {name}")
        folder = ctl.home.runs / str(run_id or 0)
        with RunLog(folder, streams) as log:
            shown = last_lines(log, number)
            for line in shown:
                print_line(line, ctl)
            if args["--follow"]:
                Follower(ctl, client, name, log, run_id or 0).follow(new_runs=args["--run"] is None)
    if unseen := absent(streams, {line.stream for line in shown}):
        note_missing(folder, unseen, ctl)
    return 0


def absent(names: list[str], there: set[str]) -> list[str]:
    """Return the names that mean none of the streams there are."""
    return [name for name in names if not any(wanted(stream, [name]) for stream in there)]


def note_missing(folder: Path, names: list[str], ctl: Invocation) -> None:
    """Say which of the named streams the whole log does not have, and which it has."""
    with RunLog(folder) as log:
        there = {line.stream for line in log.read()}
    if missing := absent(names, there):
        has = ", ".join(sorted(there)) or "nothing yet"
        told = f"no stream {', '.join(missing)} in this log; it has: {has}"
        ctl.note(visible(told))


def latest_run(client: Client, agent: str) -> int | None:
    """An agent's latest run, `None` before its first. Raises `NoSuchAgent` for one that never was."""
    rows: list[Row] = client.call("run.list", agent=agent, limit=1)["runs"]
    if rows:
        return int(rows[0]["run_id"])
    if agent not in {row["name"] for row in client.call("agent.list")["agents"]}:
        raise NoSuchAgent(f"no agent is called {agent}", remedy="agentctl status lists them")
    return None


def check_run(client: Client, agent: str, run_id: int) -> None:
    """Raise `NoSuchRun` unless this is a run of the agent."""
    of = client.call("run.show", run_id=run_id)["run"]["agent"]
    if of != agent:
        raise NoSuchRun(f"run {run_id} is one of agent {of}, not of {agent}", remedy=f"agentctl runs {agent}")


class Follower:
    """Prints what comes in an agent's log, and in those of its later runs, until interrupted.

    The supervisor is only asked for new runs: while it is away, the present log is followed on.
    """

    def __init__(self, ctl: Invocation, client: Client, agent: str, log: RunLog, run_id: int) -> None:
        """``log`` is that of ``run_id``, read so far; 0 stands for no run yet."""
        self._ctl = ctl
        self._client: Client | None = client
        self._agent = agent
        self._log = log
        self._newest = run_id
        self._runs: deque[int] = deque()
        self._again = 0.0

    def follow(self, *, new_runs: bool) -> None:
        """Print for ever; with ``new_runs`` a later run's log comes after the present one."""
        self._listen()
        while True:
            later = bool(self._runs)
            self._print()
            if later and new_runs:  # it was read after the next run began: there is no more of it
                run_id = self._runs.popleft()
                self._ctl.note(f"run {run_id} of {self._agent}")
                self._log.move_to(self._ctl.home.runs / str(run_id))
            else:
                self._wait()

    def _print(self) -> None:
        for line in self._log.read():
            print_line(line, self._ctl)
        sys.stdout.flush()

    def _listen(self) -> None:
        """Hear of new runs from now on, and of those that began before, if there is a supervisor."""
        try:
            self._client = self._client or self._ctl.connect()
            self._client.call("events.follow", agent=self._agent)
            rows: list[Row] = self._client.call("run.list", agent=self._agent)["runs"]
        except (Degraded, NoSupervisor):
            self._hang_up()
            return
        for run_id in sorted(row["run_id"] for row in rows):
            self._began(run_id)

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _began(self, run_id: int) -> None:
        if run_id > self._newest:
            self._newest = run_id
            self._runs.append(run_id)

    def _wait(self) -> None:
        """Wait for news or a tenth of a second; a supervisor that went away is looked for once a second."""
        if self._client is None:
            time.sleep(LOOK_EVERY)
            if time.monotonic() > self._again:
                self._again = time.monotonic() + TRY_AGAIN
                self._listen()
        elif select.select([self._client], [], [], LOOK_EVERY)[0]:
            while (event := self._client.event(0)) is not None:
                self._began(event.get("run_id") or 0)
            if self._client.ended:
                self._hang_up()


def print_line(line: Line, ctl: Invocation) -> None:
    """Print one line; on a terminal without anything that would act on it."""
    if ctl.json:
        ctl.show({"at": line.t, "stream": line.stream, "text": line.text})
    elif sys.stdout.isatty():
        ctl.say(f"{ctl.paint(f'{line.stream:>9} │', 'dim')} {visible(without_colour(line.text), keep=TAB)}")
    else:
        ctl.say(f"{line.stream:>9} | {line.text}")


TAB = "\t"


def log(args: Args, ctl: Invocation) -> int:
    """Print the supervisor's log, and follow it if asked."""
    path, number = ctl.home.log, whole_number(args, "--lines") or 0
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise Invalid(
            f"{path} does not exist", remedy="a supervisor in the foreground prints to its terminal"
        ) from None
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from None
    with file:
        for line in deque(file, maxlen=number):
            _print_own(line, ctl)
        while args["--follow"]:
            sys.stdout.flush()
            time.sleep(LOOK_EVERY)
            for line in file:
                _print_own(line, ctl)
            if _replaced(path, file.tell()):
                file.seek(0)
    return 0


def _replaced(path: Path, read: int) -> bool:
    """Whether the log was emptied since."""
    try:
        return path.stat().st_size < read
    except OSError:
        return False


def _print_own(line: str, ctl: Invocation) -> None:
    text = line.rstrip("\n")
    ctl.show({"text": text})
    ctl.say(visible(text, keep=TAB))
