"""The tour that ``scripts/quickstart`` gives: everything it does, it does by ``agentctl``, in a home of its own."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

AGENT = "repo-report"
LONGEST_BASE = 70
"""Bytes of the folder for the home; its sockets must fit in the 107 that a socket's path may have."""
END_WITHIN = 30.0
"""Seconds in which the supervisor must have ended after it was told to."""


class Ended(Exception):
    """The tour cannot go on; the text says why."""


class Tour:
    """One supervisor in one home, and the one agent it runs."""

    def __init__(self, root: Path, folder: Path, *, yes: bool) -> None:
        self.folder = folder
        self.yes = yes
        self.agentctl = root / ".venv" / "bin" / "agentctl"
        far = len(os.fsencode(tempfile.gettempdir())) > LONGEST_BASE
        self.home = Path(tempfile.mkdtemp(prefix="agentd-", dir="/tmp" if far else None))  # noqa: S108  mkdtemp is safe there
        self.env = os.environ | {"AGENTD_HOME": str(self.home)}

    def settings(self) -> None:
        """Write the home's agentd.toml: the agent, its folder, and an interval for people who watch."""
        (self.home / "agentd.toml").write_text(
            f"[agent.{AGENT}]\ncwd = {json.dumps(str(self.folder), ensure_ascii=False)}\n"
            'interval = "2s"\nautostart = false\n',
            encoding="utf-8",
        )

    def run(self, *words: str, show: bool = True) -> None:
        """Run ``agentctl``, shown as a person would type it. Raises `Ended` when it fails."""
        if show:
            print(f"\n$ agentctl {shlex.join(words)}", flush=True)
        code = subprocess.run([self.agentctl, *words], env=self.env, check=False).returncode
        if code:
            raise Ended(f"agentctl {words[0]} ended with {code}")

    def events(self) -> Iterator[dict[str, Any]]:
        """What happens to the agent, from the first event on; it ends when the supervisor does."""
        words = [str(self.agentctl), "--json", "events", "--follow", "--after", "0", AGENT]
        with subprocess.Popen(words, env=self.env, stdout=subprocess.PIPE) as following:
            assert following.stdout is not None
            try:
                for line in following.stdout:
                    yield json.loads(line)
            finally:
                following.terminate()

    def follow(self) -> None:
        """Answer the agent's questions until an iteration had nothing to say. Raises `Ended` if it ends before."""
        for event in self.events():
            kind, data = event["kind"], event.get("data") or {}
            if kind == "permission.asked":
                self.answer(str(data["permission_id"]))
            elif kind == "iteration.done":
                print(
                    f"\niteration {data['iteration']}: {data['status']}: {data.get('summary') or ''}",
                    flush=True,
                )
                if data["status"] == "no_change":
                    return
                if data["status"] == "permission":
                    raise Ended("no report was written, since the agent was denied it")
                if data["status"] != "ok":
                    raise Ended(f"the iteration failed: {data.get('error') or data.get('summary')}")
                self.show_report()
                print("\nThe next iteration looks again, and reports only what changed.", flush=True)
            elif kind in ("run.failed", "run.crashed", "run.lost", "run.stopped", "run.timed_out"):
                raise Ended(f"the agent's run ended: {data.get('reason') or kind}")
        raise Ended("the supervisor ended")

    def answer(self, permission: str) -> None:
        """Show the whole question and answer it, as the person at the terminal says."""
        self.run("permissions")
        if self.yes:
            print("\nanswered for you (--yes)")
        elif not asked("\nMay it? [y/n] "):
            self.run("deny", permission, "--reason", "the person at the terminal said no")
            return
        self.run("allow", permission)

    def show_report(self) -> None:
        """Print the beginning of the report that was written."""
        path = self.home / "output" / AGENT / "REPORT.md"
        lines = path.read_text(encoding="utf-8").splitlines()
        print(f"\n--- {path}")
        print("\n".join(lines[:40]))
        if len(lines) > 40:
            print(f"--- and {len(lines) - 40} more lines", flush=True)

    def end(self) -> None:
        """Stop everything, and be sure that nothing of this home is left. Raises `Ended` if something is."""
        if (self.home / "agentd.sock").exists():
            subprocess.run([self.agentctl, "shutdown"], env=self.env, timeout=END_WITHIN * 2, check=False)
        until = time.monotonic() + END_WITHIN
        while left := self.left():
            if time.monotonic() > until:
                raise Ended(f"still there after {END_WITHIN:g} s: {', '.join(left)}")
            time.sleep(0.05)

    def left(self) -> list[str]:
        """What of this home still runs: who holds the supervisor's lock, listens for runners, or carries its mark."""
        found = []
        lock = self.home / "agentd.lock"
        if lock.exists():
            with lock.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.append("the supervisor")
        marks = (f"AGENTD_HOME={self.home}\0".encode(), f"AGENTD_RUN={self.home}:".encode())
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                held = environ.read_bytes() + b"\0"
            except OSError:
                continue  # not ours to look at, or gone
            if environ.parent.name != str(os.getpid()) and any(mark in held for mark in marks):
                found.append(f"process {environ.parent.name}")
        return found


def asked(question: str) -> bool:
    """Ask the person for yes or no. Raises `Ended` when there is nobody: no answer is not consent."""
    while True:
        try:
            word = input(question).strip().lower()
        except EOFError:
            raise Ended("nobody is there to answer; --yes answers for you") from None
        if word in ("y", "yes", "n", "no"):
            return word.startswith("y")


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="scripts/quickstart")
    parser.add_argument("root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="?", type=Path, help="a git repository (default: this checkout)")
    parser.add_argument("--yes", action="store_true", help="answer the agent's question with yes")
    parser.add_argument(
        "--keep", action="store_true", help="leave the supervisor and the agent running at the end"
    )
    return parser.parse_args()


def checked(folder: Path) -> Path:
    """``folder`` as an absolute path, if the agent could work there."""
    try:
        folder = folder.resolve(strict=True)
        str(folder).encode()
    except OSError as error:
        refuse(f"{folder}: {error.strerror}")
    except UnicodeEncodeError:
        refuse(f"{folder!r}: settings are UTF-8, and this name is not")
    if not folder.is_dir():
        refuse(f"{folder} is no folder")
    if shutil.which("git") is None:
        refuse("there is no git; on Debian this mends it: sudo apt-get install -y git")
    found = subprocess.run(
        ["git", "-C", folder, "rev-parse", "--is-inside-work-tree"],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.stdout.strip() != "true":
        refuse(f"{folder} is no git repository: {found.stderr.strip() or 'it has no working tree'}")
    return folder


def refuse(text: str) -> NoReturn:
    """End before anything was started."""
    print(f"quickstart: {text}", file=sys.stderr)
    sys.exit(2)


def main() -> int:
    """Give the tour; returns the exit code."""
    args = arguments()
    folder = checked(args.folder or args.root)
    tour = Tour(args.root, folder, yes=args.yes)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.default_int_handler)
    code = 0
    try:
        print(f"The agent {AGENT} will look at {folder}. Its supervisor's home is {tour.home}.", flush=True)
        tour.settings()
        tour.run("start", AGENT)
        tour.follow()
        tour.run("status")
        tour.run("show", AGENT)
    except Ended as ended:
        print(f"\nquickstart: {ended}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("\nquickstart: interrupted", file=sys.stderr)
        code = 130
    keep = args.keep and code == 0
    if not keep:
        # From here on a second Ctrl-C would only leave behind what this is about to end.
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        try:
            tour.end()
        except (Ended, subprocess.TimeoutExpired) as ended:
            print(f"quickstart: {ended}", file=sys.stderr)
            code = code or 1
    if code == 0:
        go_on(tour, keep=keep)
    return code


def go_on(tour: Tour, *, keep: bool) -> None:
    """Name the three commands to go on with."""
    agentctl = shlex.quote(os.path.relpath(tour.agentctl))
    home = f"AGENTD_HOME={shlex.quote(str(tour.home))}"
    query = "SELECT run_id, iteration, status, summary FROM iterations"
    # Where there is no sqlite3, the shell that came with apsw does the same.
    sqlite = (
        "sqlite3"
        if shutil.which("sqlite3")
        else shlex.quote(os.path.relpath(tour.agentctl.with_name("apsw")))
    )
    words = (
        [
            f"{home} {agentctl} tail -f {AGENT}",
            f"{home} {agentctl} permissions",
            f"{home} {agentctl} shutdown",
        ]
        if keep
        else [
            f"{home} {agentctl} start {AGENT}",
            f"{home} {agentctl} runs",
            f"{sqlite} {shlex.quote(str(tour.home / 'agentd.db'))} '{query}'",
        ]
    )
    now = "The supervisor and the agent go on." if keep else "Everything is stopped; what happened stays."
    print(f"\n{now} Go on with:")
    for word in words:
        print(f"    {word}")


if __name__ == "__main__":
    sys.exit(main())
