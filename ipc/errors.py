"""Who broke the wire protocol: we, or they."""

from __future__ import annotations


class ProtocolError(Exception):
    """Someone broke the wire protocol."""


class LocalError(ProtocolError):
    """We were about to send something the protocol forbids: a bug of ours."""


class RemoteError(ProtocolError):
    """The peer sent something the protocol forbids; ``field`` names what, where it is one field."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
