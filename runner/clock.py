"""Working time: the monotonic clock, standing still while somebody is waited for."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class WorkClock:
    """Seconds of work since it was made, and limits on them.

    While at least one ``waiting`` is open, no time passes: a person who answers late uses up nobody's limit.
    """

    def __init__(self) -> None:
        self._worked = 0.0
        self._since = trio.current_time()
        self._waiting = 0
        self._limits: dict[trio.CancelScope, float] = {}

    def worked(self) -> float:
        """Return the seconds of work so far."""
        return self._worked if self._waiting else self._worked + trio.current_time() - self._since

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Stop the clock inside the block; blocks may overlap."""
        if not self._waiting:
            self._worked = self.worked()
        self._waiting += 1
        self._arm()
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._since = trio.current_time()
            self._arm()

    @contextmanager
    def limit(self, seconds: float | None) -> Iterator[trio.CancelScope]:
        """Cancel the block after ``seconds`` more of work; never, with None."""
        scope = trio.CancelScope()
        self.renew(scope, seconds)
        try:
            with scope:
                yield scope
        finally:
            del self._limits[scope]

    def renew(self, scope: trio.CancelScope, seconds: float | None) -> None:
        """Let the block of ``scope`` have ``seconds`` from now instead of what it had."""
        self._limits[scope] = float("inf") if seconds is None else self.worked() + seconds
        self._arm()

    def _arm(self) -> None:
        now, worked = trio.current_time(), self.worked()
        for scope, at in self._limits.items():
            scope.deadline = float("inf") if self._waiting else now + at - worked
