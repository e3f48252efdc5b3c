"""Who may answer, and how often: an agent never its own question, a stranger never another's, everybody only once."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.system.home import AGENTCTL, Home, python
from tests.system.rpc import Refused

SELF_ANSWER = """
import json, os, subprocess, sys
say, hear = int(os.environ["AGENTD_FD"]), int(os.environ["AGENTD_ANSWER_FD"])
ask = {"type": "permission", "id": "p", "tool": "bash", "input": {"command": "rm -rf /"}}
os.write(say, json.dumps(ask).encode() + b"\\n")
open(sys.argv[1] + "/asked").read()  # a FIFO: the test has seen the question
without = {name: value for name, value in os.environ.items() if name != "AGENTD_RUN"}
# An orphan in a session of its own: whoever began it is gone before it speaks, and its pipe says when it has.
orphan = '''setsid sh -c '"$@" >/dev/null 2>&1; echo $?' sh "$@" &'''
codes = {}
for verb in json.loads(sys.argv[2]):
    command = [*json.loads(sys.argv[3]), *verb]
    codes[" ".join(verb)] = [
        subprocess.run(command, capture_output=True).returncode,
        subprocess.run(command, env=without, capture_output=True).returncode,
        subprocess.run(command, env=without, capture_output=True, start_new_session=True).returncode,
        int(subprocess.run(["sh", "-c", orphan, "sh", *command], env=without, stdout=subprocess.PIPE).stdout),
    ]
with open(sys.argv[1] + "/codes.new", "w") as file:
    json.dump(codes, file)
os.rename(sys.argv[1] + "/codes.new", sys.argv[1] + "/codes")
os.write(say, b'{"type": "notify", "text": "tried"}\\n')
os.read(hear, 4096)
"""
"""Asks, then answers itself in every way that there is, and notes what came of each."""
ASKS_ONCE = """
import os
say, hear = int(os.environ["AGENTD_FD"]), int(os.environ["AGENTD_ANSWER_FD"])
os.write(say, b'{"type": "permission", "id": "p", "tool": "bash", "input": {"command": "ls"}}\\n')
print(os.read(hear, 4096).decode())
"""
"""Asks, and tells what it was answered."""
FORBIDDEN = [
    ["allow", "1"],
    ["deny", "1"],
    ["resume", "paused"],
    ["budget", "self", "--set", "cost_usd=1000"],
    ["start", "other", "--template", "any"],
    ["add", "other", "--template", "any"],
    ["stop", "self"],
    ["restart", "self"],
    ["remove", "paused"],
    ["message", "self", "go", "on"],
    ["signal", "HUP", "self"],
    ["token", "add", "mine"],
    ["shutdown"],
]
ALLOWED = [["status"], ["permissions"], ["runs"], ["show", "1"], ["budget"], ["events"]]


def asker(home: Home, name: str = "asker", **settings: object) -> int:
    """Start an agent that asks once and tells what it was answered; return the permission's number."""
    home.begin_agent(name, **{**python(ASKS_ONCE), "max_iterations": 1, **settings})
    return int(home.question(name)["id"])


@pytest.mark.slow
def test_an_agent_may_look_but_neither_answer_itself_nor_change_anything(home: Home) -> None:
    os.mkfifo(home.folder / "asked")
    words = [json.dumps(FORBIDDEN + ALLOWED), json.dumps(AGENTCTL)]
    home.begin_agent(
        "self",
        adapter="process",
        process={"command": [sys.executable, "-c", SELF_ANSWER, str(home.folder), *words]},
        max_iterations=1,
    )
    number = home.question("self")["id"]
    assert number == 1
    agents = {row["name"] for row in home.call("agent.list")["agents"]}
    (home.folder / "asked").write_text("")
    home.event("notify", agent="self", within=60)
    codes = json.loads((home.folder / "codes").read_text())
    assert {" ".join(verb): codes[" ".join(verb)] for verb in FORBIDDEN} == {
        " ".join(verb): [4] * 4 for verb in FORBIDDEN
    }
    assert {" ".join(verb): codes[" ".join(verb)] for verb in ALLOWED} == {
        " ".join(verb): [0] * 4 for verb in ALLOWED
    }
    (asked,) = home.rows("SELECT state, granted FROM permissions")
    assert asked == {"state": "open", "granted": None}
    assert home.agent("self")["state"] == "waiting_permission"
    assert {row["name"] for row in home.call("agent.list")["agents"]} == agents
    home.ok("deny", "1")
    home.event("run.succeeded", "run.failed", agent="self")


def test_a_stranger_may_look_but_not_answer_and_the_originator_may(home: Home, tmp_path: Path) -> None:
    tokens = {}
    for who in ("alice", "mallory"):
        tokens[who] = tmp_path / who
        tokens[who].touch(stat.S_IRUSR | stat.S_IWUSR)
        tokens[who].write_text(home.ok("token", "add", who).out)
    as_alice, as_mallory = ({"AGENTD_TOKEN_FILE": str(tokens[who])} for who in ("alice", "mallory"))
    home.template("asks", "Ask.\n")
    command = json.dumps([sys.executable, "-c", ASKS_ONCE])
    words = (
        "start",
        "hers",
        "--template",
        "asks",
        "--adapter",
        "process",
        "--set",
        f"process.command={command}",
    )
    assert home.ctl(*words, **as_alice).code == 0
    number = str(home.question("hers")["id"])
    assert home.agent("hers")["waiting_for"] == "alice"

    assert home.ctl("permissions", **as_mallory).code == 0
    for verb in (
        ("allow", number),
        ("deny", number),
        ("stop", "hers"),
        ("resume", "hers"),
        ("remove", "hers"),
    ):
        done = home.ctl(*verb, **as_mallory)
        assert done.code == 4, str(done)
    assert home.ctl("shutdown", **as_mallory).code == 4
    assert home.ctl("token", "list", **as_alice).code == 4
    assert home.rows("SELECT state FROM permissions") == [{"state": "open"}]

    assert home.ctl("allow", number, **as_alice).code == 0
    home.event("permission.applied", agent="hers")
    (row,) = home.rows("SELECT granted, decided_by, state FROM permissions WHERE id = ?", int(number))
    assert row == {"granted": 1, "decided_by": "alice", "state": "applied"}
    home.ok("token", "remove", "alice")
    assert home.ctl("status", **as_alice).code == 4
    home.stop("hers")


def test_50_answers_at_once_are_one_decision(home: Home) -> None:
    number = asker(home)
    callers = home.connect(50)
    barrier = threading.Barrier(len(callers))
    outcomes: list[str] = []

    def answer(index: int) -> None:
        barrier.wait(20)
        try:
            callers[index].call(
                "permission.answer", id=number, granted=index % 2 == 0, reason=f"from {index}"
            )
            outcomes.append(f"won {index}")
        except Refused as refused:
            outcomes.append(refused.name)

    threads = [threading.Thread(target=answer, args=[index]) for index in range(len(callers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    won = [outcome for outcome in outcomes if outcome.startswith("won")]
    assert Counter(outcomes) == {won[0]: 1, "conflict": 49}
    home.event("run.succeeded", agent="asker")
    winner = int(won[0].split()[1])
    (row,) = home.rows("SELECT granted, reason, state FROM permissions")
    assert row == {"granted": int(winner % 2 == 0), "reason": f"from {winner}", "state": "applied"}
    told = home.rows("SELECT kind FROM events WHERE kind LIKE 'permission.%' ORDER BY id")
    assert [row["kind"] for row in told] == ["permission.asked", "permission.decided", "permission.applied"]
    (turn,) = home.rows("SELECT summary FROM iterations")
    assert json.loads(turn["summary"])["granted"] is (winner % 2 == 0)


def test_automatic_approval_is_recorded_as_such_and_only_where_the_definition_says_so(home: Home) -> None:
    run_id = home.begin_agent("free", **{**python(ASKS_ONCE), "max_iterations": 1, "auto_approve": True})
    assert home.end_of(run_id)["state"] == "succeeded"
    (row,) = home.rows("SELECT granted, how, state FROM permissions")
    assert row == {"granted": 1, "how": "auto_approve", "state": "applied"}


def test_a_question_survives_a_crash_of_its_runner_as_a_new_one(home: Home) -> None:
    first = asker(home)
    os.kill(home.agent("asker")["pid"], 9)
    again = home.event("permission.asked", agent="asker", after=home.event("run.crashed")["id"])
    assert again["data"]["permission_id"] != first
    assert home.ctl("allow", str(first)).code == 5
    home.ok("allow", str(again["data"]["permission_id"]))
    home.event("run.succeeded", agent="asker")
