"""The journal and taking over: what was said is never lost, and said again when asked."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipc.journal import read_after

NOTES = '```sh\nseq {count} | sed \'s/.*/{{"type":"notify","text":"&"}}/\' >&$AGENTD_FD\n{after}\n```\n'


def test_attach_sends_again_everything_after_the_number(runner: Any) -> None:
    runner.init(max_iterations=2, interval=600)
    runner.until("iteration_done")
    before = list(runner.seen)
    runner.write(b"\n")
    runner.say("attach", id="a1", last_seq=1)
    attached = runner.until("attached")
    assert attached == {
        "op": "attached",
        "id": "a1",
        "last_seq": 3,
        "last_cmd": 0,
        "iteration": 1,
        "status": "idle",
    }
    assert [runner.next(), runner.next()] == before[1:]
    number = runner.command("message", text="hi")
    runner.say("attach", id="a2", last_seq=3)
    assert runner.until("attached", id="a2")["last_cmd"] == number


def test_attach_drops_the_torn_line_of_a_dead_supervisor(runner: Any) -> None:
    runner.init(interval=600)
    runner.until("iteration_done")
    runner.write(b'{"op":"stop","reas')
    runner.write(b"\n")
    runner.say("attach", id="x", last_seq=3)
    runner.until("attached", id="x")
    runner.say("stop")
    assert runner.rest()[-1]["reason"] == "stopped"


def test_frames_said_while_nobody_reads_wait_in_the_journal_and_the_loop_goes_on(runner: Any) -> None:
    runner.init(NOTES.format(count=20_000, after="touch done; exec sleep 600"))
    until((runner.cwd / "done").exists)
    until(lambda: (runner.run_dir / "frames.jsonl").read_bytes().count(b"\n") == 20_002)
    runner.say("attach", id="late", last_seq=0)
    runner.until("attached")
    position = len(runner.seen)
    runner.until("notify", text="20000")
    assert [frame["seq"] for frame in runner.seen[position:]] == list(range(1, 20_003))


def test_ping_is_answered_between_whole_frames(runner: Any) -> None:
    runner.init(NOTES.format(count=5_000, after="exec sleep 600"))
    runner.until("notify")
    for number in range(3):
        runner.say("ping", id=str(number))
        runner.until("pong", id=str(number))


def test_a_dead_runners_journal_holds_all_that_it_said(runner: Any) -> None:
    runner.init(NOTES.format(count=100_000, after="exec sleep 600"), config={"output": None})
    runner.until("notify", text="300")
    runner.process.send_signal(signal.SIGKILL)
    runner.code()
    said = [frame["seq"] for frame in runner.rest_of_whole_lines()]
    kept = [seq for seq, _ in read_after(runner.run_dir, 0)]
    assert kept == list(range(1, len(kept) + 1))
    assert kept[: len(said)] == said


def test_a_torn_tail_was_never_said(runner: Any) -> None:
    runner.init(interval=600)
    runner.until("iteration_done")
    runner.process.kill()
    runner.code()
    with (runner.run_dir / "frames.jsonl").open("ab") as journal:
        journal.write(b'{"op":"notify","text":"half')
    assert [seq for seq, _ in read_after(runner.run_dir, 1)] == [2, 3]


def test_acknowledged_files_are_deleted_while_the_run_lives(runner: Any) -> None:
    text = "x" * 10_000
    runner.init(
        f'```sh\nseq 4000 | sed \'s/.*/{{"type":"notify","text":"{text}"}}/\' >&$AGENTD_FD\nexec sleep 600\n```\n'
    )
    last = 0
    while last < 4_002:
        frame = runner.next()
        last = frame.get("seq", last)
    full = sorted(path.name for path in runner.run_dir.glob("frames-*.jsonl"))
    assert len(full) == 2
    assert full[0] == "frames-000000000001.jsonl"
    second = int(full[1][7:19])
    runner.say("ack", seq=second - 2)
    runner.say("ping", id="1")
    runner.until("pong")
    assert len(list(runner.run_dir.glob("frames-*.jsonl"))) == 2
    runner.say("ack", seq=second - 1)
    runner.say("ping", id="2")
    runner.until("pong")
    assert [path.name for path in runner.run_dir.glob("frames-*.jsonl")] == full[1:]
    runner.say("attach", id="x", last_seq=0)
    runner.until("attached")
    assert runner.next()["seq"] == second
    assert next(seq for seq, _ in read_after(runner.run_dir, second)) == second + 1


def test_a_full_disk_makes_the_loop_wait_until_there_is_room(start: Callable[..., Any]) -> None:
    runner = start()
    runner.init("```sh\nwhile ! test -e go; do sleep 0.01; done\n```\n", max_iterations=2)
    runner.until("iteration_start")
    size = (runner.run_dir / "frames.jsonl").stat().st_size
    resource.prlimit(runner.process.pid, resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
    (runner.cwd / "go").touch()
    until(lambda: waiting(runner))
    journal = runner.run_dir / "frames.jsonl"
    for _ in range(3):  # each attempt leaves its time, and what it wrote is cut off
        before = journal.stat().st_mtime_ns
        until(lambda before=before: journal.stat().st_mtime_ns != before)
    until(lambda: journal.stat().st_size == size)
    resource.prlimit(
        runner.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )
    frames = runner.rest()
    assert frames[-1]["reason"] == "completed"
    assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1))
    assert runner.journal() == frames


def test_stop_ends_the_wait_for_a_full_disk(runner: Any) -> None:
    runner.init("```sh\nwhile ! test -e go; do sleep 0.01; done\n```\n", max_iterations=2)
    runner.until("iteration_start")
    size = (runner.run_dir / "frames.jsonl").stat().st_size
    resource.prlimit(runner.process.pid, resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
    (runner.cwd / "go").touch()
    until(lambda: waiting(runner))
    began = time.monotonic()
    runner.say("stop")
    assert runner.code() == 0
    assert time.monotonic() - began < 3
    assert [frame["op"] for frame in runner.journal()] == ["ready", "iteration_start"]


def test_a_folder_that_is_not_the_supervisors_keeps_the_runner_for_the_last_ack(runner: Any) -> None:
    elsewhere = runner.folder / "elsewhere"
    runner.init(max_iterations=1, log_dir=str(elsewhere), grace_s=10)
    last = runner.until("exit")
    began = time.monotonic()
    time.sleep(0.2)
    assert runner.process.poll() is None
    runner.say("ack", seq=last["seq"])
    assert runner.code() == 0
    assert time.monotonic() - began < 2


def test_a_large_input_goes_to_a_file_that_the_frame_names(
    runner: Any, digest_of: Callable[..., str]
) -> None:
    runner.process_init(
        "import json, os\n"
        "q = {'type': 'permission', 'tool': 'write', 'input': {'text': 'y' * 900_000}}\n"
        "with open(int(os.environ['AGENTD_FD']), 'w') as say: print(json.dumps(q), file=say)\n"
        "print(open(int(os.environ['AGENTD_ANSWER_FD'])).readline())\n",
        max_iterations=1,
    )
    request = runner.until("permission_request")
    kept = request["input"]
    data = Path(kept["path"]).read_bytes()
    assert json.loads(data) == {"text": "y" * 900_000}
    assert kept["size"] == len(data)
    assert kept["beginning"] == data[:4000].decode()
    assert request["digest"] == digest_of("write", kept)
    runner.allow(request)
    assert json.loads(runner.until("iteration_done")["summary"]) == {"id": "", "granted": True, "reason": ""}


def test_whatever_a_program_says_fits_a_line(runner: Any) -> None:
    runner.process_init(
        "import json, os\n"
        "say = open(int(os.environ['AGENTD_FD']), 'w')\n"
        "def tell(**what): print(json.dumps(what, ensure_ascii=False), file=say, flush=True)\n"
        "for big in ('x' * 1_040_000, '\\x01' * 170_000):\n"
        "    tell(type='usage', model=big)\n"
        "    tell(type='notify', text=big)\n"
        "    tell(type='notify', text='small', bridge=big)\n"
        "    tell(type='summary', text=big)\n"
        "    third = big[: len(big) // 3]\n"
        "    tell(type='permission', tool=third, input={'a': third}, rationale=third)\n"
        "    hear = open(int(os.environ['AGENTD_ANSWER_FD']), closefd=False); hear.readline()\n"
        "tell(type='notify', text='x' * 2_000_000)\n",
        max_iterations=1,
    )
    for _ in range(2):
        runner.allow(runner.until("permission_request"))
    assert runner.until("iteration_done")["status"] == "ok"
    assert runner.ops().count("notify") == 4
    assert "it is too long" in runner.log("agentd")


def waiting(runner: Any) -> bool:
    """Whether the step has ended and its runner waits."""
    path = Path(f"/proc/{runner.process.pid}/task/{runner.process.pid}/children")
    return not path.read_text().strip()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)
