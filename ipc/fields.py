"""What a field of a frame may hold: one checker a kind, and the decorator that makes a class of fields a frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

INT_LIMIT = 2**63
"""Integers on the wire fit SQLite's 64 bits."""

DEPTH_LIMIT = 128
"""How deep an object may be nested: orjson reads 1,024 levels but writes only 254."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: ``check`` returns the value to keep, or raises ``ValueError``."""

    name: str
    check: Callable[[Any], Any]
    plainly: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What to say to a plain peer in place of a word that it does not know."""


def _text(value: Any) -> Any:
    if type(value) is not str:
        raise ValueError
    return value


def _count(value: Any) -> Any:
    if type(value) is not int or not 0 <= value < INT_LIMIT:
        raise ValueError
    return value


def _number(value: Any) -> Any:
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError
        return value
    if type(value) is not int:
        raise ValueError
    if -INT_LIMIT <= value < INT_LIMIT:
        return value
    try:
        return float(value)
    except OverflowError:
        raise ValueError from None


def _amount(value: Any) -> Any:
    number = _number(value)
    if number < 0:
        raise ValueError
    return number


def _flag(value: Any) -> Any:
    if type(value) is not bool:
        raise ValueError
    return value


def _mapping(value: Any) -> Any:
    if type(value) is not dict:
        raise ValueError
    level: list[Any] = [value]
    for _ in range(DEPTH_LIMIT):
        below: list[Any] = []
        for one in level:
            for item in one.values() if type(one) is dict else one:
                if type(item) is dict or type(item) is list:
                    below.append(item)
                elif type(item) is float and not math.isfinite(item):
                    raise ValueError
        if not below:
            return value
        level = below
    raise ValueError


def _texts(value: Any) -> Any:
    if type(value) is not list or not all(type(item) is str for item in value):
        raise ValueError
    return value


def _args(value: Any) -> Any:
    return [value] if type(value) is str else _texts(value)


def _env(value: Any) -> Any:
    if type(value) is not dict or not all(type(item) is str for item in value.values()):
        raise ValueError
    return value


def _counts(value: Any) -> Any:
    if type(value) is not list or not all(type(item) is int and 0 <= item < INT_LIMIT for item in value):
        raise ValueError
    return value


TEXT = Kind("text", _text)
COUNT = Kind("whole number ≥ 0", _count)
NUMBER = Kind("number", _number)
AMOUNT = Kind("number ≥ 0", _amount)
FLAG = Kind("true or false", _flag)
OBJECT = Kind(f"object, at most {DEPTH_LIMIT} deep", _mapping)
TEXTS = Kind("list of texts", _texts)
ARGS = Kind("list of texts, or one text", _args)
ENV = Kind("object of texts", _env)
COUNTS = Kind("list of whole numbers ≥ 0", _counts)


def clipped(limit: int) -> Kind:
    """Text that is cut to ``limit`` characters rather than refused."""
    return Kind(f"text, at most {limit} characters", lambda value: _text(value)[:limit])


def choice(*names: str, plainly: Mapping[str, str] | None = None) -> Kind:
    """One of a few words. ``plainly``: those that are additions of ours, each with what a plain peer is told."""

    def check(value: Any) -> Any:
        if value not in names or type(value) is not str:
            raise ValueError
        return value

    return Kind(" | ".join(names), check, plainly or {})


def required(kind: Kind, *, ours: bool = False) -> Any:
    """A field that must be there. ``ours``: an addition to the plain dialect."""
    return field(metadata={"kind": kind, "ours": ours})


def optional(kind: Kind, *, default: Any, ours: bool = False) -> Any:
    """A field that may be left out, or be null."""
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata={"kind": kind, "ours": ours})
    return field(default=default, metadata={"kind": kind, "ours": ours})


T = TypeVar("T")


@dataclass_transform(kw_only_default=True, field_specifiers=(required, optional))
def fielded(cls: type[T]) -> type[T]:
    """Make ``cls`` a slotted dataclass whose fields all come with a kind."""
    made = dataclass(slots=True, kw_only=True)(cls)
    made.PLAN = tuple(  # type: ignore[attr-defined]
        (
            one.name,
            one.metadata["kind"],
            one.default is MISSING and one.default_factory is MISSING,
            one.metadata["ours"],
        )
        for one in fields(made)  # type: ignore[arg-type]
    )
    return made


class FieldError(ValueError):
    """A field is missing or holds the wrong kind of value; ``path`` names it."""

    def __init__(self, path: str, wanted: str) -> None:
        super().__init__(f"{path}: wanted {wanted}")
        self.path = path
        self.wanted = wanted


def given(one: Any) -> dict[str, Any]:
    """Return the fields of a ``fielded`` object that are not ``None``."""
    return {name: value for name, _, _, _ in one.PLAN if (value := getattr(one, name)) is not None}


def build(cls: type[T], raw: Any) -> T:
    """Make a ``cls`` out of a decoded JSON object, or check one that is made already.

    Null counts as left out, unknown names are ignored.

    Raises:
        FieldError: with the path of the first field that does not fit.
        ValueError: ``raw`` is no object at all.
    """
    if type(raw) is cls:
        raw = given(raw)
    if type(raw) is not dict:
        raise ValueError
    values = {}
    for name, kind, needed, _ in cls.PLAN:  # type: ignore[attr-defined]
        value = raw.get(name)
        if value is None:
            if needed:
                raise FieldError(name, kind.name)
            continue
        try:
            values[name] = kind.check(value)
        except FieldError as error:
            raise FieldError(f"{name}.{error.path}", error.wanted) from None
        except ValueError:
            raise FieldError(name, kind.name) from None
    return cls(**values)
