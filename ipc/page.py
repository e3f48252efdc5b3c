"""Print the page of the protocol from the catalogue: ``python -m ipc.page > ipc/PROTOCOL.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from ipc.fields import DEPTH_LIMIT
from ipc.frames import CAPPED, CATALOGUE, PROTOCOL, Budget, InitPayload, Side
from ipc.journal import FULL, JOURNAL, full_name
from ipc.lines import LINE_LIMIT
from ipc.talk import COMMANDS, PLAIN_COMMANDS, PLAIN_STEPS, STEPS, Talk

TALK = {
    Talk.NEW: "nothing was said",
    Talk.GREETED: "`init` was said, `ready` not yet",
    Talk.IDLE: "between two turns",
    Talk.TURN: "within a turn, its questions included",
    Talk.PAUSED: "waits for `resume` or `stop`",
    Talk.ENDED: "`exit` was said",
}

UNNUMBERED = {
    side: [op for op, cls in CATALOGUE.items() if cls.sender is side and not cls.numbered] for side in Side
}


def words(names: Iterable[str]) -> str:
    """Return ``names`` as code, with commas."""
    return ", ".join(f"`{name}`" for name in names)


RULES = f"""\
# The wire between supervisor and runner

This page is printed by `python -m ipc.page`; a test fails when the two differ. Change the catalogue, not the page.

## Lines

- A frame is one JSON object in UTF-8 on one line; its text field `op` says which frame it is. The supervisor writes
  to the runner's stdin, the runner to its own stdout.
- A line has at most {LINE_LIMIT:,} bytes, and its newline is one of them. A longer one is a fault of whoever wrote it,
  found when the limit is passed and not when the newline comes. What is larger is put into a file.
- A field that is null is a field left out. A field with a name that the catalogue lacks is ignored.
- A frame of the catalogue with a wrong or missing field is a fault, and the fault names the field. After a fault
  nothing from that peer is looked at.
- A frame with an `op` that the catalogue lacks is kept whole and ignored; its number counts.
- Whatever else stands on a line was printed by mistake. It goes to the run's log and ends nothing. JSON here is strict:
  no NaN, no infinity, no half of a surrogate pair. Of two equal keys the last counts.
- Whole numbers fit 64 bits with a sign. Objects are at most {DEPTH_LIMIT} levels deep. True and false are no numbers,
  and no text stands for them. Times are in seconds; appointments are in seconds since 1970.

## Two ways of speaking

- There is a *plain* dialect that others speak too. All that we added to it is marked *ours* below.
- A supervisor that knows our additions says so by `protocol` in `init`, a runner by `protocol` in `ready`. If both
  say {PROTOCOL} or more, the conversation is in protocol {PROTOCOL}; otherwise, and until then, it is plain.
- Plainly, frames carry no number, our fields are left out (but for those of `init`, which make the offer), our words
  are replaced as the tables show, and our frames are not sent. Where one arrives, it counts as unknown.

## Numbers

- In protocol {PROTOCOL} the runner counts its frames by `seq`, from 1 and without gaps;
  {words(UNNUMBERED[Side.RUNNER])} have none. One that was seen before is dropped; a gap is a fault.
- Before a numbered frame is sent it is appended to the journal: `{JOURNAL}` in the folder `log_dir` of `init`.
  From {FULL // 1_048_576} MiB on, the file is renamed after its first number (`{full_name(1)}`) and a new one begun.
  Whoever reads it ends before a torn line, which nobody has been sent.
- `ack` says up to which number the supervisor has everything in its database; files below it may go.
- The supervisor counts its commands by `cmd`, rising, perhaps with gaps;
  {words(UNNUMBERED[Side.SUPERVISOR])} have none.
  A command is stored before it is said, and a runner drops a number that is not above the last.

## Crossing

Frames meet on the way. So only the runner's frames move the conversation, and a runner that was greeted takes every
command at any time; one that came too late finds nothing to act on. The tables at the end say which frames a runner may
say in each state, and what a supervisor may say to a runner that it has last seen there.

## Taking over

- A supervisor whose predecessor died begins with an empty line and `attach`, whose `last_seq` is the last number that
  is stored. The empty line ends what the predecessor may have left half written; the runner drops that half.
- The runner answers with `attached`, which repeats the `id`, and says again what its journal holds after `last_seq`.
- Until that `attached` comes, whatever arrives was meant for the predecessor and is thrown away, and no numbered
  command is said. Afterwards come the commands above `last_cmd`.
- A plain runner cannot be taken over.

## Beginning and end

- A runner that hears no `init` for 10 s, or a wrong one, exits with code 2.
- It keeps the wire to itself: neither it nor anything that it starts can reach the two pipes by printing or reading.
- It never waits for a reader in protocol {PROTOCOL}: what the pipe does not take stays in the journal until it does.
  A supervisor never waits for one runner at the cost of another, and whoever gives up waiting leaves the rest of the
  line where it is, ahead of everything else.
- When its stdin ends, nobody is left who could tell it anything: the runner cancels its turn and exits with code 0.
- Exit codes: 0 it did what it was told or had nothing more to do, 1 an exception or no such template, 2 see above.

## Digest

The SHA-256, in hex, of the JSON list of `tool` and `input`: keys sorted, no blanks, UTF-8 without escapes where JSON
needs none, numbers as Python's own `json` writes them. A runner obeys an answer only if its digest is that of the
question.
"""


def table(cls: Any) -> Iterator[str]:
    """Yield the lines of the table of the fields of ``cls``."""
    yield "| field | holds | needed | plain or ours |"
    yield "|---|---|---|---|"
    for name, kind, needed, ours in cls.PLAN:
        holds = kind.name.replace("|", "\\|")
        if kind.plainly:
            holds += "; plainly " + ", ".join(f"{ours} → {plain}" for ours, plain in kind.plainly.items())
        whose = "ours" if ours or getattr(cls, "ours", False) else "plain"
        yield f"| `{name}` | {holds} | {'yes' if needed else ''} | {whose} |"


def frame(cls: Any) -> Iterator[str]:
    """Yield the section of one frame, or of an object within frames."""
    op = getattr(cls, "op", None)
    marks = [] if op is None else ["ours"] * cls.ours + ["not numbered"] * (not cls.numbered)
    yield f"### {'`' + op + '`' if op else cls.__name__}" + (f" ({', '.join(marks)})" if marks else "")
    yield ""
    yield cls.__doc__.replace("``", "`")
    yield ""
    yield from table(cls)
    yield ""


def frames(side: Side) -> Iterator[str]:
    """Yield the sections of all that ``side`` says."""
    for cls in CATALOGUE.values():
        if cls.sender is side:
            yield from frame(cls)


def steps(tables: dict[Talk, dict[str, Talk]]) -> Iterator[str]:
    """Yield a matrix of the runner's frames and the states, each cell the state that follows; empty is a fault."""
    yield f"| | {' | '.join(talk.value for talk in Talk)} |"
    yield f"|---|{'---|' * len(Talk)}"
    for op in CATALOGUE:
        cells = [tables[talk][op].value if op in tables[talk] else "" for talk in Talk]
        if any(cells):
            yield f"| `{op}` | {' | '.join(cells)} |"


def commands() -> Iterator[str]:
    """Yield a matrix of the supervisor's frames and the states."""
    yield f"| | {' | '.join(talk.value for talk in Talk)} |"
    yield f"|---|{'---|' * len(Talk)}"
    for op, cls in CATALOGUE.items():
        if cls.sender is Side.SUPERVISOR and any(op in row for row in COMMANDS.values()):
            mark = "yes, plainly too" if op in PLAIN_COMMANDS else "yes"
            yield f"| `{op}` | {' | '.join(mark if op in COMMANDS[talk] else '' for talk in Talk)} |"


def page() -> Iterator[str]:
    """Yield the lines of the whole page."""
    yield from RULES.splitlines()
    yield from ("", "## What a supervisor says", "")
    yield from frames(Side.SUPERVISOR)
    yield from ("## What a runner says", "")
    yield from frames(Side.RUNNER)
    yield from ("## Objects within frames", "")
    yield from frame(InitPayload)
    yield from frame(Budget)
    yield f"`what` is one of {words(CAPPED)}."
    yield from ("", "## States", "")
    yield from (f"- *{talk.value}*: {meaning}" for talk, meaning in TALK.items())
    yield from (
        "",
        f"What a runner may say in protocol {PROTOCOL}, and the state that follows; an empty cell is a fault:",
        "",
    )
    yield from steps(STEPS)
    yield from ("", "The same in the plain dialect:", "")
    yield from steps(PLAIN_STEPS)
    yield from ("", "What a supervisor may say to a runner that it has seen in that state:", "")
    yield from commands()
    yield ""
    yield "`attach` is in no row: a supervisor says it first, to a runner that another one has greeted."


def text() -> str:
    """Return the whole page."""
    return "\n".join(page()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
