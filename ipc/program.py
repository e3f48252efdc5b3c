"""Programs of agents: a Markdown file with TOML front matter whose fenced ``sh`` and ``python`` blocks are steps.

Pure text in, plain values out; only :func:`read` opens a file. The runner runs what is found here, and the
supervisor checks it with the same code before anything starts.
"""

import difflib
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Language = Literal["sh", "python"]

STEP_LIMIT = 100_000
"""Most bytes of code in one step: it is handed over as one argument, and Linux allows 131,072 for one."""

_MARK = "+++"
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})\s*(?P<info>.*)")
_STEP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
_ATTRIBUTES = ("id", "ask", "timeout", "continue-on-error")


class ProgramError(Exception):
    """A program cannot be used; the text names the file, the line where there is one, and what to mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One fenced block: what runs, under which name, and under which conditions.

    ``timeout`` is in seconds; ``line`` is the line of the file on which the code begins, counted from 1.
    """

    id: str
    language: Language
    code: str
    ask: str | None = None
    timeout: float | None = None
    continue_on_error: bool = False
    line: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A template as it was read: settings of its front matter, the prose with its blocks, and the steps in order."""

    front: dict[str, object]
    body: str
    steps: tuple[Step, ...]


def read(path: Path) -> Program:
    """Read and parse the program at ``path``; :exc:`ProgramError` if it is unreadable, not UTF-8 or faulty."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ProgramError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ProgramError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    return parse(text, name=str(path))


def parse(text: str, *, name: str) -> Program:
    """Take a program apart. ``name`` is what faults call the file; raises :exc:`ProgramError`."""
    text = text.replace("\r\n", "\n")
    if "\0" in text:
        raise ProgramError(
            f"{name}:{_line_of(text, text.index(chr(0)))}: a NUL byte; a program is plain text"
        )
    front, body, first_line = _split_front(text, name)
    return Program(front=front, body=body, steps=_steps(body, name, first_line))


def seconds(text: str) -> float:
    """A duration such as ``30``, ``"1h30m"`` or ``"500ms"`` in seconds; :exc:`ValueError` for anything else."""
    try:
        value = float(text)
    except ValueError:
        found = _DURATION.fullmatch(text.strip())
        if found is None or not any(found.groups()):
            raise ValueError(f"{text!r} is no duration (30, 30s, 5m, 1h30m, 500ms)") from None
        hours, minutes, whole, thousandths = (float(part or 0) for part in found.groups())
        value = hours * 3600 + minutes * 60 + whole + thousandths / 1000
    if not 0 < value < float("inf"):
        raise ValueError(f"{text!r}: a duration is more than nothing and has an end")
    return value


def _split_front(text: str, name: str) -> tuple[dict[str, object], str, int]:
    """Front matter, the rest, and the line number on which the rest begins."""
    lines = text.split("\n")
    if lines[0].rstrip() != _MARK:
        return {}, text, 1
    end = next((number for number, line in enumerate(lines) if number and line.rstrip() == _MARK), None)
    if end is None:
        raise ProgramError(f"{name}:1: the front matter has no end; close it with a line {_MARK}")
    try:
        front = tomllib.loads("\n".join(lines[1:end]) + "\n")
    except (ValueError, RecursionError) as error:
        at = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        where = f":{int(at[1]) + 1}" if at else ""
        what = str(error)[: at.start()].rstrip() if at else str(error)
        raise ProgramError(f"{name}{where}: front matter: {what}") from None
    return front, "\n".join(lines[end + 1 :]), end + 2


def _steps(body: str, name: str, first_line: int) -> tuple[Step, ...]:
    steps: list[Step] = []
    taken: dict[str, int] = {}
    lines = iter(enumerate(body.split("\n"), first_line))
    for number, line in lines:
        opened = _FENCE.fullmatch(line)
        if opened is None or (opened["fence"][0] == "`" and "`" in opened["info"]):
            continue
        block: list[str] = []
        for _, inner in lines:
            closed = _FENCE.fullmatch(inner)
            if closed and closed["fence"].startswith(opened["fence"]) and not closed["info"].strip():
                break
            block.append(inner)
        else:
            raise ProgramError(
                f"{name}:{number}: the block begun here has no end; close it with {opened['fence']}"
            )
        language, _, attributes = opened["info"].partition(" ")
        if language not in ("sh", "python"):
            continue
        where = f"{name}:{number}"
        step = _step(
            "sh" if language == "sh" else "python",
            "\n".join(block) + "\n",
            _attributes(attributes, where),
            where,
            default_id=f"step-{len(steps) + 1}",
            line=number + 1,
        )
        if step.id in taken:
            raise ProgramError(
                f"{where}: the id {step.id!r} is already that of the step in line {taken[step.id]}"
            )
        taken[step.id] = number
        steps.append(step)
    return tuple(steps)


def _attributes(text: str, where: str) -> dict[str, str]:
    """``id=x ask="why it asks" continue-on-error`` as a mapping; a bare word maps to the empty text."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ProgramError(f"{where}: {text.strip()!r}: {str(error).lower()}") from None
    found: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in _ATTRIBUTES:
            near = difflib.get_close_matches(key, _ATTRIBUTES, 1)
            hint = f" ({near[0]}?)" if near else f" (known: {', '.join(_ATTRIBUTES)})"
            raise ProgramError(f"{where}: {key}: a step has no such attribute{hint}")
        if key in found:
            raise ProgramError(f"{where}: {key} is given twice")
        found[key] = value
    return found


def _step(
    language: Language, code: str, attributes: dict[str, str], where: str, *, default_id: str, line: int
) -> Step:
    if not code.strip():
        raise ProgramError(f"{where}: the step is empty")
    if len(code.encode()) > STEP_LIMIT:
        raise ProgramError(
            f"{where}: the step has more than {STEP_LIMIT:,} bytes; call a file from it instead"
        )
    step_id = attributes.get("id", default_id)
    if not _STEP_ID.fullmatch(step_id):
        raise ProgramError(f"{where}: id {step_id!r}: letters, digits, '_', '.' and '-' only, at most 64")
    ask = attributes.get("ask")
    if ask is not None and not ask.strip():
        raise ProgramError(f'{where}: ask needs a reason: ask="why"')
    if attributes.get("continue-on-error"):
        raise ProgramError(f"{where}: continue-on-error stands alone, without a value")
    timeout = None
    if "timeout" in attributes:
        try:
            timeout = seconds(attributes["timeout"])
        except ValueError as error:
            raise ProgramError(f"{where}: timeout: {error}") from None
    return Step(
        id=step_id,
        language=language,
        code=code,
        ask=ask,
        timeout=timeout,
        continue_on_error="continue-on-error" in attributes,
        line=line,
    )


def _line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
