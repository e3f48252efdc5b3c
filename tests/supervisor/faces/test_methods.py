"""Who may call what, and what becomes of events."""

from __future__ import annotations

import select
from typing import Any

import pytest
import trio

from ipc.control import METHODS, Access
from supervisor.faces import streams
from supervisor.principals import Principal

pytestmark = pytest.mark.timeout(60)

EXAMPLE: dict[str, Any] = {
    "name": "bob",
    "text": "hello",
    "signal": 1,
    "id": 1,
    "granted": True,
    "agent": "bob",
    "budgets": {"tokens": 5},
}
"""Values for required parameters."""

CHANGING = [method.name for method in METHODS if method.access is not Access.LOOK]
LOOKING = [
    method.name
    for method in METHODS
    if method.access is Access.LOOK and method.name not in ("session.authenticate", "agent.wait", "run.show")
]


def example(name: str) -> dict[str, Any]:
    method = next(method for method in METHODS if method.name == name)
    return {param.name: EXAMPLE[param.name] for param in method.params if param.required}


@pytest.mark.parametrize("method", CHANGING)
async def test_an_agent_changes_nothing(world: Any, method: str) -> None:
    await world.add("bob", "root")
    world.caller = Principal("root", admin=True, inside="carries AGENTD_RUN of this home")
    async with world.client() as client:
        error = await client.error(method, **example(method))
    assert error["data"]["exit_code"] == 4
    assert "carries AGENTD_RUN" in error["message"]
    assert world.pool.told == []
    assert not world.shut_down.is_set()


@pytest.mark.parametrize("method", LOOKING)
async def test_an_agent_may_look(world: Any, method: str) -> None:
    world.caller = Principal("root", admin=True, inside="carries AGENTD_RUN of this home")
    async with world.client() as client:
        await client.result(method, **example(method))


ON_AN_AGENT = [name for name in CHANGING if name.startswith("agent.") and name != "agent.add"] + [
    "budget.set"
]


@pytest.mark.parametrize("method", ON_AN_AGENT)
async def test_a_stranger_changes_nobody_elses_agent_and_its_originator_does(world: Any, method: str) -> None:
    await world.add("bob", "alice")
    async with world.client() as client:
        world.caller = Principal("mallory")
        error = await client.error(method, **example(method))
        assert error["data"]["exit_code"] == 4
        assert "alice" in error["data"]["remedy"]
        assert world.pool.told == []
        world.caller = Principal("alice")
        await client.result(method, **example(method))
        assert len(world.pool.told) == 1


@pytest.mark.parametrize("method", ["token.add", "token.list", "token.remove", "system.shutdown"])
async def test_only_administrators_administer(world: Any, method: str) -> None:
    world.caller = Principal("alice")
    async with world.client() as client:
        assert (await client.error(method, **example(method)))["data"]["exit_code"] == 4


async def test_a_token_makes_its_bearer_its_owner_until_it_is_removed(world: Any) -> None:
    await world.add("bob", "alice")
    await world.add("eve", "eve")
    async with world.client() as root, world.client() as bearer:
        token = (await root.result("token.add", name="laptop", principal="alice"))["token"]
        assert await bearer.result("session.authenticate", token=token) == {"principal": "alice"}
        await bearer.result("agent.stop", name="bob")
        assert (await bearer.error("agent.stop", name="eve"))["data"]["exit_code"] == 4
        assert (await bearer.error("token.list"))["data"]["exit_code"] == 4
        await root.result("token.remove", name="laptop")
        assert (await bearer.error("agent.stop", name="bob"))["data"]["exit_code"] == 4
        tokens = (await root.result("token.list"))["tokens"]
    assert [row["name"] for row in tokens] == ["laptop"]
    assert token not in str(tokens)


async def test_a_strangers_token_is_refused_and_leaves_the_caller_who_they_were(world: Any) -> None:
    await world.add("bob", "root")
    async with world.client() as client:
        error = await client.error("session.authenticate", token="made up")
        assert error["data"]["exit_code"] == 4
        await client.result("agent.stop", name="bob")


async def test_a_token_does_not_lead_out_of_an_agent(world: Any) -> None:
    await world.add("bob", "alice")
    async with world.client() as root, world.client() as bearer:
        token = (await root.result("token.add", name="laptop", principal="alice"))["token"]
        world.caller = Principal("root", admin=True, inside="descends from process 7 of this home")
        await bearer.result("session.authenticate", token=token)
        assert (await bearer.error("agent.stop", name="bob"))["data"]["exit_code"] == 4


async def test_settings_come_together_and_none_is_said_twice(world: Any) -> None:
    async with world.client() as client:
        await client.result("agent.start", name="bob", template="t", args=["a"], settings={"interval": 3})
        assert world.pool.told[0][:3] == ("start", "bob", {"interval": 3, "template": "t", "args": ["a"]})
        await client.result("agent.start", name="bob")
        assert world.pool.told[1][2] is None
        error = await client.error("agent.start", name="bob", cwd="/", settings={"cwd": "/tmp"})
        assert error["data"]["exit_code"] == 2


async def test_waiting_for_nobody_or_for_two_things_is_refused(world: Any) -> None:
    async with world.client() as client:
        assert (await client.error("agent.wait"))["data"]["exit_code"] == 2
        assert (await client.error("agent.wait", name="bob", run_id=1))["data"]["exit_code"] == 2


async def test_asking_for_what_an_agent_uses_looks_at_its_processes(world: Any) -> None:
    await world.add("bob", "root")
    async with world.client() as client:
        (row,) = (await client.result("agent.list", long=True))["agents"]
    assert row["memory_bytes"] > 1_000_000
    assert row["processes"] >= 1


async def test_shutdown_is_answered_and_then_asked_for(world: Any) -> None:
    async with world.client() as client:
        assert await client.result("system.shutdown") == {}
    assert world.shut_down.is_set()


async def test_events_are_read_in_pages(world: Any) -> None:
    await world.emit(*["thing"] * 5, agent="bob")
    await world.emit("other", agent="eve")
    async with world.client() as client:
        page = await client.result("events.read", after=0, limit=2)
        assert [event["id"] for event in page["events"]] == [1, 2]
        assert page["last"] == 2
        page = await client.result("events.read", after=4, agent="eve")
        assert [event["kind"] for event in page["events"]] == ["other"]
        page = await client.result("events.read", after=6)
        assert page == {"events": [], "last": 6}


async def test_a_follower_gets_each_event_once_from_the_number_it_names(world: Any) -> None:
    await world.emit("first", "second")
    async with world.client() as client:
        assert await client.result("events.follow", after=1) == {"last": 1}
        assert (await client.line())["params"]["kind"] == "second"
        await world.emit("third", agent="bob", what=7)
        told = await client.line()
        assert told["method"] == "events.event"
        assert told["params"]["id"] == 3
        assert told["params"]["data"] == {"what": 7}
        assert (await client.error("events.follow"))["data"]["exit_code"] == 5


async def test_a_follower_of_one_agent_hears_of_no_other(world: Any) -> None:
    async with world.client() as client:
        await client.result("events.follow", agent="bob")
        await world.emit("noise", agent="eve")
        await world.emit("news", agent="bob")
        assert (await client.line())["params"]["kind"] == "news"


async def test_a_number_from_another_time_is_taken_for_the_last_one(world: Any) -> None:
    await world.emit("first")
    async with world.client() as client:
        assert await client.result("events.follow", after=1000) == {"last": 1}


async def test_a_follower_is_told_of_the_end_and_where_to_go_on(world: Any) -> None:
    async with world.client() as client:
        await client.result("events.follow")
        await world.emit("last words")
        world.events.close()
        assert (await client.line())["params"]["kind"] == "last words"
        assert await client.line() == {"jsonrpc": "2.0", "method": "events.end", "params": {"after": 1}}
        assert await client.result("system.status")


def wait_until_cut(client: Any) -> None:
    """Wait until the other side has shut the socket, and read nothing meanwhile."""
    poll = select.poll()
    poll.register(client.stream.socket.fileno(), select.POLLRDHUP)
    assert poll.poll(10_000)


async def test_a_slow_follower_is_cut_holds_nobody_and_reads_on_by_number_without_a_gap(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SEND_WITHIN", 0.2)
    total, seen = 4000, 0
    async with world.client() as slow, world.client() as quick:
        await slow.result("events.follow")
        await quick.result("events.follow")
        for _ in range(total // 100):
            await world.emit(*["thing"] * 100, text="x" * 500)
        for number in range(1, total + 1):
            assert (await quick.line())["params"]["id"] == number
        await trio.to_thread.run_sync(wait_until_cut, slow)
        while (told := await slow.line()) is not None:
            seen = told["params"]["id"]
        assert 0 < seen < total
    async with world.client() as again:
        await again.result("events.follow", after=seen)
        for number in range(seen + 1, total + 1):
            assert (await again.line())["params"]["id"] == number


async def test_texts_that_are_no_utf8_cross_the_socket(world: Any) -> None:
    await world.emit("odd", text="a\udcffb")
    async with world.client() as client:
        await client.ask("events.read")
        while b"\n" not in client.data:
            client.data += await client.stream.receive_some(65536)
    assert rb"a\udcffb" in client.data
