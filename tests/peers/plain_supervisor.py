"""A supervisor that knows only the plain dialect, in nothing but the standard library.

``python plain_supervisor.py SCENARIO`` starts ``python -m runner --pipe`` and prints each frame it hears as it is.
``SCENARIO`` is a JSON object: ``payload`` of ``init``, ``answers`` (true or false, in the order of the questions),
``resumes`` (how many pauses are left again), ``stop_after`` (so many ``iteration_done``), ``slow`` (seconds before it
begins to read). Its exit code is the runner's; what the plain dialect does not know is an error, code 70.
"""

import json
import subprocess
import sys
import time

FIELDS = {
    "ready": set(),
    "iteration_start": {"iteration"},
    "iteration_done": {"iteration", "status", "duration_s", "summary", "tokens_in", "tokens_out", "cost_usd"},
    "permission_request": {"request_id", "tool", "input", "rationale"},
    "paused_budget": {"reason"},
    "resumed": set(),
    "notify": {"text", "bridge"},
    "log": {"level", "msg"},
    "exit": {"reason", "iterations"},
}
STATUSES = {"ok", "error", "permission"}
REASONS = {"completed", "exception"}
BROKEN = 70


def main() -> int:
    """Play the scenario and return the runner's exit code."""
    scenario = json.loads(sys.argv[1])
    runner = subprocess.Popen(
        [sys.executable, "-m", "runner", "--pipe"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def say(op: str, **fields: object) -> None:
        runner.stdin.write(json.dumps({"op": op, **fields}) + "\n")
        runner.stdin.flush()

    answers = iter(scenario.get("answers", []))
    resumes = scenario.get("resumes", 0)
    left = scenario.get("stop_after", -1)
    try:
        say("init", payload=scenario["payload"])
        time.sleep(scenario.get("slow", 0))
        for line in runner.stdout:
            print(line, end="", flush=True)
            frame = json.loads(line)
            op = frame.pop("op")
            if op not in FIELDS or not frame.keys() <= FIELDS[op]:
                print(f"not plain: {line}", file=sys.stderr)
                return BROKEN
            if frame.get("status", "ok") not in STATUSES or (op == "exit" and frame["reason"] not in REASONS):
                print(f"not plain: {line}", file=sys.stderr)
                return BROKEN
            if op == "permission_request":
                say("permission_response", request_id=frame["request_id"], granted=next(answers))
            elif op == "paused_budget" and resumes:
                resumes -= 1
                say("resume")
            elif op == "paused_budget":
                say("stop")
            elif op == "iteration_done":
                left -= 1
                if not left:
                    say("stop")
        return runner.wait(20)
    finally:
        runner.kill()
        runner.wait()


if __name__ == "__main__":
    sys.exit(main())
