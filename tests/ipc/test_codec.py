"""Frames into lines and back."""

import copy
import hashlib
import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipc.codec import Known, decode, digest, encode
from ipc.errors import LocalError, RemoteError
from ipc.frames import (
    Ack,
    Budget,
    Exit,
    Init,
    InitPayload,
    IterationDone,
    Log,
    PermissionRequest,
    PermissionResponse,
    Ready,
    Resume,
    StrayLine,
    Stream,
    Usage,
)
from ipc.lines import LINE_LIMIT
from tests.ipc.making import frames, json_values, objects, texts


@given(frames)
def test_every_frame_survives_the_way_over_the_wire(frame: Known) -> None:
    line = encode(frame)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line[:-1]) == frame
    assert decode(line) == frame


@given(frames)
def test_every_frame_can_be_read_by_pythons_own_json(frame: Known) -> None:
    assert json.loads(encode(frame))["op"] == frame.op


@given(frames)
def test_a_plain_peer_sees_only_plain_fields_and_words(frame: Known) -> None:
    raw = json.loads(encode(frame, plain=True))
    assert set(raw) <= {"op"} | {name for name, _, _, ours in frame.PLAN if not ours}
    if isinstance(frame, IterationDone):
        assert raw["status"] in ("ok", "error", "permission")
    if isinstance(frame, Exit):
        assert raw["reason"] in ("completed", "exception")


def test_what_is_none_is_left_out_at_every_depth() -> None:
    init = Init(
        payload=InitPayload(
            name="a", run_id="1", template="/t", budgets=[Budget(scope="run", what="tokens", cap=1)]
        )
    )
    assert b"null" not in encode(init)
    assert encode(Resume()) == b'{"op":"resume"}\n'


def test_writing_a_frame_leaves_it_as_it_was() -> None:
    frame = IterationDone(iteration=1, status="no_change", summary="x" * 600)
    before = copy.deepcopy(frame)
    encode(frame, plain=True)
    assert frame == before


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (Ack(seq=-1), "ack.seq"),
        (Ack(seq=2**63), "ack.seq"),
        (Ack(seq=True), "ack.seq"),
        (Ack(seq=None), "ack.seq"),  # type: ignore[arg-type]
        (Log(msg=b"bytes"), "log.msg"),  # type: ignore[arg-type]
        (Exit(reason="bored"), "exit.reason"),
        (Usage(iteration=1, cost_usd=math.nan), "usage.cost_usd"),
        (Usage(iteration=1, cost_usd=math.inf), "usage.cost_usd"),
        (Usage(iteration=1, cost_usd=10**400), "usage.cost_usd"),
        (Stream(stream="tool", data={"a": [math.nan]}), "stream.data"),
        (Resume(budgets=[Budget(scope="run", what="tokens", cap=math.inf)]), "resume.budgets.cap"),
        (Init(payload=InitPayload(name="a", run_id=17, template="/t")), "init.payload.run_id"),  # type: ignore[arg-type]
        (Init(payload={"name": "a"}), "init.payload.run_id"),  # type: ignore[arg-type]
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_frame_of_ours_that_the_peer_would_refuse_is_never_written(frame: Known, field: str) -> None:
    with pytest.raises(LocalError) as caught:
        encode(frame)
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize(
    "value",
    ["\ud800", {"\udfff": 1}, {1: 2}, {"a": 2**64}, {"a": {1, 2}}, {"a": object()}],
    ids=["lone surrogate", "lone surrogate as key", "number as key", "65 bits", "set", "object"],
)
def test_what_json_cannot_hold_is_our_error(value: Any) -> None:
    frame = Log(msg=value) if isinstance(value, str) else Stream(stream="tool", data=value)
    with pytest.raises(LocalError, match=f"^{frame.op} cannot be written as JSON"):
        encode(frame)


def test_a_line_of_ours_may_be_as_long_as_the_limit_and_no_longer() -> None:
    room = LINE_LIMIT - len(encode(Log(msg="")))
    assert len(encode(Log(msg="x" * room))) == LINE_LIMIT
    with pytest.raises(LocalError, match="over the limit"):
        encode(Log(msg="x" * (room + 1)))


STRAY = [
    b"",
    b" ",
    b"hello",
    b"{",
    b'{"op":"log","msg":"to',
    b"null",
    b"[]",
    b'["op"]',
    b'"op"',
    b"17",
    b"{}",
    b'{"op":null}',
    b'{"op":1}',
    b'{"op":["log"]}',
    b'{"Op":"log","msg":"a"}',
    b'{"op":"log","msg":NaN}',
    b'{"op":"usage","iteration":1,"cost_usd":Infinity}',
    b'{"op":"usage","iteration":1,"cost_usd":-Infinity}',
    b'{"op":"usage","iteration":1,"cost_usd":1e999}',
    b'{"op":"log","msg":"\\ud800"}',
    b'{"op":"log","msg":"\xff"}',
    b'{"op":"log","msg":"\xed\xa0\x80"}',
    b'{"op":"log","msg":"a\x00b"}',
    b'{"op":"log","msg":"a"} trailing',
    b"{'op':'log','msg':'a'}",
    b'\xef\xbb\xbf{"op":"log","msg":"a"}',
    b"[" * 100_000,
    b'{"op":"log","data":' + b"[" * 2_000 + b"]" * 2_000 + b"}",
]


@pytest.mark.parametrize("line", STRAY, ids=lambda line: repr(line[:40]))
def test_a_line_that_is_no_object_with_an_op_is_stray(line: bytes) -> None:
    assert decode(line) == StrayLine(line.decode("utf-8", "backslashreplace"))


def test_a_carriage_return_and_blanks_around_an_object_do_no_harm() -> None:
    assert decode(b' {"op":"resumed"}\t\r') == decode(b'{"op":"resumed"}')


def test_of_duplicate_keys_the_last_counts() -> None:
    assert decode(b'{"op":"log","msg":"a","op":"ack","seq":1,"seq":2}') == Ack(seq=2)
    with pytest.raises(RemoteError):
        decode(b'{"op":"ack","seq":1,"seq":"2"}')


@pytest.mark.parametrize("seq", ["9223372036854775808", "18446744073709551616", "1" + "0" * 400, "1e3", "-1"])
def test_a_whole_number_beyond_sixty_four_bits_is_refused(seq: str) -> None:
    line = f'{{"op":"ack","seq":{seq}}}'.encode()
    if len(seq) > 400:
        assert isinstance(decode(line), StrayLine)
        return
    with pytest.raises(RemoteError) as caught:
        decode(line)
    assert caught.value.field == "ack.seq"


@pytest.mark.parametrize("cost", ["9223372036854775808", "18446744073709551616"])
def test_an_amount_beyond_sixty_four_bits_becomes_a_float(cost: str) -> None:
    usage = decode(f'{{"op":"usage","iteration":1,"cost_usd":{cost}}}'.encode())
    assert isinstance(usage, Usage)
    assert type(usage.cost_usd) is float
    assert usage.cost_usd == float(cost)


def test_the_largest_whole_number_survives() -> None:
    assert decode(encode(Ack(seq=2**63 - 1))) == Ack(seq=2**63 - 1)


def read(line: bytes) -> object:
    """The frame on ``line``, or the error that refused it."""
    try:
        return decode(line)
    except RemoteError as error:
        return error


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_raise_anything_but_a_remote_error(line: bytes) -> None:
    found = read(line)
    assert not isinstance(found, RemoteError) or found.field


@given(frames, st.data())
def test_a_valid_line_with_any_field_replaced_is_read_or_refused_by_that_field(
    frame: Known, data: st.DataObject
) -> None:
    raw = json.loads(encode(frame))
    name = data.draw(st.sampled_from(sorted(raw)))
    raw[name] = data.draw(json_values)
    found = read(orjson.dumps(raw))
    if isinstance(found, RemoteError):
        assert str(found.field).startswith(f"{frame.op}.{name}")
    else:
        assert name == "op" or type(found) is type(frame)


@given(texts, objects)
@example("t", {"a": 1e-7, "b": 1e16, "c": -0.0, "ü\u2028\x7f\x00": "\b"})
def test_the_digest_is_that_of_pythons_own_json_and_the_same_on_both_sides(
    tool: str, input: dict[str, Any]
) -> None:
    text = json.dumps([tool, input], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert digest(tool, input) == expected
    arrived = decode(encode(PermissionRequest(request_id="r", tool=tool, input=input)))
    assert isinstance(arrived, PermissionRequest)
    assert digest(arrived.tool, arrived.input) == expected


@given(st.dictionaries(texts, json_values, min_size=2, max_size=5))
def test_the_digest_does_not_depend_on_the_order_of_keys(input: dict[str, Any]) -> None:
    assert digest("t", input) == digest("t", dict(reversed(input.items())))


def test_the_digest_differs_for_another_tool_or_another_input() -> None:
    assert (
        len({digest("a", {"x": 1}), digest("b", {"x": 1}), digest("a", {"x": 2}), digest("a", {"x": 1.0})})
        == 4
    )


def test_a_digest_is_this_one_for_good() -> None:
    assert (
        digest("tool", {"b": [1, None], "a": "ü"})
        == hashlib.sha256('["tool",{"a":"ü","b":[1,null]}]'.encode()).hexdigest()
    )


@pytest.mark.parametrize("input", [{"a": math.nan}, {"a": "\ud800"}, {"a": b""}])
def test_there_is_no_digest_of_what_json_cannot_hold(input: dict[str, Any]) -> None:
    with pytest.raises(LocalError):
        digest("t", input)


def test_the_deepest_input_that_is_read_can_be_digested_and_said_again() -> None:
    deep = b'{"a":' * 127 + b"{}" + b"}" * 127
    frame = decode(b'{"op":"permission_request","request_id":"r","tool":"t","input":' + deep + b"}")
    assert isinstance(frame, PermissionRequest)
    assert len(digest(frame.tool, frame.input)) == 64
    assert deep in encode(frame)
    assert deep in encode(PermissionResponse(request_id="r", granted=True, updated_input=frame.input))


def test_frames_compare_by_value() -> None:
    assert Ready(pid=1) == Ready(pid=1) != Ready(pid=2)
