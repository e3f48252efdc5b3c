"""The socket: framing, errors, bounds, and one answer for each request."""

from __future__ import annotations

import stat
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import trio

from ipc.control import CATALOGUE
from supervisor.errors import KINDS
from supervisor.faces import rpc, streams
from supervisor.faces.methods import HANDLERS
from supervisor.faces.rpc import serve

pytestmark = pytest.mark.timeout(60)

GARBAGE: list[tuple[bytes, int, str]] = [
    (b"garbage", -32700, "no JSON"),
    (b"", -32700, "no JSON"),
    (b"\xff\xfe\x00", -32700, "no JSON"),
    (b'{"jsonrpc":', -32700, "no JSON"),
    (b"[" * 5000, -32700, "no JSON"),
    (b"[]", -32600, "batches"),
    (b"7", -32600, "object"),
    (b"null", -32600, "object"),
    (b'{"id":1,"method":"system.status"}', -32600, "jsonrpc"),
    (b'{"jsonrpc":"1.0","id":1,"method":"system.status"}', -32600, "jsonrpc"),
    (b'{"jsonrpc":"2.0","id":{},"method":"system.status"}', -32600, "id"),
    (b'{"jsonrpc":"2.0","id":true,"method":"system.status"}', -32600, "id"),
    (b'{"jsonrpc":"2.0","id":1}', -32600, "method"),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600, "method"),
    (b'{"jsonrpc":"2.0","id":1,"method":"system.status","params":[]}', -32602, "params"),
    (b'{"jsonrpc":"2.0","id":1,"method":"system.statsu"}', -32601, "system.status?"),
    (b'{"jsonrpc":"2.0","id":1,"method":"agent.stop","params":{}}', -32602, "name is missing"),
    (b'{"jsonrpc":"2.0","id":1,"method":"agent.stop","params":{"nmae":"x"}}', -32602, "(name?)"),
    (b'{"jsonrpc":"2.0","id":1,"method":"run.show","params":{"run_id":"7"}}', -32602, "run_id"),
    (b'{"jsonrpc":"2.0","id":1,"method":"run.show","params":{"run_id":-7}}', -32602, "run_id"),
]


@pytest.mark.parametrize(("line", "code", "told"), GARBAGE)
async def test_garbage_gets_one_error_that_names_the_fault_and_the_next_request_is_answered(
    world: Any, line: bytes, code: int, told: str
) -> None:
    async with world.client() as client:
        await client.send(line + b"\n")
        answer = await client.line()
        assert answer["error"]["code"] == code
        assert told in answer["error"]["message"]
        assert (await client.result("system.status"))["version"] == "1.2.3"


async def test_notifications_are_not_answered(world: Any) -> None:
    async with world.client() as client:
        await client.send(b'{"jsonrpc":"2.0","method":"agent.stop","params":{"name":"x"}}\n')
        assert await client.result("system.status")
    assert world.pool.told == []


async def test_a_request_of_ten_megabytes_gets_one_error_and_the_end_and_is_never_held(world: Any) -> None:
    tracemalloc.start()
    try:
        async with world.client() as client:
            for _ in range(160):
                await client.send(b"x" * 65536)
            answer = await client.line()
            assert answer["error"]["code"] == -32600
            assert "1048576 bytes" in answer["error"]["message"]
            assert await client.line() is None
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


async def test_who_does_not_stop_sending_is_cut_off(world: Any) -> None:
    async def flood(client: Any) -> None:
        while True:
            await client.send(b"x" * 65536)

    async with world.client() as client:
        with pytest.raises(trio.BrokenResourceError):
            await flood(client)


async def test_a_request_without_its_newline_is_answered_when_the_client_ends_its_side(world: Any) -> None:
    async with world.client() as client:
        await client.send(b'{"jsonrpc":"2.0","id":9,"method":"system.status"}')
        await client.stream.send_eof()
        assert (await client.line())["id"] == 9
        assert await client.line() is None


async def test_two_hundred_clients_at_once_are_all_answered(world: Any) -> None:
    answered = 0

    async def one(ready: trio.Event) -> None:
        nonlocal answered
        async with world.client() as client:
            await ready.wait()
            for _ in range(3):
                assert (await client.result("system.status"))["pid"]
            answered += 1

    ready = trio.Event()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(one, ready)
            await trio.lowlevel.checkpoint()
            ready.set()
    assert answered == 200


async def test_a_client_too_many_is_told_so_and_a_place_is_free_when_one_leaves(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "CONNECTIONS", 2)
    async with world.client() as first:
        await first.result("system.status")
        async with world.client() as second:
            await second.result("system.status")
            async with world.client() as third:
                answer = await third.line()
                assert "2 clients" in answer["error"]["message"]
                assert await third.line() is None
        answered = False
        while not answered:
            async with world.client() as fourth:
                await fourth.ask("system.status")
                answered = (await fourth.line())["id"] == 1


async def test_a_client_that_never_reads_is_cut_off_and_holds_nobody(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SEND_WITHIN", 2.0)

    async def ask_and_never_listen(deaf: Any, other: Any) -> None:
        while True:
            for _ in range(50):
                await deaf.ask("system.status")
            with trio.fail_after(1.5):
                assert await other.result("system.status")

    async with world.client() as deaf, world.client() as other:
        with pytest.raises(trio.BrokenResourceError):
            await ask_and_never_listen(deaf, other)


async def test_a_wait_does_not_hold_up_the_connection_and_is_answered_once(world: Any) -> None:
    async with world.client() as client:
        await client.ask("agent.wait", name="bob")
        assert await client.result("system.status")
        world.pool.waited.set()
        answer = await client.line()
        assert answer["id"] == 1
        assert answer["result"]["status"] == "ok"


async def test_a_connection_may_not_have_any_number_of_waits(world: Any) -> None:
    async with world.client() as client:
        for _ in range(rpc.WAITING):
            await client.ask("agent.wait", name="bob")
        error = await client.error("agent.wait", name="bob")
        assert error["data"]["exit_code"] == 5


async def test_a_wait_is_answered_after_the_client_ended_its_side(world: Any) -> None:
    async with world.client() as client:
        await client.ask("agent.wait", name="bob")
        await client.stream.send_eof()
        await world.pool.waiting.receive()
        world.pool.waited.set()
        assert (await client.line())["result"]["status"] == "ok"
        assert await client.line() is None


async def test_the_end_of_the_server_answers_what_is_open_exactly_once(folder: Path, make_world: Any) -> None:
    world = make_world(folder)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, world.service, world.home.socket)
            async with world.client() as client:
                await client.ask("agent.wait", name="bob")
                await client.ask("agent.wait", name="eve")
                await world.pool.waiting.receive()
                await world.pool.waiting.receive()
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    answers = [await client.line(), await client.line()]
                    assert sorted(answer["id"] for answer in answers) == [1, 2]
                    assert {answer["error"]["data"]["exit_code"] for answer in answers} == {6}
                    assert await client.line() is None
    assert not world.home.socket.exists()


async def test_a_deaf_client_does_not_hold_up_the_end_of_the_server(folder: Path, make_world: Any) -> None:
    world = make_world(folder)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, world.service, world.home.socket)
            async with world.client() as deaf:
                with trio.move_on_after(0.5):
                    while True:
                        await deaf.ask("system.status")
                began = trio.current_time()
                nursery.cancel_scope.cancel()
    assert trio.current_time() - began < 2.5


@pytest.mark.parametrize("name", KINDS)
async def test_each_error_of_ours_crosses_the_socket_with_its_code_name_and_remedy(
    world: Any, name: str
) -> None:
    await world.add("bob", "root")
    kind = KINDS[name]
    world.pool.error = kind("bob: no", remedy="do it")
    async with world.client() as client:
        error = await client.error("agent.stop", name="bob")
    assert error == {
        "code": -32000 - kind.exit_code,
        "message": "bob: no",
        "data": {"name": name, "exit_code": kind.exit_code, "remedy": "do it"},
    }


async def test_what_nobody_foresaw_is_logged_and_told_without_its_text(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world.pool.error = KeyError("a secret")
    async with world.client() as client:
        error = await client.error("agent.stop", name="bob")
    assert error["code"] == -32603
    assert "secret" not in error["message"]
    assert "a secret" in caplog.text


async def test_a_stale_socket_file_is_replaced_and_only_its_owner_may_connect(world: Any) -> None:
    assert stat.S_IMODE(world.home.socket.stat().st_mode) == 0o600
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, world.service, world.home.socket)
        async with world.client() as client:
            assert await client.result("system.status")
        nursery.cancel_scope.cancel()


def test_each_method_of_the_catalogue_has_a_handler_and_no_other_has() -> None:
    assert HANDLERS.keys() == CATALOGUE.keys() - {"session.authenticate"}
