"""Every fault of a configuration, collected, so that a person mends them all at once."""

import difflib
from collections.abc import Iterable

from supervisor.errors import Invalid


class Faults(list[str]):
    """Sentences of the form ``path: what (remedy)``, in the order found."""

    def add(self, path: str, what: str, remedy: str = "") -> None:
        """Note one fault at ``path``, such as ``agent.bob.interval``."""
        self.append(f"{path}: {what} ({remedy})" if remedy else f"{path}: {what}")

    def unknown(self, path: str, key: str, known: Iterable[str], *, what: str = "no such setting") -> None:
        """Note that ``key`` below ``path`` means nothing, with the nearest ``known`` one."""
        near = difflib.get_close_matches(key, list(known), n=1)
        self.add(joined(path, key), what, f"{near[0]}?" if near else "")

    def raise_if_any(self) -> None:
        """Raise `Invalid` with all faults, one a line."""
        if self:
            raise Invalid("\n".join(self))


def joined(path: str, key: str) -> str:
    """``path`` and ``key`` as one dotted path; a key that is no plain word is quoted."""
    shown = key if key and all(part.isalnum() or part in "_-." for part in key) else repr(key)
    return f"{path}.{shown}" if path else shown
