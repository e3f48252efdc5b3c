"""Descriptors that are closed exactly once."""

import os
from contextlib import ExitStack


class End:
    """One end of a pipe, or any descriptor; closing it again does nothing."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Close it, unless that was done."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def make_pipe(held: ExitStack) -> tuple[End, End]:
    """Return the reading and the writing end of a new pipe; both are closed with ``held`` at the latest."""
    ends = tuple(map(End, os.pipe()))
    for end in ends:
        held.callback(end.close)
    return ends[0], ends[1]


def open_null(held: ExitStack) -> End:
    """Return a descriptor that reads nothing."""
    end = End(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    held.callback(end.close)
    return end
