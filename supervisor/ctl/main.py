"""``agentctl``: find the verb, parse its arguments by its own usage text, run it, turn errors into exit codes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from docopt import DocoptExit, docopt

from supervisor.ctl.invocation import Args, Invocation, report
from supervisor.errors import INTERRUPTED, AgentdError, Invalid

VERBS: dict[str, str] = {
    "status": "look",
    "start": "lifecycle",
    "stop": "lifecycle",
    "restart": "lifecycle",
    "resume": "lifecycle",
    "pause": "lifecycle",
    "cancel": "lifecycle",
    "message": "lifecycle",
    "tail": "follow",
    "log": "follow",
    "add": "lifecycle",
    "remove": "lifecycle",
    "shutdown": "system",
    "pid": "process",
    "signal": "process",
    "version": "system",
    "run": "foreground",
    "runs": "look",
    "show": "look",
    "permissions": "consent",
    "allow": "consent",
    "deny": "consent",
    "budget": "money",
    "events": "look",
    "wait": "lifecycle",
    "templates": "system",
    "check": "system",
    "doctor": "doctor",
    "token": "tokens",
}
"""The module of `supervisor.ctl` that has each verb, in the order of ``agentctl help``."""

COMMON = """
  --json             print JSON, one object a line
  --token-file FILE  act as the owner of the token in FILE; without it AGENTD_TOKEN_FILE says which
  -h, --help         print this
"""
"""Options of every verb; each usage text ends with its own."""

OVERVIEW = """agentctl: start, watch, answer and stop AI agents.

Usage: agentctl [--json] [--token-file FILE] [VERB] [...]
       agentctl help VERB

Verbs (without one: status):
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``agentctl``; returns the exit code. Never raises, but for what is a bug."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has what they wanted; without this the interpreter complains when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def run(argv: list[str]) -> int:
    """Do what ``argv`` (without the program's name) says; returns the exit code."""
    json = "--json" in _before_dashes(argv)
    try:
        leading, rest = _leading_options(argv)
        verb, rest = (rest[0], rest[1:]) if rest else ("status", [])
        if verb in ("help", "--help", "-h"):
            return _help(rest)
        if verb == "--version":
            verb = "version"
        usage, function = find(verb)
        if {"-h", "--help"} & set(_before_dashes(rest)):
            print(usage)
            return 0
        args = parse(verb, usage, leading + rest)
        invocation = Invocation(os.environ, json=json, token_file=args["--token-file"])
    except AgentdError as error:
        return report(error, json=json)
    try:
        return function(args, invocation)
    except AgentdError as error:
        return invocation.fail(error)


def find(verb: str) -> tuple[str, Callable[[Args, Invocation], int]]:
    """Return a verb's whole usage text and its function. Raises `Invalid` for an unknown verb."""
    if verb not in VERBS:
        from difflib import get_close_matches

        near = get_close_matches(verb, VERBS, n=1)
        hint = f" ({near[0]}?)" if near else ""
        raise Invalid(f"{verb}: no such verb{hint}", remedy="agentctl help")
    module = import_module(f"supervisor.ctl.{VERBS[verb]}")
    text: str = module.USAGE[verb].strip("\n")
    options = "" if "\nOptions:" in text else "\n\nOptions:"
    return f"{text}{options}{COMMON}".rstrip("\n"), getattr(module, verb)


def parse(verb: str, usage: str, rest: list[str]) -> Args:
    """Parse what follows the verb. Raises `Invalid` with the verb's usage as the remedy."""
    try:
        parsed: Args = docopt(usage, [verb, *rest], default_help=False)
    except DocoptExit:
        known = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", usage))
        unknown = [
            word
            for word in _before_dashes(rest)
            if word.startswith("--") and word.partition("=")[0] not in known
        ]
        wrong = f"no such option: {unknown[0]}" if unknown else "these arguments do not fit"
        shown = re.search(r"^Usage:.*?(?=\n\n)", usage, re.S | re.M)
        raise Invalid(f"{verb}: {wrong}", remedy=shown[0] if shown else f"agentctl help {verb}") from None
    return parsed


def _before_dashes(words: list[str]) -> list[str]:
    return words[: words.index("--")] if "--" in words else words


def _leading_options(argv: list[str]) -> tuple[list[str], list[str]]:
    """Split off the options of every verb that stand before the verb."""
    taken = 0
    while taken < len(argv):
        word = argv[taken]
        if word == "--token-file" and taken + 1 < len(argv):
            taken += 2
        elif word == "--json" or word.startswith("--token-file="):
            taken += 1
        else:
            break
    return argv[:taken], argv[taken:]


def _help(rest: list[str]) -> int:
    if rest:
        print(find(rest[0])[0])
        return 0
    print(OVERVIEW, end="")
    for verb in VERBS:
        print(f"  {verb:<12} {find(verb)[0].partition(chr(10))[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
