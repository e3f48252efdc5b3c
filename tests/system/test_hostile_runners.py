"""Whatever stands in for a runner may do its worst: its run ends with the right name, and its neighbour never knows."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.home import BUSY, IDLE, Home, peer, python
from tests.system.rpc import PATIENCE, Row
from tests.system.traces import alive, is_gone

ONCE = {"restart": "never", "grace": 2}


@pytest.fixture
def beside(home: Home) -> Iterator[Home]:
    """A home in which another agent runs, which must be the same run in the same process at the end."""
    run_id = home.begin_agent("neighbour", **BUSY)
    home.event("iteration.started", agent="neighbour")
    before = home.agent("neighbour")
    yield home
    after = home.agent("neighbour")
    assert (after["run_id"], after["pid"], after["state"]) == (run_id, before["pid"], "running")


def begin(home: Home, behaviour: str, *words: str, **settings: object) -> int:
    accepted = home.call(
        "agent.start",
        name="hostile",
        template="any",
        settings={**ONCE, **IDLE, "launch": peer(behaviour, *words), **settings},
    )
    return int(accepted["run_id"])


def outcome(home: Home, behaviour: str, *words: str, **settings: object) -> Row:
    """Let it do what it does, and return the row of its run."""
    return home.end_of(begin(home, behaviour, *words, **settings))


def iterations(home: Home, run_id: int) -> list[Row]:
    return home.rows("SELECT * FROM iterations WHERE run_id = ? ORDER BY iteration, attempt", run_id)


def test_garbage_is_kept_and_counted_and_ends_nothing(beside: Home) -> None:
    run = outcome(beside, "garbage")
    assert run["state"] == "succeeded", run["reason"]
    assert [row["status"] for row in iterations(beside, run["run_id"])] == ["ok"]
    for text in ("Traceback (most recent call last):", "not UTF-8", '{"no": "op"}', "progress 50%", "bye"):
        assert text in run["stdout_tail"]
    shown = beside.ok("tail", "hostile").out
    assert "stray" in shown
    assert '{"op": 7}' in shown


def test_half_a_line_before_the_end_is_a_crash_and_what_was_whole_is_kept(beside: Home) -> None:
    run = outcome(beside, "half_a_line")
    assert (run["state"], run["exit_code"]) == ("crashed", 0)
    assert "without a word" in run["reason"]
    assert [row["status"] for row in iterations(beside, run["run_id"])] == ["ok"]


@pytest.mark.slow
def test_half_a_line_and_then_silence_is_not_ready_in_time(beside: Home) -> None:
    run = outcome(beside, "half_a_line_for_good")
    assert run["state"] == "timed_out", run["reason"]
    assert "ready" in run["reason"]


@pytest.mark.parametrize("behaviour", ["endless_line", "endless_frame"])
def test_a_line_over_the_limit_fails_the_run(beside: Home, behaviour: str) -> None:
    run = outcome(beside, behaviour)
    assert run["state"] == "failed"
    assert "1048576" in run["reason"].replace(",", ""), run["reason"]


def test_a_number_where_text_belongs_fails_the_run_and_names_the_field(beside: Home) -> None:
    run = outcome(beside, "number_for_text")
    assert run["state"] == "failed"
    assert "msg" in run["reason"]


def test_an_iteration_done_that_was_never_begun_fails_the_run_and_leaves_no_row(beside: Home) -> None:
    run = outcome(beside, "never_begun")
    assert run["state"] == "failed"
    assert "iteration" in run["reason"]
    assert [row["iteration"] for row in iterations(beside, run["run_id"])] == [1]


def test_a_gap_in_the_numbers_fails_the_run(beside: Home) -> None:
    run = outcome(beside, "gap")
    assert run["state"] == "failed"
    assert "seq" in run["reason"]


def test_500_turns_said_at_once_by_a_runner_that_is_gone_are_500_rows(beside: Home) -> None:
    run = outcome(beside, "flood")
    assert (run["state"], run["iterations"], run["last_seq"]) == ("succeeded", 500, 1002)
    found = iterations(beside, run["run_id"])
    assert [row["iteration"] for row in found] == list(range(1, 501))
    assert {row["status"] for row in found} == {"ok"}


def test_500_lines_said_at_once_by_a_runner_that_kills_itself_are_all_there(beside: Home) -> None:
    run = outcome(beside, "flood_and_die")
    assert (run["state"], run["exit_signal"]) == ("crashed", signal.SIGKILL)
    assert run["last_seq"] == 501
    found = beside.rows(
        "SELECT data FROM events WHERE kind = 'log' AND run_id = ? ORDER BY id", run["run_id"]
    )
    assert [f'"line {number}"' in row["data"] for number, row in enumerate(found)] == [True] * 500


def test_a_runner_deaf_to_stop_and_term_is_killed_within_its_grace(beside: Home) -> None:
    begin(beside, "deaf", grace=1)
    beside.event("iteration.started", agent="hostile")
    pid = beside.agent("hostile")["pid"]
    run = beside.stop("hostile")
    assert (run["state"], run["exit_signal"]) == ("stopped", signal.SIGKILL)
    assert run["ended_at"] - beside.event("run.stopping", agent="hostile")["at"] < 3
    assert not alive(pid)
    assert [row["status"] for row in iterations(beside, run["run_id"])] == ["interrupted"]


def test_a_runner_that_stops_itself_is_ended_all_the_same(beside: Home) -> None:
    begin(beside, "stopped", grace=1)
    beside.event("run.running", "runner.ready", agent="hostile")
    pid = beside.agent("hostile")["pid"]
    beside.call("agent.message", name="hostile", text="now")
    run = beside.stop("hostile")
    assert run["state"] == "stopped", run["reason"]
    assert not alive(pid)


def test_a_runner_that_never_reads_is_ended_all_the_same(beside: Home) -> None:
    begin(beside, "never_reads", grace=1, prompt="p" * 300_000)
    beside.event("iteration.started", agent="hostile")
    run = beside.stop("hostile")
    assert run["state"] == "stopped", run["reason"]


def test_a_runner_that_closes_its_stdout_and_lives_on_is_ended_and_fails(beside: Home) -> None:
    run = outcome(beside, "silent_end", grace=1)
    assert run["state"] == "failed"
    assert "closed its end of the wire" in run["reason"]


def test_a_grandchild_that_holds_stdout_holds_up_nothing_and_is_gone(beside: Home, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    run = outcome(beside, "heir", str(note))
    assert run["state"] == "succeeded", run["reason"]
    assert is_gone(int(note.read_text()), 1)


def test_a_word_that_is_not_backed_by_the_exit_code_is_not_believed(beside: Home) -> None:
    run = outcome(beside, "succeed_badly")
    assert (run["state"], run["exit_code"]) == ("crashed", 3)


def test_an_applied_answer_to_what_was_never_asked_changes_nothing(beside: Home) -> None:
    begin(beside, "fishing")
    beside.event("iteration.started", agent="hostile")
    assert beside.stop("hostile")["state"] in ("stopped", "failed")
    assert beside.rows("SELECT * FROM permissions") == []


def test_the_last_words_of_one_that_died_at_once_are_in_its_row(beside: Home) -> None:
    run = outcome(beside, "die", "7")
    assert (run["state"], run["exit_code"]) == ("crashed", 7)
    assert "no such thing" in run["stderr_tail"]


def test_an_init_of_900_kb_arrives_whole_however_slowly_it_is_read(beside: Home) -> None:
    run = outcome(beside, "slow_reader", prompt="p" * 900_000)
    assert run["state"] == "succeeded", run["reason"]
    assert beside.event("log", agent="hostile")["data"]["msg"] == "prompt of 900000"


def test_an_init_of_900_kb_arrives_whole_at_our_own_runner(beside: Home) -> None:
    run_id = beside.begin_agent(
        "large",
        **{
            **python("import sys; print(len(sys.stdin.read()))"),
            "prompt": "ü" * 450_000,
            "max_iterations": 1,
        },
    )
    assert beside.end_of(run_id, PATIENCE)["state"] == "succeeded"
    assert iterations(beside, run_id)[0]["summary"] == "450000"
