"""Right and wrong values for every kind of field, and whole frames made of them."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import strategies as st

from ipc import commands, fields
from ipc.codec import Known
from ipc.commands import Budget, InitPayload
from ipc.fields import Kind
from ipc.frames import CATALOGUE

INT = 2**63 - 1

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, INT)
amounts = st.one_of(counts, st.floats(0, allow_nan=False, allow_infinity=False))
numbers = st.one_of(st.integers(-INT - 1, INT), st.floats(allow_nan=False, allow_infinity=False))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
objects = st.dictionaries(texts, json_values, max_size=4)

NOT_TEXT: list[Any] = [0, 1.5, True, [], {}, ["a"]]
NOT_LIST: list[Any] = [0, 1.5, True, {}, {"a": "b"}]
NOT_COUNT: list[Any] = ["1", 1.0, 1.5, True, -1, 2**63, 2**64, [], {}]
DEEP: dict[str, Any] = {}
for _ in range(fields.DEPTH_LIMIT):
    DEEP = {"a": DEEP}

_GOOD: dict[str, st.SearchStrategy[Any]] = {
    fields.TEXT.name: texts,
    fields.COUNT.name: counts,
    fields.NUMBER.name: numbers,
    fields.AMOUNT.name: amounts,
    fields.FLAG.name: st.booleans(),
    fields.OBJECT.name: objects,
    fields.TEXTS.name: st.lists(texts, max_size=3),
    fields.ARGS.name: st.lists(texts, max_size=3),
    fields.ENV.name: st.dictionaries(texts, texts, max_size=3),
    fields.COUNTS.name: st.lists(counts, max_size=3),
}
_WRONG: dict[str, list[Any]] = {
    fields.TEXT.name: NOT_TEXT,
    fields.COUNT.name: NOT_COUNT,
    fields.NUMBER.name: ["1", True, [], {}],
    fields.AMOUNT.name: ["1", True, -1, -0.5, -(2**63) - 1, [], {}],
    fields.FLAG.name: ["false", "true", "", 0, 1, 1.0, [], {}],
    fields.OBJECT.name: ["{}", 0, 1.5, True, [], [{}], DEEP],
    fields.TEXTS.name: ["a", *NOT_LIST, [1], ["a", None], [["a"]]],
    fields.ARGS.name: [*NOT_LIST, [1], ["a", None], [["a"]]],
    fields.ENV.name: ["a", 0, 1.5, True, [], {"A": 1}, {"A": None}, {"A": ["b"]}],
    fields.COUNTS.name: ["a", *NOT_LIST, ["1"], [1.0], [True], [-1], [2**63], [None]],
    commands.BUDGETS.name: ["a", *NOT_LIST, [1], [None], [[]], [{}]],
    commands.INIT_PAYLOAD.name: ["a", 0, 1.5, True, [], {}],
}


def good(kind: Kind) -> st.SearchStrategy[Any]:
    """Values that fit ``kind``."""
    if kind is commands.BUDGETS:
        return st.lists(fielded(Budget), max_size=3)
    if kind is commands.INIT_PAYLOAD:
        return fielded(InitPayload)
    if kind.name in _GOOD:
        return _GOOD[kind.name]
    if kind.name.startswith("text, at most"):
        return texts
    return st.sampled_from(kind.name.split(" | "))


def wrong(kind: Kind) -> list[Any]:
    """JSON values that do not fit ``kind``."""
    if kind.name in _WRONG:
        return _WRONG[kind.name]
    if kind.name.startswith("text, at most"):
        return NOT_TEXT
    words = kind.name.split(" | ")
    assert all(set(word) <= set(string.ascii_lowercase + "_") for word in words), kind.name
    return [*NOT_TEXT, "", words[0].upper(), f"{words[0]} "]


def fielded(cls: Any) -> st.SearchStrategy[Any]:
    """Objects of ``cls`` with each optional field given or left at its default."""
    needed = {name: good(kind) for name, kind, is_needed, _ in cls.PLAN if is_needed}
    others = {name: good(kind) for name, kind, is_needed, _ in cls.PLAN if not is_needed}
    return st.fixed_dictionaries(needed, optional=others).map(lambda values: cls(**values))


frames: st.SearchStrategy[Known] = st.one_of([fielded(cls) for cls in CATALOGUE.values()])
"""Any frame of the catalogue."""
