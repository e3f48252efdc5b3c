"""The keeper's connections: whoever does not read holds up nobody, and whoever talks nonsense is cut off."""

from __future__ import annotations

import errno
import selectors
import socket
import sys
from collections.abc import Callable
from typing import Any

from ipc.errors import ProtocolError
from ipc.keeper import Inbox, Message, Outbox

UNREAD_LIMIT = 1_048_576
"""Bytes of unread news after which a peer is cut off; it can come back and ask for the list."""

PEERS_LIMIT = 64
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Answer = tuple[dict[str, Any], list[int]]
"""The fields of an answer and the descriptors it takes along."""


class Peer:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.inbox = Inbox()
        self.outbox = Outbox()

    def close(self) -> None:
        """Close it and every descriptor that was under way."""
        self.sock.close()
        self.inbox.close()
        self.outbox.close()


class Peers:
    """Accepts connections from ``listener``; ``answer`` makes the answer to each message, and owns the message."""

    def __init__(
        self, listener: socket.socket, selector: selectors.BaseSelector, answer: Callable[[Message], Answer]
    ) -> None:
        self.met = False
        """Somebody has connected at some time."""
        self.listening = False
        """False while the descriptors to accept anybody are lacking; see `listen`."""
        self._listener = listener
        self._selector = selector
        self._answer = answer
        self._peers: set[Peer] = set()
        listener.setblocking(False)
        self.listen()

    def __len__(self) -> int:
        return len(self._peers)

    def listen(self) -> None:
        """Accept connections, again."""
        if not self.listening:
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
            self.listening = True

    def tell(self, news: dict[str, Any]) -> None:
        """Send ``news`` to everybody."""
        for peer in tuple(self._peers):
            if len(peer.outbox) > UNREAD_LIMIT:
                self._drop(peer, "it reads nothing")
            else:
                peer.outbox.append(news)
                self._attend(peer, listening=False)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                self._selector.unregister(self._listener)
                self.listening = False
            return
        if len(self._peers) >= PEERS_LIMIT:
            sock.close()
            return
        self.met = True
        peer = Peer(sock)
        self._peers.add(peer)
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._attend(peer))

    def _attend(self, peer: Peer, *, listening: bool = True) -> None:
        """Send, read, answer; while a peer does not read its answers, nothing more is read from it."""
        if peer not in self._peers:
            return
        try:
            peer.outbox.flush(peer.sock)
            if listening and not peer.outbox:
                peer.inbox.receive(peer.sock)
                while peer.inbox.messages and not peer.outbox:
                    peer.outbox.append(*self._answer(peer.inbox.messages.popleft()))
                    peer.outbox.flush(peer.sock)
        except ProtocolError as error:
            self._drop(peer, str(error))
        except (EOFError, OSError):
            self._drop(peer)
        else:
            events = selectors.EVENT_WRITE if peer.outbox else selectors.EVENT_READ
            self._selector.modify(peer.sock, events, lambda: self._attend(peer))

    def _drop(self, peer: Peer, why: str = "") -> None:
        if why:
            print(f"a connection was cut: {why}", file=sys.stderr)  # noqa: T201 - the keeper's log
        self._peers.discard(peer)
        self._selector.unregister(peer.sock)
        peer.close()
