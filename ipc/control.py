"""The catalogue of the supervisor's socket: every JSON-RPC method, what it takes and answers, in one table.

The server checks calls against it before a handler sees them, the client before it sends them. Times are
seconds since the epoch, durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
OWN_ERRORS = -32000
"""An error of ours has the code ``OWN_ERRORS - exit_code`` and ``data`` {name, exit_code, remedy}."""

EVENT = "events.event"
"""Method of the notifications that follow an answered ``events.follow``; the params are one event."""
EVENTS_END = "events.end"
"""Method of the last one; ``after`` is the number to read on from. A follower who does not read is cut off
without it and reads on from the last number it had."""

WIDEST_INTEGER = 2**63 - 1
"""SQLite keeps no larger number."""


class BadCall(Exception):
    """A call that the catalogue does not allow; ``code`` is JSON-RPC's, the text names the parameter."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Kind(Enum):
    """What a parameter may hold; the value is how an error names it."""

    TEXT = "text"
    NUMBER = "a number, at least 0"
    INTEGER = "a whole number, at least 0"
    FLAG = "true or false"
    TEXTS = "a list of texts"
    TABLE = "an object"


class Access(Enum):
    """Who may call a method."""

    LOOK = "anyone who can connect"
    CHANGE = "the originator and administrators, but nobody from inside an agent of this home"
    ADMINISTER = "administrators, but nobody from inside an agent of this home"


class Param(NamedTuple):
    """One named parameter; without ``required``, ``default`` stands for a missing one."""

    name: str
    kind: Kind = Kind.TEXT
    default: object = None
    required: bool = False
    choices: tuple[str, ...] = ()


class Method(NamedTuple):
    """One method: what it takes, what its result holds, who may call it.

    ``waits`` says that the answer may take long: later requests of the same connection need not wait for it.
    """

    name: str
    params: tuple[Param, ...]
    result: str
    access: Access = Access.LOOK
    waits: bool = False


def _required(name: str, kind: Kind = Kind.TEXT) -> Param:
    return Param(name, kind, required=True)


_NAME = _required("name")
_REASON = Param("reason")
_STARTED = "{agent, run_id, accepted_at}"
_OWN_SETTINGS = (
    Param("template"),
    Param("args", Kind.TEXTS),
    Param("cwd"),
    Param("adapter"),
    Param("settings", Kind.TABLE),
)

METHODS: tuple[Method, ...] = (
    Method(
        "session.authenticate",
        (_required("token"),),
        "{principal}: whose the calls of this connection are from now on",
    ),
    Method("agent.start", (_NAME, *_OWN_SETTINGS), _STARTED, Access.CHANGE),
    Method("agent.stop", (_NAME, _REASON), _STARTED, Access.CHANGE),
    Method("agent.restart", (_NAME,), _STARTED, Access.CHANGE),
    Method("agent.resume", (_NAME, Param("budgets", Kind.TABLE)), _STARTED, Access.CHANGE),
    Method("agent.pause", (_NAME, _REASON), _STARTED, Access.CHANGE),
    Method("agent.cancel", (_NAME, _REASON), _STARTED, Access.CHANGE),
    Method("agent.message", (_NAME, _required("text")), _STARTED, Access.CHANGE),
    Method("agent.signal", (_NAME, _required("signal", Kind.INTEGER)), _STARTED, Access.CHANGE),
    Method(
        "agent.wait",
        (
            Param("name"),
            Param("run_id", Kind.INTEGER),
            Param("until", default="end", choices=("ready", "end")),
            Param("timeout_s", Kind.NUMBER, 30),
        ),
        "{status: ok|error|timeout, run_id, state, started_at, ended_at, error}; never stops the work",
        waits=True,
    ),
    Method("agent.list", (Param("long", Kind.FLAG, False),), "{agents: [row]}"),
    Method("agent.add", (_NAME, *_OWN_SETTINGS), "{agent}", Access.CHANGE),
    Method("agent.remove", (_NAME,), "{agent}; its history stays", Access.CHANGE),
    Method(
        "run.list",
        (Param("agent"), Param("limit", Kind.INTEGER, 50), Param("before", Kind.INTEGER)),
        "{runs: [row]}, newest first",
    ),
    Method("run.show", (_required("run_id", Kind.INTEGER),), "{run, iterations, permissions}"),
    Method(
        "permission.list",
        (
            Param("state", default="open", choices=("open", "decided", "applied", "in_doubt", "void", "all")),
            Param("agent"),
        ),
        "{permissions: [row]}",
    ),
    Method(
        "permission.answer",
        (_required("id", Kind.INTEGER), _required("granted", Kind.FLAG), _REASON),
        "{id, state, granted, decided_by}",
        Access.CHANGE,
    ),
    Method("budget.show", (Param("agent"),), "{budgets: [{agent, scope, what, cap, spent}]}"),
    Method(
        "budget.set",
        (_required("agent"), _required("budgets", Kind.TABLE)),
        "{agent, budgets} as they are now",
        Access.CHANGE,
    ),
    Method(
        "events.read",
        (Param("after", Kind.INTEGER, 0), Param("limit", Kind.INTEGER, 500), Param("agent")),
        "{events, last}: at most ``limit`` events, and the number to read on from",
    ),
    Method(
        "events.follow",
        (Param("after", Kind.INTEGER), Param("agent")),
        f"{{last}}, then a notification ``{EVENT}`` for each; without ``after`` only new ones",
    ),
    Method(
        "system.status",
        (),
        "{pid, version, started_at, home, agents: {state: count}, degraded, socket, database}",
    ),
    Method("system.check", (Param("path"),), "{faults: [text]} of the settings at path", Access.ADMINISTER),
    Method("system.shutdown", (), "{}; every agent is stopped, then the supervisor ends", Access.ADMINISTER),
    Method(
        "token.add",
        (_NAME, Param("principal"), Param("expires_s", Kind.NUMBER)),
        "{token}: said this once, only its hash is kept",
        Access.ADMINISTER,
    ),
    Method("token.list", (), "{tokens: [row]}", Access.ADMINISTER),
    Method("token.remove", (_NAME,), "{name}", Access.ADMINISTER),
)

CATALOGUE: Mapping[str, Method] = {method.name: method for method in METHODS}


def check_call(name: str, params: Mapping[str, object]) -> dict[str, object]:
    """Return ``params`` with the defaults filled in.

    Raises `BadCall` for an unknown method, and for an unknown, missing or wrong parameter, naming it and what
    it wants. ``null`` counts as missing.
    """
    method = CATALOGUE.get(name)
    if method is None:
        raise BadCall(METHOD_NOT_FOUND, f"{name}: no such method{_nearest(name, CATALOGUE)}")
    known = {param.name: param for param in method.params}
    for given in params:
        if given not in known:
            raise BadCall(INVALID_PARAMS, f"{name}: {given}: no such parameter{_nearest(given, known)}")
    checked: dict[str, object] = {}
    for param in method.params:
        value = params.get(param.name)
        if value is not None:
            _check_value(name, param, value)
        elif param.required:
            raise BadCall(INVALID_PARAMS, f"{name}: {param.name} is missing; wanted {param.kind.value}")
        checked[param.name] = param.default if value is None else value
    return checked


def _check_value(method: str, param: Param, value: object) -> None:
    if not _fits(param.kind, value):
        raise BadCall(
            INVALID_PARAMS, f"{method}: {param.name}: wanted {param.kind.value}, got {_shown(value)}"
        )
    if param.choices and value not in param.choices:
        raise BadCall(
            INVALID_PARAMS,
            f"{method}: {param.name}: wanted one of {', '.join(param.choices)}, got {_shown(value)}",
        )


def _fits(kind: Kind, value: object) -> bool:
    match kind:
        case Kind.TEXT:
            return isinstance(value, str)
        case Kind.FLAG:
            return isinstance(value, bool)
        case Kind.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= WIDEST_INTEGER
        case Kind.NUMBER:
            return (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and 0 <= value <= WIDEST_INTEGER
            )
        case Kind.TEXTS:
            return isinstance(value, list) and all(isinstance(text, str) for text in value)
        case Kind.TABLE:
            return isinstance(value, dict)


def _nearest(name: str, known: Mapping[str, object]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f" ({near[0]}?)" if near else ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
