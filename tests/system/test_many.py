"""Many at once, and again and again: nothing is left behind, and nobody waits for another."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter

import pytest

from tests.system import traces
from tests.system.home import BUSY, IDLE, Home, peer
from tests.system.rpc import PATIENCE, Refused, Rpc


@pytest.mark.slow
def test_30_agents_start_and_stop_in_parallel(home: Home) -> None:
    names = [f"a{number}" for number in range(30)]
    starts = {name: home.rpc.post("agent.start", name=name, template="any", settings=BUSY) for name in names}
    run_ids = {name: home.rpc.answer(number)["run_id"] for name, number in starts.items()}
    for name in names:
        home.event("iteration.started", agent=name)
    pids = [home.agent(name)["pid"] for name in names]
    assert len(set(pids)) == 30
    began = time.monotonic()
    home.ok("stop", "all")
    took = time.monotonic() - began
    assert took < 15, "30 stops, each of which may take its grace, do not wait for one another"
    for pid in pids:
        assert traces.is_gone(pid, 1)
    assert Counter(home.run(run_id)["state"] for run_id in run_ids.values()) == {"stopped": 30}


@pytest.mark.slow
def test_30_deaf_runners_are_killed_side_by_side(home: Home) -> None:
    names = [f"a{number}" for number in range(30)]
    settings = {**IDLE, "launch": peer("deaf"), "grace": 2, "restart": "never"}
    for name in names:
        home.call("agent.start", name=name, template="any", settings=settings)
    for name in names:
        home.event("iteration.started", agent=name)
    began = time.monotonic()
    home.ok("shutdown")
    assert time.monotonic() - began < 12
    home.hang_up()
    assert home.process is not None
    assert home.process.wait(PATIENCE) == 0
    found = home.rows("SELECT state, exit_signal FROM agent_runs")
    assert Counter((row["state"], row["exit_signal"]) for row in found) == {("stopped", 9): 30}


@pytest.mark.slow
def test_after_50_cycles_supervisor_and_keeper_hold_as_many_descriptors_as_before(home: Home) -> None:
    def cycle() -> None:
        home.begin_agent("one", **IDLE)
        home.stop("one")

    cycle()
    home.call("agent.list")
    before = traces.descriptors(home.pid), traces.descriptors(home.keeper)
    for _ in range(50):
        cycle()
    home.call("agent.list")
    assert (traces.descriptors(home.pid), traces.descriptors(home.keeper)) == before
    assert len(home.rows("SELECT 1 FROM agent_runs WHERE state = 'stopped'")) == 51
    assert os.listdir(home.folder / "runs" / "30"), "the history of a run stays"


def test_starts_of_one_agent_from_many_sides_make_one_run(home: Home) -> None:
    callers = home.connect(8)
    for number in range(5):
        name = f"a{number}"
        home.call("agent.add", name=name, template="any", settings=IDLE)
        posted = [(caller, caller.post("agent.start", name=name)) for caller in callers]
        assert Counter(outcome(*one) for one in posted) == {"ok": 1, "conflict": 7}
        assert len(home.rows("SELECT 1 FROM agent_runs WHERE agent = ?", name)) == 1


@pytest.mark.parametrize("verb", ["agent.stop", "agent.start", "agent.restart"])
def test_a_verb_that_meets_a_crash_is_obeyed_at_once(home: Home, verb: str) -> None:
    for number in range(6):
        name = f"a{number}"
        home.begin_agent(name, **IDLE)
        os.kill(home.agent(name)["pid"], signal.SIGKILL)
        crashed = home.event("run.crashed", agent=name)
        said = outcome(home.rpc, home.rpc.post(verb, name=name))
        if verb == "agent.stop":
            assert said == "ok"
            home.event("agent.wanted", agent=name, wanted="down", after=crashed["id"])
            home.ok("stop", "all")
            assert home.agent(name)["state"] == "idle"
        else:
            assert said in ("ok", "conflict")
            assert len(home.rows("SELECT 1 FROM agent_runs WHERE agent = ? AND ended_at IS NULL", name)) == 1


@pytest.mark.parametrize("verb", ["agent.stop", "agent.start"])
def test_a_verb_that_meets_the_recovery_is_obeyed(home: Home, verb: str) -> None:
    names = [f"a{number}" for number in range(6)]
    for name in names:
        home.begin_agent(name, **IDLE)
    home.signal(signal.SIGKILL)
    home.start()
    callers = home.connect(len(names))
    posted = [(caller, caller.post(verb, name=name)) for caller, name in zip(callers, names, strict=True)]
    said = Counter(outcome(*one) for one in posted)
    if verb == "agent.stop":
        assert said == {"ok": 6}
        assert {home.agent(name)["wanted"] for name in names} == {"down"}
    else:
        assert set(said) <= {"ok", "conflict"}
        for name in names:
            home.event("runner.ready", agent=name, after=home.event("run.lost", agent=name)["id"])
    living = home.rows("SELECT agent, count(*) AS n FROM agent_runs WHERE ended_at IS NULL GROUP BY agent")
    assert [row for row in living if row["n"] > 1] == []


def test_a_shutdown_that_meets_the_recovery_leaves_nothing(home: Home) -> None:
    for number in range(4):
        home.begin_agent(f"a{number}", **IDLE)
    home.signal(signal.SIGKILL)
    home.start()
    home.end()
    assert traces.shown(traces.of_home(home.folder)) == []


def test_200_clients_at_once_are_served(home: Home) -> None:
    home.begin_agent("one", **IDLE)
    callers = home.connect(200)
    posted = [(caller, caller.post("agent.list")) for caller in callers]
    rows = [caller.answer(number)["agents"][0]["name"] for caller, number in posted]
    assert rows == ["one"] * 200


def test_events_reach_every_follower_whole_and_in_order(home: Home) -> None:
    followers = home.connect(20)
    for follower in followers:
        follower.call("events.follow", after=0)
    home.begin_agent("one", **IDLE)
    home.stop("one")
    last = home.now
    heard: list[list[int]] = []

    def listen(follower: Rpc) -> None:
        numbers: list[int] = []
        while not numbers or numbers[-1] < last:
            event = follower.next_event(PATIENCE)
            assert event is not None
            numbers.append(event["id"])
        heard.append(numbers)

    threads = [threading.Thread(target=listen, args=[follower]) for follower in followers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert heard == [list(range(1, last + 1))] * 20


def outcome(caller: Rpc, number: int) -> str:
    """How a call went; none of these waits for an agent's work."""
    try:
        caller.answer(number, 10)
    except Refused as refused:
        return refused.name
    except TimeoutError:
        return "no answer"
    return "ok"
