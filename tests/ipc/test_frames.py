"""The catalogue, and what its fields take and refuse."""

import json
from pathlib import Path
from typing import Any

import pytest

import ipc.frames
from ipc.codec import decode, encode
from ipc.commands import Budget, InitPayload
from ipc.errors import RemoteError
from ipc.fields import DEPTH_LIMIT, Kind
from ipc.frames import CATALOGUE, Frame, RunnerFrame, Side, SupervisorFrame, UnknownFrame
from tests.ipc.making import wrong

GOLDEN = Path(__file__).parent / "golden"
FULL = {
    json.loads(line)["op"]: line
    for side in Side
    for line in (GOLDEN / f"{side.value}.jsonl").read_bytes().splitlines()
}
PLAIN = (GOLDEN / "plain.jsonl").read_bytes().splitlines()


def full(op: str) -> dict[str, Any]:
    """The golden frame of ``op``: every field given."""
    raw: dict[str, Any] = json.loads(FULL[op])
    return raw


def decoded(raw: dict[str, Any]) -> Any:
    return decode(json.dumps(raw).encode())


FIELDS = [(op, field) for op, cls in CATALOGUE.items() for field in cls.PLAN]
NAMED = pytest.mark.parametrize(
    ("op", "name", "kind", "needed"),
    [pytest.param(op, name, kind, needed, id=f"{op}.{name}") for op, (name, kind, needed, _) in FIELDS],
)
WITHIN: list[tuple[str, list[str], Any]] = [
    ("init", ["payload"], InitPayload),
    ("init", ["payload", "budgets"], Budget),
    *((op, ["budgets"], Budget) for op in ("resume", "budgets", "reserved")),
]
INNER = pytest.mark.parametrize(
    ("op", "path", "name", "kind", "needed"),
    [
        pytest.param(op, path, name, kind, needed, id=f"{op}.{'.'.join(path)}.{name}")
        for op, path, cls in WITHIN
        for name, kind, needed, _ in cls.PLAN
    ],
)


def inside(raw: dict[str, Any], path: list[str]) -> dict[str, Any]:
    for name in path:
        raw = raw[name][-1] if isinstance(raw[name], list) else raw[name]
    return raw


def test_the_catalogue_holds_every_frame_class_by_its_op() -> None:
    classes = [
        item
        for item in vars(ipc.frames).values()
        if isinstance(item, type)
        and issubclass(item, Frame)
        and item not in (Frame, RunnerFrame, SupervisorFrame)
    ]
    assert set(CATALOGUE.values()) == set(classes)
    assert all(cls.op == op for op, cls in CATALOGUE.items())
    assert all(
        "".join(part.title() for part in op.split("_")) == cls.__name__ for op, cls in CATALOGUE.items()
    )


def test_the_numbered_frames_and_only_they_have_a_field_for_their_number() -> None:
    for op, cls in CATALOGUE.items():
        names = {name for name, *_ in cls.PLAN}
        number = "seq" if cls.sender is Side.RUNNER else "cmd"
        assert (number in names and op != "ack") == cls.numbered, op
    unnumbered = {op for op, cls in CATALOGUE.items() if not cls.numbered}
    assert unnumbered == {"init", "ack", "ping", "attach", "stop", "stream", "pong", "attached"}


def test_every_op_has_a_golden_line_with_every_field() -> None:
    assert set(FULL) == set(CATALOGUE)
    for op, cls in CATALOGUE.items():
        assert list(full(op)) == ["op", *(name for name, *_ in cls.PLAN)], op
    assert list(full("init")["payload"]) == [name for name, *_ in InitPayload.PLAN]


@pytest.mark.parametrize("op", CATALOGUE)
def test_a_golden_line_is_read_and_written_back_byte_for_byte(op: str) -> None:
    frame = decode(FULL[op])
    assert type(frame) is CATALOGUE[op]
    assert encode(frame) == FULL[op] + b"\n"


@pytest.mark.parametrize("line", PLAIN, ids=lambda line: json.loads(line)["op"])
def test_the_least_that_a_plain_peer_says_is_understood(line: bytes) -> None:
    frame = decode(line, plain=True)
    assert type(frame) is CATALOGUE[json.loads(line)["op"]]


def test_every_plain_op_is_among_the_plain_golden_lines() -> None:
    assert {json.loads(line)["op"] for line in PLAIN} == {op for op, cls in CATALOGUE.items() if not cls.ours}


@NAMED
def test_a_field_of_the_wrong_kind_is_refused_by_name(op: str, name: str, kind: Kind, needed: bool) -> None:
    assert wrong(kind)
    for value in wrong(kind):
        with pytest.raises(RemoteError) as caught:
            decoded(full(op) | {name: value})
        assert caught.value.field is not None
        assert f"{caught.value.field}.".startswith(f"{op}.{name}."), value
        assert caught.value.field in str(caught.value)


@INNER
def test_a_field_within_a_field_is_refused_by_its_path(
    op: str, path: list[str], name: str, kind: Kind, needed: bool
) -> None:
    for value in wrong(kind):
        raw = full(op)
        inside(raw, path)[name] = value
        with pytest.raises(RemoteError) as caught:
            decoded(raw)
        assert f"{caught.value.field}.".startswith(f"{'.'.join([op, *path, name])}."), value


@NAMED
def test_null_is_as_good_as_left_out(op: str, name: str, kind: Kind, needed: bool) -> None:
    left_out = {key: value for key, value in full(op).items() if key != name}
    if not needed:
        assert decoded(full(op) | {name: None}) == decoded(left_out)
        return
    for raw in (left_out, left_out | {name: None}):
        with pytest.raises(RemoteError) as caught:
            decoded(raw)
        assert caught.value.field == f"{op}.{name}"


@INNER
def test_null_within_a_field_is_as_good_as_left_out(
    op: str, path: list[str], name: str, kind: Kind, needed: bool
) -> None:
    null, absent = full(op), full(op)
    inside(null, path)[name] = None
    del inside(absent, path)[name]
    if not needed:
        assert decoded(null) == decoded(absent)
        return
    for raw in (null, absent):
        with pytest.raises(RemoteError) as caught:
            decoded(raw)
        assert caught.value.field == ".".join([op, *path, name])


@pytest.mark.parametrize("op", CATALOGUE)
def test_an_unknown_field_is_ignored(op: str) -> None:
    assert decoded(full(op) | {"flavour": {"of": ["things"]}}) == decoded(full(op))


def test_an_unknown_op_is_kept_whole() -> None:
    raw = {"op": "sing", "song": {"words": ["la", None]}, "seq": 3}
    assert decoded(raw) == UnknownFrame("sing", raw)


@pytest.mark.parametrize("op", [op for op, cls in CATALOGUE.items() if cls.ours])
def test_an_op_of_ours_is_unknown_from_a_plain_peer_whatever_it_holds(op: str) -> None:
    raw = {"op": op, **{name: object_ for name, *_ in CATALOGUE[op].PLAN for object_ in [["?"]]}}
    assert decode(json.dumps(raw).encode(), plain=True) == UnknownFrame(op, raw)


def test_args_may_be_one_text() -> None:
    raw = full("init")
    raw["payload"]["args"] = "one two"
    assert decoded(raw).payload.args == ["one two"]


@pytest.mark.parametrize(
    ("op", "name", "limit"), [("iteration_done", "summary", 500), ("paused_budget", "reason", 300)]
)
def test_text_that_is_too_long_is_cut_on_both_sides(op: str, name: str, limit: int) -> None:
    frame = decoded(full(op) | {name: "ü" * (limit + 1)})
    assert getattr(frame, name) == "ü" * limit
    setattr(frame, name, "ü" * (limit + 1))
    assert json.loads(encode(frame))[name] == "ü" * limit


def test_an_object_may_be_as_deep_as_the_limit_and_no_deeper() -> None:
    def nested(depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for _ in range(depth - 1):
            value = {"a": [value]} if depth % 2 else {"a": value}
        return value

    assert encode(decoded({"op": "stream", "stream": "tool", "data": nested(DEPTH_LIMIT)}))
    with pytest.raises(RemoteError, match=r"stream\.data"):
        decoded({"op": "stream", "stream": "tool", "data": nested(DEPTH_LIMIT + 2)})


def test_what_may_be_secret_is_in_no_repr() -> None:
    raw = full("init")
    raw["payload"]["env"]["TOKEN"] = raw["payload"]["config"]["prompt"] = "s3cr3t"
    assert "s3cr3t" not in repr(decoded(raw))
