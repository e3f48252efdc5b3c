"""The runner's end of the wire: two descriptors that nothing else in this process, and no child, can reach."""

import fcntl
import os
from collections import deque
from dataclasses import dataclass

import trio

from ipc.channel import read_some
from ipc.frames import Side
from ipc.session import Received, Session


@dataclass(frozen=True, slots=True)
class Claimed:
    """The descriptors of the wire, close-on-exec, and whether each was blocking before.

    ``low`` are two low numbers kept free for programs: a POSIX shell can redirect to one digit only.
    """

    reading: int
    writing: int
    low: tuple[int, int]
    were_blocking: tuple[bool, bool]


def claim() -> Claimed:
    """Move the wire off descriptors 0 and 1 and point those at /dev/null and stderr.

    Raises:
        OSError: there is no descriptor 0, 1 or 2.
    """
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    low = null, fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, 3)
    reading, writing = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 5) for fd in (0, 1))
    blocking = os.get_blocking(reading), os.get_blocking(writing)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return Claimed(reading, writing, low, blocking)


def give_back(claimed: Claimed) -> None:
    """Leave the two open files as they were found: somebody may share them with us, such as a shell."""
    for fd, blocking in zip((claimed.reading, claimed.writing), claimed.were_blocking, strict=True):
        try:
            os.set_blocking(fd, blocking)
        except OSError:
            continue  # closed meanwhile


class Ear:
    """What the supervisor says, frame by frame."""

    def __init__(self, fd: int) -> None:
        self.session = Session(Side.RUNNER)
        self._fd = fd
        self._heard: deque[Received] = deque()

    async def next(self) -> Received | None:
        """Wait for the next frame; None is the end of stdin."""
        while not self._heard:
            await trio.lowlevel.checkpoint()
            try:
                data = await read_some(self._fd)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._heard.extend(self.session.receive(data))
        return self._heard.popleft()
