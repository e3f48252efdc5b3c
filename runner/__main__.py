"""``python -m runner``: one agent on a pipe, or the keeper of many."""

import sys

from runner.descendants import become_subreaper
from runner.pipe import run_pipe as _run_pipe

USAGE = """\
Usage:
  python -m runner --pipe            host one agent; its supervisor speaks on stdin and listens on stdout
  python -m runner --keeper SOCKET   fork and hold runners for the supervisor that connects to SOCKET"""

USAGE_ERROR = 2


def run_pipe() -> int:
    """Host one agent over descriptors 0 and 1 and return the exit code; what it daemonises is inherited by us."""
    become_subreaper()
    return _run_pipe()


def main(arguments: list[str]) -> int:
    """Do what the command line says and return the exit code."""
    match arguments:
        case ["--pipe"]:
            return run_pipe()
        case ["--keeper", socket]:
            from runner.keeper import main as keep

            return keep(socket)
        case _:
            print(USAGE, file=sys.stderr)  # noqa: T201
            return USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
