"""Who may say what, and when: the one table of the conversation, seen alike from both ends.

The runner's frames move the conversation; the supervisor's never do, because they cross. A command that was right
when its sender looked must not become wrong on its way, so a runner takes every command in every state once it has been
greeted, and the table below says only what a *supervisor* that has seen the runner in some state may begin to say.
"""

from __future__ import annotations

from enum import Enum


class Talk(Enum):
    """Where the conversation is, judged by the runner's frames."""

    NEW = "new"
    GREETED = "greeted"  # init is said, ready is not
    IDLE = "idle"
    TURN = "turn"
    PAUSED = "paused"
    ENDED = "ended"


_PLAIN_ANYWHERE = {"notify", "log"}
_ANYWHERE = _PLAIN_ANYWHERE | {"stream", "pong", "attached"}
_QUESTIONS = {"permission_request", "permission_applied", "permission_withdrawn"}

STEPS: dict[Talk, dict[str, Talk]] = {
    Talk.NEW: {},
    Talk.GREETED: {"ready": Talk.IDLE, "exit": Talk.ENDED},
    Talk.IDLE: {
        "reserve": Talk.IDLE,
        "iteration_start": Talk.TURN,
        "paused_budget": Talk.PAUSED,
        "exit": Talk.ENDED,
    }
    | dict.fromkeys(_ANYWHERE, Talk.IDLE),
    Talk.TURN: {"usage": Talk.TURN, "iteration_done": Talk.IDLE, "exit": Talk.ENDED}
    | dict.fromkeys(_ANYWHERE | _QUESTIONS, Talk.TURN),
    Talk.PAUSED: {"resumed": Talk.IDLE, "exit": Talk.ENDED} | dict.fromkeys(_ANYWHERE, Talk.PAUSED),
    Talk.ENDED: dict.fromkeys(
        {"pong", "attached"}, Talk.ENDED
    ),  # it waits for the last ack, perhaps of a successor
}
"""(state, the runner's op) → state, in protocol 1. What is not here is a fault of the runner."""

_PLAIN_TURNS = {
    "iteration_start": Talk.TURN,
    "permission_request": Talk.TURN,
    "iteration_done": Talk.IDLE,
    "paused_budget": Talk.PAUSED,
    "exit": Talk.ENDED,
}

PLAIN_STEPS: dict[Talk, dict[str, Talk]] = {
    Talk.NEW: {},
    Talk.GREETED: {"ready": Talk.IDLE, "exit": Talk.ENDED} | dict.fromkeys(_PLAIN_ANYWHERE, Talk.GREETED),
    Talk.IDLE: _PLAIN_TURNS | dict.fromkeys(_PLAIN_ANYWHERE | {"resumed"}, Talk.IDLE),
    Talk.TURN: _PLAIN_TURNS | dict.fromkeys(_PLAIN_ANYWHERE | {"resumed"}, Talk.TURN),
    Talk.PAUSED: _PLAIN_TURNS | dict.fromkeys(_PLAIN_ANYWHERE, Talk.PAUSED) | {"resumed": Talk.IDLE},
    Talk.ENDED: {},
}
"""The same for a plain peer, which may leave out ``iteration_start`` and ``resumed``, or say ``resumed`` once for each
``resume`` it was told. Our own ops are none of its words."""

_ALWAYS = {"stop", "ping", "ack"}
_STARTED = _ALWAYS | {"permission_response", "resume", "budgets", "cancel", "pause", "message", "reserved"}

COMMANDS: dict[Talk, set[str]] = {
    Talk.NEW: {"init", "stop"},
    Talk.GREETED: {"stop"},
    Talk.IDLE: _STARTED,
    Talk.TURN: _STARTED,
    Talk.PAUSED: _STARTED,
    Talk.ENDED: _ALWAYS,
}
"""What a supervisor may say to a runner that it has seen in that state, in protocol 1. Until ``ready`` has come nobody
knows how it speaks. ``attach`` is in no row: it begins a conversation."""

PLAIN_COMMANDS = {"init", "permission_response", "resume", "stop"}
"""All that a plain runner understands, of these."""
