"""Stand-ins for a runner that do what no runner should: ``hostile.py BEHAVIOUR [WORD...]``, then words to be ignored.

They speak protocol 1 as far as they speak it at all. Standard library only.
"""

import json
import os
import signal
import subprocess
import sys
import time

COUNT = 500


class Wire:
    """The runner's end of the wire, without a journal."""

    def __init__(self) -> None:
        self.seq = 0

    def hear(self, *ops: str) -> dict:
        """The next frame with one of these ops; ends with code 0 at the end of stdin."""
        while line := sys.stdin.buffer.readline():
            frame = json.loads(line)
            if frame["op"] in ops:
                return frame
        sys.exit(0)

    def frame(self, op: str, **fields: object) -> bytes:
        self.seq += 1
        return json.dumps({"op": op, "seq": self.seq, **fields}).encode() + b"\n"

    def say(self, op: str, **fields: object) -> None:
        self.raw(self.frame(op, **fields))

    def raw(self, data: bytes) -> None:
        while data:
            data = data[os.write(1, data) :]

    def greet(self) -> dict:
        """Hear ``init`` and be ready; return its payload."""
        payload = self.hear("init")["payload"]
        self.say("ready", protocol=1, pid=os.getpid())
        return payload

    def turn(self, number: int, status: str = "ok", **fields: object) -> bytes:
        """One whole iteration."""
        start = self.frame("iteration_start", iteration=number, attempt=1)
        done = {
            "duration_s": 0.0,
            "summary": f"turn {number}",
            "tokens_in": 0,
            "tokens_out": 0,
            "cost_usd": 0.0,
        }
        return start + self.frame(
            "iteration_done", iteration=number, attempt=1, status=status, **done, **fields
        )

    def leave(self, reason: str = "completed", iterations: int = 1) -> None:
        self.say("exit", reason=reason, iterations=iterations)

    def until_stopped(self) -> None:
        self.hear("stop")
        self.leave("stopped")


def garbage(wire: Wire) -> None:
    """Prints what is no frame before, between and after its frames."""
    wire.raw(b"Traceback (most recent call last):\n\xff\xfe\x00\x80 not UTF-8\n\n")
    wire.greet()
    wire.raw(b'[1, 2]\n{"no": "op"}\n{"op": 7}\n"text"\nnull\n{"op": "ready"\nprogress 50%\r100%\n')
    wire.raw(wire.turn(1))
    wire.raw(b'{"op": "from_the_future", "seq": "never"}\n')
    wire.leave()
    wire.raw(b"bye\n")


def half_a_line(wire: Wire) -> None:
    """Ends in the middle of a line."""
    wire.greet()
    wire.raw(wire.turn(1) + b'{"op": "log", "level": "info", "ms')


def half_a_line_for_good(wire: Wire) -> None:
    """Stops talking in the middle of its first line, and waits."""
    wire.hear("init")
    wire.raw(b'{"op": "ready", "proto')
    time.sleep(600)


def endless_line(wire: Wire) -> None:
    """Says 2 MB without a newline, and waits."""
    wire.greet()
    wire.raw(b"x" * 2_000_000)
    wire.hear("stop")


def endless_frame(wire: Wire) -> None:
    """Says a frame of 2 MB."""
    wire.greet()
    wire.say("log", level="info", msg="y" * 2_000_000)
    wire.until_stopped()


def number_for_text(wire: Wire) -> None:
    wire.greet()
    wire.say("log", level="info", msg=5)
    wire.until_stopped()


def never_begun(wire: Wire) -> None:
    """Finishes an iteration that it never began."""
    wire.greet()
    wire.raw(wire.turn(1))
    done = {
        "status": "ok",
        "duration_s": 0.1,
        "summary": "?",
        "tokens_in": 1,
        "tokens_out": 1,
        "cost_usd": 0.0,
    }
    wire.say("iteration_done", iteration=2, attempt=1, **done)
    wire.until_stopped()


def gap(wire: Wire) -> None:
    """Leaves out a number."""
    wire.greet()
    wire.seq += 5
    wire.say("log", level="info", msg="what was before?")
    wire.until_stopped()


def flood(wire: Wire) -> None:
    """Says 500 turns at once and is gone."""
    wire.greet()
    wire.raw(b"".join(wire.turn(number) for number in range(1, COUNT + 1)))
    wire.leave(iterations=COUNT)


def flood_and_die(wire: Wire) -> None:
    """Says 500 log lines at once and kills itself."""
    wire.greet()
    wire.raw(b"".join(wire.frame("log", level="info", msg=f"line {number}") for number in range(COUNT)))
    os.kill(os.getpid(), signal.SIGKILL)


def deaf(wire: Wire) -> None:
    """Hears nothing: not stop, not the end of stdin, not TERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    wire.greet()
    wire.say("iteration_start", iteration=1, attempt=1)
    while True:
        time.sleep(600)


def never_reads(wire: Wire) -> None:
    """Is ready without having read a byte."""
    wire.say("ready", protocol=1, pid=os.getpid())
    wire.say("iteration_start", iteration=1, attempt=1)
    time.sleep(600)


def slow_reader(wire: Wire) -> None:
    """Takes its ``init`` in small pieces, late, and says how long it was."""
    time.sleep(0.3)
    length = 0
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 4096)
    length = len(json.loads(line)["payload"]["config"]["prompt"])
    wire.say("ready", protocol=1, pid=os.getpid())
    wire.say("log", level="info", msg=f"prompt of {length}")
    wire.leave(iterations=0)


def stopped(wire: Wire) -> None:
    """Is ready, and sends itself SIGSTOP at its first ``message``."""
    wire.greet()
    wire.hear("message")
    os.kill(os.getpid(), signal.SIGSTOP)
    wire.until_stopped()


def heir(wire: Wire) -> None:
    """Ends with a grandchild that holds its stdout (and writes its pid to the file that is named)."""
    wire.greet()
    with open(sys.argv[2], "w") as file:
        file.write(str(subprocess.Popen(["sleep", "600"]).pid))
    wire.raw(wire.turn(1))
    wire.leave()


def silent_end(wire: Wire) -> None:
    """Closes its stdout and lives on."""
    wire.greet()
    os.close(1)
    time.sleep(600)


def die(wire: Wire) -> None:
    """Dies before it says a word, with a code of its own."""
    print("cannot go on: no such thing", file=sys.stderr)
    sys.exit(int(sys.argv[2]))


def succeed_badly(wire: Wire) -> None:
    """Says that it is done, and ends with code 3."""
    wire.greet()
    wire.leave(iterations=0)
    sys.exit(3)


def fishing(wire: Wire) -> None:
    """Asks under one number twice, takes an answer to what it did not ask, and says it was applied."""
    wire.greet()
    wire.say("iteration_start", iteration=1, attempt=1)
    wire.say("permission_applied", request_id="never-asked", granted=True)
    wire.until_stopped()


if __name__ == "__main__":
    globals()[sys.argv[1]](Wire())
