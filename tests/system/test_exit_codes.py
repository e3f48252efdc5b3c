"""The exit code of every verb in its main failure; each says what is wrong at standard error and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from supervisor.ctl.main import VERBS
from tests.system.conftest import ANY
from tests.system.home import BUSY, IDLE, Home

ABSENT = [
    ("status ghost", 3, "ghost"),
    ("start ghost", 3, "ghost"),
    ("stop ghost", 3, "ghost"),
    ("restart ghost", 3, "ghost"),
    ("resume ghost", 3, "ghost"),
    ("pause ghost", 3, "ghost"),
    ("cancel ghost", 3, "ghost"),
    ("message ghost hello", 3, "ghost"),
    ("tail ghost", 3, "ghost"),
    ("add Bad_Name --template any", 2, "Bad_Name"),
    ("remove ghost", 3, "ghost"),
    ("shutdown --wait soon", 2, "--wait"),
    ("pid ghost", 3, "ghost"),
    ("signal HUP ghost", 3, "ghost"),
    ("signal NONSENSE busy", 2, "NONSENSE"),
    ("version --nonsense", 2, "--nonsense"),
    ("run ghost", 2, "ghost"),
    ("runs ghost", 3, "ghost"),
    ("show 999", 3, "999"),
    ("show ghost", 3, "ghost"),
    ("permissions --state maybe", 2, "maybe"),
    ("allow 999", 2, "999"),
    ("allow one", 2, "one"),
    ("deny 999", 2, "999"),
    ("budget ghost", 3, "ghost"),
    ("budget --set cost_usd=1", 2, "NAME"),
    ("budget busy --set beauty=1", 2, "beauty"),
    ("events --after then", 2, "--after"),
    ("log --lines few", 2, "--lines"),
    ("wait ghost", 3, "ghost"),
    ("wait busy --timeout 0.1", 124, "run 1"),
    ("wait --run 999", 3, "999"),
    ("templates more", 2, "templates"),
    ("check /no/such/file", 2, "/no/such/file"),
    ("doctor --nonsense", 2, "--nonsense"),
    ("token remove ghost", 2, "ghost"),
    ("nonsense", 2, "nonsense"),
    ("statsu", 2, "status"),
]
STATES = [
    ("status idle-one", 3, ""),
    ("start busy", 5, "busy"),
    ("stop idle-one", 3, "idle-one"),
    ("resume busy", 5, "busy"),
    ("resume idle-one", 5, "idle-one"),
    ("pause idle-one", 3, "idle-one"),
    ("cancel resting", 5, "resting"),
    ("message idle-one hello", 3, "idle-one"),
    ("add busy --template any", 5, "busy"),
    ("remove busy", 5, "busy"),
    ("pid idle-one", 3, "idle-one"),
    ("signal HUP idle-one", 3, "idle-one"),
    ("wait idle-one", 3, "idle-one"),
    ("start new --template any --set interval=never", 2, "interval"),
    ("start new --template any --set colour=red", 2, "colour"),
]
ALL = [*ABSENT, *STATES]


@pytest.fixture(scope="module")
def peopled() -> Iterator[Home]:
    """A home with an agent in its turn, one between turns, and one that does not run."""
    home = Home()
    home.template("any", ANY)
    try:
        home.start()
        home.begin_agent("busy", **BUSY)
        home.begin_agent("resting", **IDLE)
        home.event("iteration.done", agent="resting")
        home.ok("add", "idle-one", "--template", "any")
        yield home
    finally:
        home.close(orderly=True)


@pytest.mark.parametrize(("words", "code", "named"), ALL, ids=[words for words, _, _ in ALL])
def test_a_verb_that_cannot_says_why_with_its_code_and_changes_nothing(
    peopled: Home, words: str, code: int, named: str
) -> None:
    before = peopled.now
    done = peopled.ctl(*words.split())
    assert done.code == code, str(done)
    assert named in done.out + done.err
    assert "Traceback" not in done.err
    assert peopled.now == before


@pytest.mark.parametrize(
    ("words", "code"), [("stop ghost", 3), ("start busy", 5), ("allow one", 2), ("nonsense", 2)]
)
def test_with_json_the_error_is_an_object_at_standard_output(peopled: Home, words: str, code: int) -> None:
    done = peopled.ctl("--json", *words.split())
    (line,) = done.out.splitlines()
    found = json.loads(line)
    assert (done.code, found["error"]["exit_code"], done.err) == (code, code, "")
    assert found["schema_version"] == 1


def test_one_bad_name_among_several_is_told_and_the_others_are_served(peopled: Home) -> None:
    done = peopled.ctl("budget", "busy")
    assert done.code == 0
    done = peopled.ctl("message", "busy", "one", "more")
    assert done.code == 0
    several = peopled.ctl("signal", "CONT", "ghost", "busy")
    assert several.code == 3
    assert "busy: signalled" in several.out


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - {"start", "run"}))
def test_without_a_supervisor_a_verb_says_so_and_begins_none(empty: Home, verb: str) -> None:
    usual = {
        "message": ["x", "y"],
        "allow": ["1"],
        "deny": ["1"],
        "signal": ["HUP", "x"],
        "show": ["1"],
        "token": ["list"],
        "add": ["x"],
    }
    alone = {"status", "runs", "permissions", "budget", "events", "templates", "check", "version", "doctor"}
    alone |= {"log", "shutdown", "pid"}
    words = usual.get(verb, [] if verb in alone else ["x"])
    done = empty.ctl(verb, *words)
    wanted = {"templates": {0}, "check": {0}, "version": {0}, "doctor": {0, 1}, "log": {2}}.get(verb, {6})
    assert done.code in wanted, str(done)
    assert not (empty.folder / "agentd.sock").exists()


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_its_own_help(empty: Home, verb: str) -> None:
    done = empty.ok(verb, "--help")
    assert f"agentctl {verb}" in done.out
