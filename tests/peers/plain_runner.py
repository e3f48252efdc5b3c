"""A runner that knows only the plain dialect, in nothing but the standard library.

``python plain_runner.py [TRAIT …]`` reads ``init`` and works through ``args``, one word an iteration:
``ok``, ``error``, ``ask``, ``pause``, ``notify``, ``garbage`` (prints what is no frame), ``unknown`` (an op and a field
that nobody knows), ``breaker`` (an error that asks for a cool-down), ``die`` (kills itself), ``wrong`` (a number where
text belongs), ``half`` (half a line, then dies). Traits: ``silent`` leaves out ``iteration_start``, ``deaf`` ignores
``stop``, ``sleepy`` needs two ``resume``, ``slow`` takes 0.2 s an iteration.
"""

import json
import os
import signal
import sys
import time

TRAITS = set(sys.argv[1:])
asked = 0


def say(op: str, **fields: object) -> None:
    """Write one frame."""
    sys.stdout.write(json.dumps({"op": op, **fields}) + "\n")
    sys.stdout.flush()


def hear(*ops: str) -> dict:
    """Wait for one of ``ops``; ``stop`` and the end of stdin end everything."""
    for line in sys.stdin:
        frame = json.loads(line)
        if frame["op"] == "stop" and "deaf" not in TRAITS:
            say("exit", reason="completed", iterations=0)
            sys.exit(0)
        if frame["op"] in ops:
            return frame
    sys.exit(0)


def work(number: int, word: str) -> str:
    """Do what ``word`` says and return the iteration's status."""
    global asked
    if word == "ask":
        asked += 1
        request_id = f"q{asked}"
        say(
            "permission_request",
            request_id=request_id,
            tool="shell",
            input={"command": "rm x"},
            rationale="old",
        )
        while (answer := hear("permission_response"))["request_id"] != request_id:
            continue
        return "ok" if answer["granted"] else "permission"
    if word == "pause":
        say("paused_budget", reason="enough for today")
        for _ in range(2 if "sleepy" in TRAITS else 1):
            hear("resume")
        say("resumed")
    elif word == "notify":
        say("notify", text="look")
    elif word == "garbage":
        print("Traceback: not a frame")
        print('{"no": "op"}', flush=True)
    elif word == "unknown":
        say("telepathy", thought="?")
        say("log", level="info", msg="x", mood="good")
    elif word == "wrong":
        say("notify", text=number)
    elif word == "half":
        sys.stdout.write('{"op":"notify","te')
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return "error" if word in ("error", "breaker") else "ok"


def main() -> None:
    """Host one run."""
    if "deaf" in TRAITS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    payload = hear("init")["payload"]
    say("ready")
    words = payload["args"] if isinstance(payload["args"], list) else payload["args"].split()
    for number, word in enumerate(words, 1):
        if "silent" not in TRAITS:
            say("iteration_start", iteration=number)
        if "slow" in TRAITS:
            time.sleep(0.2)
        status = work(number, word)
        summary = (
            "Circuit breaker OPEN for model. Cooldown: 1 s" if word == "breaker" else f"did {word} {number}"
        )
        say(
            "iteration_done",
            iteration=number,
            status=status,
            duration_s=0.01,
            summary=summary,
            tokens_in=10,
            tokens_out=5,
            cost_usd=0.01,
        )
    if "deaf" in TRAITS:
        while True:
            time.sleep(600)
    say("exit", reason="completed", iterations=len(words))


if __name__ == "__main__":
    main()
