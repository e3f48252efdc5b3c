"""One frame, one line: between the catalogue's classes and bytes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import orjson

from ipc.errors import LocalError, RemoteError
from ipc.fields import FieldError, build, given
from ipc.frames import CATALOGUE, RunnerFrame, StrayLine, SupervisorFrame, UnknownFrame
from ipc.lines import LINE_LIMIT

Known = SupervisorFrame | RunnerFrame
"""A frame of the catalogue."""

_WRITING = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS


def encode(frame: Known, *, plain: bool = False) -> bytes:
    """Return ``frame`` as one line, newline included; what is ``None`` is left out, what is too long for its kind cut.

    ``plain``: for a peer that knows only the plain dialect. Our fields are left out, our words said in its own.

    Raises:
        LocalError: a field does not fit its kind, or the line would pass the limit.
    """
    raw: dict[str, Any] = {"op": frame.op}
    for name, kind, needed, ours in frame.PLAN:
        value = getattr(frame, name)
        if value is None:
            if needed:
                raise LocalError(f"{frame.op}.{name} is missing")
            continue
        if plain and ours:
            continue
        try:
            value = kind.check(value)
        except ValueError as error:
            inner = f".{error}" if isinstance(error, FieldError) else f": wanted {kind.name}"
            raise LocalError(f"{frame.op}.{name}{inner}") from None
        raw[name] = kind.plainly.get(value, value) if plain and kind.plainly else value
    try:
        line = orjson.dumps(raw, default=_nested, option=_WRITING)
    except (TypeError, ValueError) as error:
        raise LocalError(f"{frame.op} cannot be written as JSON: {error}") from None
    if len(line) > LINE_LIMIT:
        raise LocalError(f"{frame.op} is {len(line)} bytes long, over the limit of {LINE_LIMIT}")
    return line


def _nested(value: Any) -> Any:
    if hasattr(value, "PLAN"):
        return given(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def decode(line: bytes, *, plain: bool = False) -> Known | UnknownFrame | StrayLine:
    """Read one line, given with or without its newline.

    ``plain``: from a peer that knows only the plain dialect; an op of ours means nothing from it.

    Raises:
        RemoteError: a frame that we know, with a field of the wrong kind.
    """
    try:
        raw = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _stray(line)
    if type(raw) is not dict or type(op := raw.get("op")) is not str:
        return _stray(line)
    cls = CATALOGUE.get(op)
    if cls is None or (plain and cls.ours):
        return UnknownFrame(op, raw)
    try:
        return build(cls, raw)
    except FieldError as error:
        raise RemoteError(f"{op}.{error}", field=f"{op}.{error.path}") from None


def _stray(line: bytes) -> StrayLine:
    return StrayLine(line.decode("utf-8", "backslashreplace"))


def digest(tool: str, input: dict[str, Any]) -> str:
    """Return what binds a decision to exactly this tool and input: SHA-256 in hex over their sorted JSON.

    By Python's own ``json``, whose way to write a float does not change with a library's version.

    Raises:
        LocalError: they hold what JSON cannot.
    """
    try:
        text = json.dumps(
            [tool, input], sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return hashlib.sha256(text.encode()).hexdigest()
    except (TypeError, ValueError, RecursionError) as error:
        raise LocalError(f"no digest: {error}") from None
