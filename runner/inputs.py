"""What is too large for a line of the wire goes to a file of the run's folder, and the frame names the file."""

import hashlib
import os
from pathlib import Path
from typing import Any

import orjson

LARGEST = 300_000
"""Most bytes of one value in a frame, written as JSON: a line must hold three of them."""

BEGINNING = 4_000
"""How many characters of a large value the frame shows."""


class LargeInputs:
    """Keeps large values in ``folder/inputs``; without a folder they are cut."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder / "inputs" if folder else None

    def fit(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return ``given`` itself, or ``{path, size, sha256, beginning}`` of the file that now holds it.

        Raises:
            OSError: the file cannot be written.
            ValueError: it holds what JSON cannot.
        """
        try:
            data = orjson.dumps(given)
        except TypeError as error:
            raise ValueError(f"no JSON: {error}") from None
        return given if len(data) <= LARGEST else self._keep(data, "json")

    def fit_text(self, text: str) -> str:
        """Return ``text`` itself, or its beginning and the name of the file that now holds it; never raises."""
        data = text.encode("utf-8", "replace")
        text = data.decode()
        if len(orjson.dumps(text)) <= LARGEST:
            return text
        try:
            kept = self._keep(data, "txt")
        except OSError as error:
            return f"{text[:BEGINNING]} … ({len(data):,} bytes; the rest could not be kept: {error.strerror})"
        return f"{kept['beginning']} … ({len(data):,} bytes, all of it in {kept['path'] or 'no file'})"

    def _keep(self, data: bytes, suffix: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        path = None
        if self._folder is not None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._folder / f"{digest[:32]}.{suffix}"
            unfinished = path.with_suffix(".new")
            unfinished.write_bytes(data)
            os.replace(unfinished, path)
        beginning = data[:BEGINNING].decode("utf-8", "replace")
        return {
            "path": str(path) if path else None,
            "size": len(data),
            "sha256": digest,
            "beginning": beginning,
        }
