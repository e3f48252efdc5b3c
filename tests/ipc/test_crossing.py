"""Messages cross: every state that two honest peers can reach, with up to three messages on their way each way.

Ops that no table tells apart are walked once, by one of them; ``test_session`` holds every op to its column.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import pytest

from ipc.codec import Known
from ipc.errors import LocalError, RemoteError
from ipc.frames import CATALOGUE, Attach, Attached, Side, SupervisorFrame
from ipc.session import Received, Session
from ipc.talk import COMMANDS, PLAIN_COMMANDS, PLAIN_STEPS, STEPS, Talk
from tests.ipc.pairs import sample


def column(op: str, protocol: int) -> object:
    """What the tables say about ``op`` in each state, where a state that it does not change is "stays"."""
    cls = CATALOGUE[op]
    cells: list[object] = [cls.numbered, op == "ready"]
    for talk in Talk:
        agreed = protocol if talk not in (Talk.NEW, Talk.GREETED) else 0
        if cls.sender is Side.SUPERVISOR:
            cells.append(op in COMMANDS[talk] and (agreed or op in PLAIN_COMMANDS))
        else:
            step = (STEPS if agreed else PLAIN_STEPS)[talk].get(op)
            cells.append("stays" if step is talk else step)
    return tuple(cells)


@cache
def representatives(side: Side, protocol: int) -> list[str]:
    """One op for each column that the tables tell apart."""
    found: dict[object, str] = {}
    for op, cls in CATALOGUE.items():
        if cls.sender is side and op not in ("attach", "attached"):
            found.setdefault(column(op, protocol), op)
    return list(found.values())


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Both ends, and what is on its way: down to the runner, up to the supervisor; (op, bytes) each."""

    supervisor: Session
    runner: Session
    down: tuple[tuple[str, bytes], ...] = ()
    up: tuple[tuple[str, bytes], ...] = ()
    journal: tuple[tuple[int, str, bytes], ...] = ()
    """Numbered frames that the supervisor has not seen: what is said again after a take-over."""
    taken_over: bool = False
    path: tuple[str, ...] = ()

    def key(self) -> object:
        """What tells scenes apart; numbers only ever count on."""
        ends = tuple(
            (end.talk, end.protocol, end._offered, end._awaited is not None)
            for end in (self.supervisor, self.runner)
        )
        ways = tuple(tuple((op, data[:1]) for op, data in way) for way in (self.down, self.up))
        return ends, ways, tuple(op for _, op, _ in self.journal), self.taken_over


class Broken(AssertionError):
    """An honest peer was faulted, or not heard."""


def moves(scene: Scene, in_flight: int, protocol: int, take_over: bool) -> Iterator[Scene]:
    """Everything that can happen next."""
    if len(scene.down) < in_flight:
        for op in representatives(Side.SUPERVISOR, protocol):
            supervisor = copy.copy(scene.supervisor)
            try:
                data = supervisor.send(sampled(op, supervisor.last_cmd + 1, protocol))
            except LocalError:
                continue
            path = (*scene.path, f"supervisor says {op}")
            yield replace(scene, supervisor=supervisor, down=(*scene.down, (op, data)), path=path)
    if len(scene.up) < in_flight and len(scene.journal) <= in_flight:
        for op in representatives(Side.RUNNER, protocol):
            runner = copy.copy(scene.runner)
            try:
                data = runner.send(sampled(op, None, protocol))
            except LocalError:
                continue
            path = (*scene.path, f"runner says {op}")
            journal = scene.journal
            if runner.last_seq > scene.runner.last_seq:
                journal = (*journal, (runner.last_seq, op, data))
            yield replace(scene, runner=runner, up=(*scene.up, (op, data)), journal=journal, path=path)
    if scene.down:
        yield arrive_below(scene)
    if scene.up:
        yield arrive_above(scene)
    old = scene.supervisor
    if take_over and old.protocol and not scene.taken_over:
        new = type(old)(Side.SUPERVISOR)
        attach = new.attach("a-1", old.last_seq, old.talk)
        path = (*scene.path, "another supervisor attaches")
        taken = replace(
            scene, supervisor=new, down=(*scene.down, ("attach", attach)), taken_over=True, path=path
        )
        yield taken
        if scene.down:
            torn = scene.down[-1][1][:-2] + attach
            yield replace(taken, down=(*scene.down[:-1], ("attach", torn)), path=(*path, "after a torn line"))


_SAMPLES: dict[tuple[str, int], Known] = {}


def sampled(op: str, cmd: int | None, protocol: int) -> Known:
    if (op, protocol) not in _SAMPLES:
        _SAMPLES[op, protocol] = sample(op, protocol=protocol)
    frame = copy.copy(_SAMPLES[op, protocol])
    if cmd is not None and CATALOGUE[op].numbered:
        frame.cmd = cmd  # type: ignore[union-attr]
    return frame


def arrive_below(scene: Scene) -> Scene:
    (op, data), *down = scene.down
    runner, up = copy.copy(scene.runner), scene.up
    received = runner.receive(data)
    path = (*scene.path, f"{op} arrives")
    check(received, op, path)
    if isinstance(attach := received[0], Attach):
        answer = Attached(
            id=attach.id, last_seq=runner.last_seq, last_cmd=runner.last_cmd, iteration=1, status="?"
        )
        again = [(op, data) for seq, op, data in scene.journal if seq > attach.last_seq]
        up = (*up, ("attached", runner.send(answer)), *again)
    return replace(scene, runner=runner, down=tuple(down), up=up, path=path)


def arrive_above(scene: Scene) -> Scene:
    (op, data), *up = scene.up
    supervisor = copy.copy(scene.supervisor)
    awaiting = supervisor._awaited is not None
    received = supervisor.receive(data)
    path = (*scene.path, f"{op} arrives")
    if not (awaiting and op != "attached" and received == []):
        check(received, op, path)
    journal = tuple(entry for entry in scene.journal if entry[0] > supervisor.last_seq)
    if (
        not up
        and supervisor._awaited is None
        and (supervisor.talk, supervisor.last_seq)
        != (
            scene.runner.talk,
            scene.runner.last_seq,
        )
    ):
        raise Broken(f"all has arrived, and they disagree: {' / '.join(path)}")
    return replace(scene, supervisor=supervisor, up=tuple(up), journal=journal, path=path)


def check(received: list[Received], op: str, path: tuple[str, ...]) -> None:
    if [type(item) for item in received] != [CATALOGUE[op]]:
        raise Broken(f"{' / '.join(path)}: {received}")


def walk(
    *,
    protocol: int,
    in_flight: int = 3,
    take_over: bool = False,
    supervisor: type[Session] = Session,
    runner: type[Session] = Session,
) -> dict[object, Scene]:
    """Return every scene that can be reached, or raise ``Broken`` with the shortest way into trouble."""
    first = Scene(supervisor(Side.SUPERVISOR), runner(Side.RUNNER))
    seen: dict[object, Scene] = {first.key(): first}
    ahead = deque([first])
    while ahead:
        for scene in moves(ahead.popleft(), in_flight, protocol, take_over):
            if (key := scene.key()) not in seen:
                seen[key] = scene
                ahead.append(scene)
    return seen


@pytest.mark.parametrize("protocol", [1, 0], ids=["protocol 1", "plain"])
def test_two_honest_peers_never_fault_one_another_with_three_messages_on_their_way(protocol: int) -> None:
    seen = walk(protocol=protocol).values()
    assert any(len(scene.down) == len(scene.up) == 3 for scene in seen)
    assert {scene.supervisor.talk for scene in seen} == {scene.runner.talk for scene in seen} == set(Talk)
    assert {scene.runner.protocol for scene in seen} == {0, protocol}
    met = {(scene.down[0][0], scene.runner.talk) for scene in seen if scene.down}
    assert {("stop", talk) for talk in Talk} <= met
    assert {("permission_response", talk) for talk in (Talk.IDLE, Talk.TURN, Talk.PAUSED, Talk.ENDED)} <= met


def test_a_peer_that_speaks_as_we_do_and_one_that_offers_more_meet_too() -> None:
    assert {scene.runner.protocol for scene in walk(protocol=2, in_flight=2).values()} == {0, 1}


def test_a_supervisor_may_take_over_at_any_moment_and_misses_nothing() -> None:
    seen = walk(protocol=1, in_flight=2, take_over=True).values()
    done = [
        scene for scene in seen if scene.taken_over and not scene.up and scene.supervisor._awaited is None
    ]
    assert {scene.runner.talk for scene in done} == {Talk.IDLE, Talk.TURN, Talk.PAUSED, Talk.ENDED}
    assert all(not scene.journal for scene in done)


class NaiveRunner(Session):
    """Takes an answer only while it has a question, as a table drawn without crossings would say."""

    def _take_command(self, frame: SupervisorFrame) -> Received | None:
        if frame.op == "permission_response" and self.talk is not Talk.TURN:
            raise RemoteError(f"{frame.op} while {self.talk.value}")
        return super()._take_command(frame)


class NaiveSupervisor(Session):
    """Holds that a runner which was stopped has nothing more to say but ``exit``."""

    stopped = False

    def _check_command(self, frame: SupervisorFrame) -> None:
        super()._check_command(frame)
        self.stopped = self.stopped or frame.op == "stop"

    def _steps(self, protocol: int) -> dict[str, Talk]:
        steps = dict(super()._steps(protocol))
        return {op: step for op, step in steps.items() if op == "exit"} if self.stopped else steps


class ForgetfulSupervisor(Session):
    """Has one cell of the table fewer than the runner."""

    def _steps(self, protocol: int) -> dict[str, Talk]:
        steps = dict(super()._steps(protocol))
        if self.talk is Talk.PAUSED:
            del steps["notify"]
        return steps


class HastySupervisor(Session):
    """Listens before it was answered."""

    def attach(self, id: str, last_seq: int, talk: Talk) -> bytes:
        data = super().attach(id, last_seq, talk)
        self._awaited = None
        return data


class ClumsyRunner(Session):
    """Says it aloud when it reads a torn line."""

    def receive(self, data: bytes) -> list[Received]:
        found = super().receive(data)
        return [found[0], *found] if data.lstrip(b"\n").count(b"\n") > 1 else found


@pytest.mark.parametrize("protocol", [1, 0], ids=["protocol 1", "plain"])
def test_the_walk_finds_a_runner_that_takes_answers_only_while_it_asks(protocol: int) -> None:
    with pytest.raises(Broken, match=r"permission_response arrives: \[Fault"):
        walk(protocol=protocol, runner=NaiveRunner)


@pytest.mark.parametrize("protocol", [1, 0], ids=["protocol 1", "plain"])
def test_the_walk_finds_a_supervisor_that_expects_nothing_after_stop(protocol: int) -> None:
    with pytest.raises(Broken, match="supervisor says stop"):
        walk(protocol=protocol, supervisor=NaiveSupervisor)


@pytest.mark.parametrize("protocol", [1, 0], ids=["protocol 1", "plain"])
def test_the_walk_finds_a_single_missing_cell(protocol: int) -> None:
    with pytest.raises(Broken, match=r"paused_budget arrives.* / notify arrives"):
        walk(protocol=protocol, supervisor=ForgetfulSupervisor)


def test_the_walk_finds_a_successor_that_does_not_wait_for_its_answer() -> None:
    with pytest.raises(Broken, match="another supervisor attaches"):
        walk(protocol=1, in_flight=2, take_over=True, supervisor=HastySupervisor)


def test_the_walk_finds_a_runner_that_does_not_drop_a_torn_line() -> None:
    with pytest.raises(Broken, match="after a torn line"):
        walk(protocol=1, in_flight=2, take_over=True, runner=ClumsyRunner)
