"""The loop as its supervisor sees it: real runners on real pipes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

import ipc

ASK = '```sh id=write ask="it writes"\necho wrote\n```\n'
SLEEP = "```sh id=nap\necho begun; exec sleep 600\n```\n"


def test_a_run_counts_its_iterations_and_ends_as_completed(runner: Any) -> None:
    runner.init(max_iterations=3)
    frames = runner.rest()
    assert runner.code() == 0
    assert runner.ops() == ["ready"] + ["iteration_start", "iteration_done"] * 3 + ["exit"]
    assert [frame["seq"] for frame in frames] == list(range(1, 9))
    assert frames[0]["protocol"] == 1
    assert frames[0]["pid"] == runner.process.pid
    assert frames[-1] == {"op": "exit", "reason": "completed", "iterations": 3, "seq": 8}
    assert runner.journal() == frames


def test_a_run_that_continues_another_goes_on_with_its_number_and_attempt(runner: Any) -> None:
    runner.init(start_iteration=7, attempt=2, max_iterations=8)
    frames = runner.rest()
    starts = [(frame["iteration"], frame["attempt"]) for frame in frames if frame["op"] == "iteration_start"]
    assert starts == [(7, 2), (8, 1)]
    assert frames[-1]["iterations"] == 2


def test_a_step_that_fails_names_itself_and_three_of_a_kind_end_the_run(runner: Any) -> None:
    runner.init("```sh id=build\necho oh no $$; exit 3\n```\n")
    frames = runner.rest()
    done = [frame for frame in frames if frame["op"] == "iteration_done"]
    assert [frame["status"] for frame in done] == ["error"] * 3
    assert done[0]["error"].startswith("step build: exit 3: oh no")
    assert frames[-1]["reason"] == "failed"
    assert "3 iterations in a row failed in the same way" in frames[-2]["msg"]
    assert runner.code() == 0


def test_a_step_may_fail_if_it_says_so(runner: Any) -> None:
    runner.init("```sh continue-on-error\nexit 3\n```\n```sh\necho fine\n```\n", max_iterations=1)
    runner.until("iteration_done", status="ok", summary="fine")


def test_the_same_claim_three_times_is_stagnation_but_no_change_is_not(runner: Any) -> None:
    runner.init('```sh\necho \'{"type":"summary","text":"All done."}\' >&$AGENTD_FD\n```\n')
    frames = runner.rest()
    assert frames[-1]["reason"] == "stagnant"
    assert frames[-1]["iterations"] == 3


def test_fifty_quiet_iterations_are_fine(runner: Any) -> None:
    runner.init('```sh\necho \'{"type":"no_change"}\' >&$AGENTD_FD\n```\n', max_iterations=50)
    done = [frame for frame in runner.rest() if frame["op"] == "iteration_done"]
    assert [frame["status"] for frame in done] == ["no_change"] * 50


def test_an_iteration_that_takes_too_long_is_timed_out(runner: Any) -> None:
    runner.init(SLEEP, iteration_timeout_s=0.3, max_iterations=1)
    done = runner.until("iteration_done")
    assert done["status"] == "timed_out"
    assert "0.3 s" in done["error"]
    assert runner.rest()[-1]["reason"] == "failed"


def test_a_step_that_takes_too_long_is_an_error_that_names_it(runner: Any) -> None:
    runner.init("```sh id=nap timeout=200ms\nsleep 600\n```\n", max_iterations=1)
    done = runner.until("iteration_done")
    assert done["status"] == "error"
    assert done["error"] == "step nap: took longer than 0.2 s"


def test_cancel_ends_its_iteration_and_no_other(runner: Any) -> None:
    runner.init(SLEEP)
    runner.until("iteration_start", iteration=1)
    runner.command("cancel", iteration=1, reason="enough")
    assert runner.until("iteration_done", iteration=1)["status"] == "cancelled"
    assert runner.seen[-1]["error"] == "enough"
    runner.until("iteration_start", iteration=2)
    runner.command("cancel", iteration=1, reason="late")
    runner.command("cancel", iteration=2, reason="again")
    assert runner.until("iteration_done", iteration=2)["error"] == "again"


def test_a_command_seen_before_is_ignored(runner: Any) -> None:
    runner.init(SLEEP)
    runner.until("iteration_start", iteration=1)
    runner.say("cancel", iteration=1, cmd=5)
    runner.until("iteration_start", iteration=2)
    runner.say("cancel", iteration=2, cmd=5)
    runner.say("cancel", iteration=2, cmd=4)
    runner.say("message", text="hello", cmd=6)
    runner.say("cancel", iteration=2, cmd=7)
    runner.until("iteration_start", iteration=3)
    assert runner.seen[-1]["messages"] == [6]
    assert [frame["op"] for frame in runner.seen].count("iteration_done") == 2


def test_a_message_reaches_the_next_prompt_and_is_listed_there(runner: Any) -> None:
    runner.process_init(
        "import sys, pathlib; print(sys.stdin.read()); import time\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)",
        max_iterations=2,
    )
    runner.until("iteration_start")
    number = runner.command("message", text="look at README")
    runner.say("ping", id="p")
    runner.until("pong", id="p")
    (runner.cwd / "go").touch()
    assert runner.until("iteration_start", iteration=2)["messages"] == [number]
    assert runner.until("iteration_done", iteration=2)["summary"].endswith("operator:\nlook at README")


def test_a_runbook_finds_messages_in_a_file(runner: Any) -> None:
    runner.init('```sh\ncat "${AGENTD_MESSAGES:-/dev/null}"; sleep 0.3\n```\n', max_iterations=2)
    runner.until("iteration_start", iteration=1)
    runner.command("message", text="look here")
    assert runner.until("iteration_done", iteration=2)["summary"] == "look here"


def test_an_operators_pause_comes_before_the_next_iteration_and_names_itself(runner: Any) -> None:
    runner.init(interval=600)
    runner.until("iteration_done")
    runner.command("pause", reason="lunch")
    pause = runner.until("paused_budget")
    assert (pause["kind"], pause["reason"]) == ("operator", "lunch")
    runner.command("resume", pause_seq=pause["seq"] - 1)
    runner.say("attach", id="x", last_seq=pause["seq"])
    assert runner.until("attached")["status"] == "paused"
    runner.command("resume", pause_seq=pause["seq"])
    assert runner.until("resumed")["seq"] == pause["seq"] + 1


def test_a_spent_budget_pauses_until_resume_brings_a_higher_cap(runner: Any) -> None:
    cap = {"scope": "run", "what": "iterations", "cap": 2, "base": 1}
    runner.init(budgets=[cap])
    pause = runner.until("paused_budget")
    assert pause["kind"] == "budget"
    assert "iterations per run: 2 of 2" in pause["reason"]
    assert runner.ops().count("iteration_done") == 1
    runner.command("resume", pause_seq=pause["seq"])
    runner.until("resumed")
    again = runner.until("paused_budget")
    runner.command("resume", pause_seq=again["seq"], budgets=[cap | {"cap": 4}])
    runner.until("iteration_done", iteration=3)
    runner.until("paused_budget")
    assert runner.ops().count("iteration_done") == 3


def test_reaching_a_cap_ends_the_turn_at_once(runner: Any) -> None:
    usage = '{"type":"usage","model":"m","tokens_in":%d,"tokens_out":5,"cost_usd":%s}'
    runner.init(
        f"```sh\necho '{usage % (10, 0.4)}' >&$AGENTD_FD\necho '{usage % (20, 1.5)}' >&$AGENTD_FD\nsleep 600\n```\n",
        budgets=[{"scope": "run", "what": "cost_usd", "cap": 1}],
    )
    done = runner.until("iteration_done")
    assert done["status"] == "cancelled"
    assert done["error"] == "cost per run: $1.5 of $1"
    assert (done["cost_usd"], done["tokens_in"], done["tokens_out"]) == (1.5, 20, 5)
    assert runner.until("paused_budget")["kind"] == "budget"


def test_lower_caps_act_inside_a_turn(runner: Any) -> None:
    usage = '{"type":"usage","model":"m","tokens_in":100}'
    runner.init(f"```sh\necho '{usage}' >&$AGENTD_FD; sleep 600\n```\n")
    runner.until("usage")
    runner.command("budgets", budgets=[{"scope": "agent", "what": "tokens", "cap": 100}])
    assert runner.until("iteration_done")["error"] == "tokens per agent: 100 of 100"


def test_a_cap_on_time_ends_the_turn_when_it_is_used_up(runner: Any) -> None:
    runner.init(SLEEP, budgets=[{"scope": "run", "what": "wall_s", "cap": 0.3}])
    done = runner.until("iteration_done")
    assert done["status"] == "cancelled"
    assert "working time per run" in done["error"]
    runner.until("paused_budget")


def test_a_shared_cap_is_asked_for_before_each_iteration(runner: Any) -> None:
    runner.init(config={"reserve": True}, max_iterations=2)
    runner.until("reserve", iteration=1)
    runner.command("reserved", iteration=1, granted=True)
    runner.until("reserve", iteration=2)
    runner.command("reserved", iteration=2, granted=False, reason="all spent", kind="window", resume_at=99.5)
    pause = runner.until("paused_budget", kind="window", reason="all spent", resume_at=99.5)
    runner.command("resume", pause_seq=pause["seq"])
    runner.until("reserve", iteration=2)
    runner.command("reserved", iteration=2, granted=True)
    assert runner.rest()[-1]["reason"] == "completed"


def test_a_granted_step_runs_and_the_handing_over_is_on_record(runner: Any, digest_of: Any) -> None:
    runner.init(ASK, max_iterations=1)
    request = runner.until("permission_request")
    assert request["rationale"] == "it writes"
    assert request["input"]["code"] == "echo wrote\n"
    assert request["digest"] == digest_of(request["tool"], request["input"])
    runner.allow(request)
    runner.until("permission_applied", request_id=request["request_id"], granted=True)
    assert runner.until("iteration_done")["summary"] == "wrote"


def test_an_answer_to_something_else_is_refused_and_the_question_stays(runner: Any) -> None:
    runner.init(ASK, max_iterations=1)
    request = runner.until("permission_request")
    runner.allow(request, digest="0" * 64)
    assert "stays open" in runner.until("log")["msg"]
    runner.command("permission_response", request_id=request["request_id"], granted=True)
    runner.until("log")
    runner.allow(request, updated_input={"code": "echo other\n"}, updated_digest="0" * 64)
    runner.until("log")
    runner.say("attach", id="1", last_seq=runner.seen[-1]["seq"])
    assert runner.until("attached")["status"] == "waiting_permission"
    runner.allow(request)
    runner.until("iteration_done", status="ok")


def test_a_changed_input_is_what_runs(runner: Any, digest_of: Any) -> None:
    runner.init(ASK, max_iterations=1)
    request = runner.until("permission_request")
    changed = request["input"] | {"code": "echo other\n"}
    runner.allow(request, updated_input=changed, updated_digest=digest_of(request["tool"], changed))
    assert runner.until("iteration_done")["summary"] == "other"


@pytest.mark.parametrize(("on_denied", "reason"), [("stop", "failed"), ("continue", "completed")])
def test_a_denied_step_is_not_run(runner: Any, on_denied: str, reason: str) -> None:
    runner.init(ASK, max_iterations=1, config={"on_denied": on_denied})
    runner.allow(runner.until("permission_request"), granted=False, reason="not today")
    runner.until("permission_applied", granted=False)
    done = runner.until("iteration_done", status="permission")
    assert "step write was denied: not today" in done["summary"]
    assert runner.rest()[-1]["reason"] == reason
    assert "wrote" not in runner.log()


def test_time_stands_still_while_a_person_is_waited_for(runner: Any) -> None:
    runner.init(
        ASK, max_iterations=1, iteration_timeout_s=0.5, budgets=[{"scope": "run", "what": "wall_s", "cap": 5}]
    )
    request = runner.until("permission_request")
    time.sleep(0.8)  # longer than the limit: this is what must not count
    runner.allow(request)
    done = runner.until("iteration_done")
    assert done["status"] == "ok"
    assert done["duration_s"] < 0.5


def test_what_is_approved_beforehand_is_logged_as_such(runner: Any) -> None:
    runner.init(ASK, max_iterations=1, auto_approve=True)
    assert "approved without asking" in runner.until("log")["msg"]
    assert "permission_request" not in [frame["op"] for frame in runner.rest()]


def test_a_program_hears_its_answer_on_its_own_descriptor(runner: Any) -> None:
    runner.process_init(
        "import json, os\n"
        "say = open(int(os.environ['AGENTD_FD']), 'w'); hear = open(int(os.environ['AGENTD_ANSWER_FD']))\n"
        "for n in 'ab':\n"
        "    q = {'type': 'permission', 'id': n, 'tool': 'rm', 'input': {'path': n}, 'rationale': 'old'}\n"
        "    print(json.dumps(q), file=say, flush=True)\n"
        "    print(hear.readline().strip())\n",
        max_iterations=1,
    )
    first = runner.until("permission_request")
    assert (first["tool"], first["input"], first["rationale"]) == ("rm", {"path": "a"}, "old")
    runner.allow(first)
    runner.until("permission_applied", granted=True)
    runner.allow(runner.until("permission_request"), granted=False, reason="no")
    summary = runner.until("iteration_done", status="ok")["summary"]
    assert summary == '{"id":"a","granted":true,"reason":""}\n{"id":"b","granted":false,"reason":"no"}'


def test_a_prompt_knows_its_agent_and_the_first_one_differs(runner: Any) -> None:
    runner.process_init(
        "import sys; print(sys.stdin.read())",
        max_iterations=2,
        args=["x", "y"],
        config={"bootstrap_prompt": "I am {{agent.name}}", "prompt": "{{ args }} {{run.iteration}} \\{{x}}"},
    )
    # The agent's args follow the command's own, where python -c ignores them.
    done = [frame["summary"] for frame in runner.rest() if frame["op"] == "iteration_done"]
    assert done == ["I am bob", "x y 2 {{x}}"]


def test_a_cooldown_is_waited_out_and_is_no_failure(runner: Any) -> None:
    runner.init("```sh\necho 'Circuit breaker OPEN for x. Cooldown: 600 s'; exit 1\n```\n")
    runner.until("iteration_done", status="error")
    runner.say("stop")
    assert runner.rest()[-1]["reason"] == "stopped"
    assert runner.ops().count("iteration_done") == 1


def test_the_live_view_shows_the_phases_of_an_iteration(runner: Any) -> None:
    runner.init(max_iterations=5)
    runner.rest()
    phases = {frame["data"]["phase"] for frame in runner.streams if frame["stream"] == "lifecycle"}
    assert phases == {"start", "end"}
    assert all("seq" not in frame for frame in runner.streams)


def test_what_programs_print_never_becomes_a_frame(runner: Any) -> None:
    line = '{"op":"exit","reason":"completed","iterations":99,"seq":1}'
    runner.init(
        f"```sh\necho '{line}'; echo '{line}' >&2; echo '{line}' >&$AGENTD_FD\n```\n", max_iterations=1
    )
    assert runner.rest()[-1]["iterations"] == 1
    assert runner.ops().count("exit") == 1
    assert runner.log("step:step-1").count(line) == 2
    assert "stray line on AGENTD_FD" in runner.log("agentd")


def test_an_agents_folder_with_our_names_in_it_is_not_run_as_ours(runner: Any) -> None:
    (runner.cwd / "runner").mkdir()
    for name in ("runner/__init__.py", "runner/adapters.py", "trio.py", "orjson.py", "json.py"):
        (runner.cwd / name).write_text("raise SystemExit('ours was replaced')\n")
    runner.init("```python\nimport json\nprint(json.dumps(['fine']))\n```\n", max_iterations=1)
    assert runner.until("iteration_done")["summary"] == '["fine"]'


def test_a_python_steps_traceback_names_file_and_line(runner: Any) -> None:
    runner.init("# x\n\n```python id=p\nprint(1)\nboom\n```\n", max_iterations=1)
    runner.until("iteration_done", status="error")
    assert f'File "{runner.folder}/program.md", line 5' in runner.log("step:p")


def test_a_step_knows_where_it_is(runner: Any) -> None:
    runner.init(
        '```sh\necho "$AGENTD_AGENT $AGENTD_ITERATION $PWD $AGENTD_OUTPUT ${HOME:-no home} $*"\n'
        'test -d "$AGENTD_STATE"\n```\n',
        max_iterations=1,
        args=["a b", "c"],
    )
    where = f"bob 1 {runner.cwd} {runner.folder}/output no home a b c"
    assert runner.until("iteration_done")["summary"] == where


def test_an_unknown_prompt_variable_is_named_before_anything_runs(runner: Any) -> None:
    runner.process_init("print(1)", config={"prompt": "{{agent.nmae}}"})
    assert runner.rest()[-1]["reason"] == "exception"
    assert runner.code() == 1
    assert "{{agent.nmae}}: no such variable (agent.name?" in runner.errors()


def test_the_interpreter_runs_steps_where_there_is_no_python3(runner: Any) -> None:
    runner.init(
        "```python\nimport sys\nprint(sys.executable)\n```\n", max_iterations=1, env={"PATH": "/nonexistent"}
    )
    assert runner.until("iteration_done")["summary"] == sys.executable


BROKEN = """
import os, sys
sys.path.insert(0, {packages!r})
from runner.adapters.runbook import Runbook
async def turn(self, turn):
    if os.fork() == 0:
        open("pid.pid", "w").write(str(os.getpid())); os.setsid(); os.execlp("sleep", "sleep", "600")
    raise ZeroDivisionError("a bug of ours")
Runbook.turn = turn
from runner.__main__ import main
sys.exit(main(["--pipe"]))
"""


def test_a_bug_of_ours_is_shown_ends_the_run_and_leaves_no_process(start: Any, lives: Any) -> None:
    runner = start(["-c", BROKEN.format(packages=str(Path(ipc.__file__).parents[1]))])
    runner.init()
    frames = runner.rest()
    assert runner.code() == 1
    assert runner.ops() == ["ready", "iteration_start", "log", "exit"]
    assert frames[2]["msg"] == "ZeroDivisionError: a bug of ours"
    assert frames[3]["reason"] == "exception"
    assert "Traceback" in runner.errors()
    assert not lives(int((runner.cwd / "pid.pid").read_text()))
