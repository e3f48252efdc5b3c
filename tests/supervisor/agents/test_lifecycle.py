"""The table of a run's life, and the rule that names its end."""

from __future__ import annotations

import pytest

from supervisor.agents.lifecycle import STEPS, TERMINAL, Ending, Happening, Life, judge


def test_every_pair_of_state_and_event_is_decided() -> None:
    missing = [
        (life, happening) for life in Life for happening in Happening if happening not in STEPS.get(life, {})
    ]
    assert missing == []


@pytest.mark.parametrize("life", sorted(TERMINAL, key=lambda life: life.value))
def test_a_terminal_state_never_changes(life: Life) -> None:
    assert {STEPS[life][happening] for happening in Happening} == {life}


def test_no_event_before_the_end_leads_to_a_terminal_state() -> None:
    living = [life for life in Life if not life.over]
    assert not {STEPS[life][happening] for life in living for happening in Happening} & TERMINAL


def test_stop_leads_every_living_state_to_stopping() -> None:
    assert {STEPS[life][Happening.STOP] for life in Life if not life.over} == {Life.STOPPING}


def test_every_living_state_can_be_reached() -> None:
    reached, new = {Life.QUEUED}, {Life.QUEUED}
    while new:
        new = {STEPS[life][happening] for life in new for happening in Happening} - reached
        reached |= new
    assert reached == {life for life in Life if not life.over}


ENDS: list[tuple[str, Ending, Life]] = [
    ("completed", Ending(code=0, said="completed"), Life.SUCCEEDED),
    ("completed while told to stop", Ending(code=0, said="completed", stop_asked=True), Life.STOPPED),
    ("stopped", Ending(code=0, said="stopped", stop_asked=True), Life.STOPPED),
    ("failed", Ending(code=0, said="failed"), Life.FAILED),
    ("stagnant", Ending(code=0, said="stagnant"), Life.FAILED),
    ("exception with code 0", Ending(code=0, said="exception"), Life.FAILED),
    ("supervisor lost", Ending(code=0, said="supervisor_lost"), Life.CRASHED),
    ("a code nobody could learn leaves the word", Ending(said="completed"), Life.SUCCEEDED),
    ("a code outranks the word", Ending(code=3, said="completed"), Life.CRASHED),
    ("an exception is a failure", Ending(code=1, said="exception"), Life.FAILED),
    ("code 2 is a failure", Ending(code=2), Life.FAILED),
    ("another code is a crash", Ending(code=1), Life.CRASHED),
    ("no word is a crash", Ending(code=0), Life.CRASHED),
    ("no word and no code is a crash", Ending(), Life.CRASHED),
    ("no word, but told to stop", Ending(code=0, stop_asked=True), Life.STOPPED),
    ("a signal of nobody's", Ending(signal=9), Life.CRASHED),
    ("a signal of nobody's after its last word", Ending(signal=9, said="completed"), Life.CRASHED),
    ("our KILL", Ending(signal=9, stop_asked=True, ours=frozenset({15, 18, 9})), Life.STOPPED),
    ("a KILL not ours while told to stop", Ending(signal=9, stop_asked=True), Life.CRASHED),
    (
        "a fault",
        Ending(signal=9, fault="usage.iteration: wanted whole number", ours=frozenset({9})),
        Life.FAILED,
    ),
    ("late", Ending(signal=9, late=True, ours=frozenset({9})), Life.TIMED_OUT),
    ("never begun", Ending(began=False, stop_asked=True), Life.CANCELLED),
    ("could not begin", Ending(began=False, fault="no memory"), Life.FAILED),
]


@pytest.mark.parametrize(("end", "life"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
def test_an_end_gets_its_name(end: Ending, life: Life) -> None:
    verdict = judge(end)
    assert verdict.state is life
    assert verdict.reason


def test_losing_its_supervisor_does_not_count_against_the_limit() -> None:
    assert not judge(Ending(code=0, said="supervisor_lost")).counted
    assert judge(Ending(code=1)).counted


def test_the_reason_holds_what_the_runner_said_last() -> None:
    assert judge(Ending(code=0, said="failed", detail="3 failures alike: no such file")).reason == (
        "failed: 3 failures alike: no such file"
    )
