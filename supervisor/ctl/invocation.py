"""One call of ``agentctl``: its home, its connection, and the one place that prints, for people or as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

import orjson

from ipc.control import WIDEST_INTEGER
from supervisor.ctl.client import Client, connect
from supervisor.ctl.times import with_iso_times
from supervisor.ctl.visible import visible
from supervisor.errors import AgentdError, Invalid
from supervisor.paths import Home, socket_path

SCHEMA_VERSION = 1
"""Of everything that ``--json`` prints; rises when a field goes or changes its meaning."""
COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}

UP = frozenset({"queued", "starting", "running", "waiting_permission", "paused", "stopping", "backoff"})
"""States of an agent that runs, or is about to."""

Args = Mapping[str, Any]
"""What docopt made of the verb's arguments."""
Row = dict[str, Any]
"""One thing as the supervisor describes it."""


class Invocation:
    """What a verb's function gets besides its arguments."""

    def __init__(
        self, environ: Mapping[str, str], *, json: bool = False, token_file: str | None = None
    ) -> None:
        self.environ = environ
        self.json = json
        self._token_file = token_file or environ.get("AGENTD_TOKEN_FILE") or None

    @property
    def home(self) -> Home:
        """The home that this call is about. Raises `Invalid` for an ``AGENTD_HOME`` that is no absolute path."""
        return Home.from_environ(self.environ)

    def connect(self) -> Client:
        """Connect to the supervisor, with the token if there is one. Raises `NoSupervisor`, `NotPermitted`."""
        return connect(socket_path(self.environ), self._token_file)

    def say(self, text: str = "") -> None:
        """Print a line for people; under ``--json`` nothing. Foreign text in it has been made visible."""
        if not self.json:
            print(text)

    def note(self, text: str) -> None:
        """Tell a person at standard error what happened besides."""
        sys.stdout.flush()
        print(text, file=sys.stderr)

    def show(self, result: Mapping[str, object]) -> None:
        """Under ``--json`` print ``result`` as one line, times as ISO 8601; otherwise nothing."""
        if self.json:
            print_json(result)

    def fail(self, error: AgentdError) -> int:
        """Print what went wrong and how to mend it; returns the exit code."""
        return report(error, json=self.json)

    def each(self, names: Sequence[str], work: Callable[[str], None]) -> int:
        """Do ``work`` for every name; a failed one is told and the rest go on. Returns the first failure's code."""
        code = 0
        for name in names:
            try:
                work(name)
            except AgentdError as error:
                failed = self.fail(error)
                code = code or failed
        return code

    def paint(self, text: str, colour: str) -> str:
        """Colour ``text`` where colours are wanted: at a terminal, without ``NO_COLOR``."""
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if text and self.colour else text

    @property
    def colour(self) -> bool:
        """Whether colours are wanted."""
        return (
            not self.environ.get("NO_COLOR")
            and self.environ.get("TERM") != "dumb"
            and is_terminal(sys.stdout)
        )

    @property
    def width(self) -> int | None:
        """Columns of the terminal, or `None` where nothing has to fit."""
        if (columns := self.environ.get("COLUMNS", "")).isdecimal() and int(columns) > 0:
            return int(columns)
        if not is_terminal(sys.stdout):
            return None
        try:
            return os.get_terminal_size(sys.stdout.fileno()).columns or None
        except OSError:
            return None

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked here."""
        return not self.json and is_terminal(sys.stdin) and is_terminal(sys.stdout)


LINES = "\n\t"
"""Characters that texts of several lines keep."""


def report(error: AgentdError, *, json: bool) -> int:
    """Print an error, at standard error for people or as an object at standard output; returns the exit code."""
    if json:
        print_json({"error": {**error.data(), "message": str(error)}})
    else:
        remedy = f"\n  {visible(error.remedy, keep=LINES)}" if error.remedy else ""
        sys.stdout.flush()
        print(f"agentctl: {visible(str(error), keep=LINES)}{remedy}", file=sys.stderr)
    return error.exit_code


def print_json(result: Mapping[str, object]) -> None:
    """Print one object as one line, with its schema's version and times as ISO 8601."""
    told = with_iso_times({"schema_version": SCHEMA_VERSION, **result})
    try:
        print(orjson.dumps(told, default=str).decode())
    except TypeError:  # lone surrogates, such as a file name that is no UTF-8
        import json

        print(json.dumps(told, default=str))


def is_terminal(stream: TextIO | None) -> bool:
    """Whether ``stream`` is open and a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def is_up(row: Row) -> bool:
    """Whether an agent runs, or is about to."""
    return row["state"] in UP


def whole_number(args: Args, name: str) -> int | None:
    """Read an argument that is a whole number from 0 to `WIDEST_INTEGER`; `None` if it was not given.

    Raises `Invalid`.
    """
    text = args[name]
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f"{name}: wanted a whole number, got {text!r}")
    if len(text) > len(str(WIDEST_INTEGER)) or int(text) > WIDEST_INTEGER:  # Python does not read the hugest
        raise Invalid(f"{name}: wanted a whole number of at most {WIDEST_INTEGER}")
    return int(text)


def duration(args: Args, name: str) -> float | None:
    """Read an argument that is a duration, in seconds; `None` if it was not given. Raises `Invalid`."""
    text = args[name]
    if text is None:
        return None
    from supervisor.settings.durations import seconds

    try:
        return seconds(float(text) if text.replace(".", "", 1).isdecimal() else text)
    except ValueError as error:
        raise Invalid(f"{name}: {error}") from None
