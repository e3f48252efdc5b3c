"""Who is calling: the Unix user behind a socket, or the owner of a token; and whether an agent hides behind it."""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace

import apsw

from supervisor.errors import Conflict, Invalid, NotPermitted
from supervisor.paths import Home
from supervisor.peers import Connected, peer_of, seen_inside
from supervisor.records.rows import Row, one, rows
from supervisor.records.transaction import Tx
from supervisor.records.values import to_text

SCOPES = ("user", "admin")
"""What a token makes of its bearer: somebody who answers for the agents they started, or an administrator."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. ``inside`` says why it is taken for an agent of this home: it may look, and decide nothing."""

    name: str
    admin: bool = False
    inside: str | None = None

    def refuse_inside(self, what: str) -> None:
        """Raise `NotPermitted` if an agent of this home is calling; ``what`` completes "an agent may not …"."""
        if self.inside is not None:
            raise NotPermitted(
                f"an agent may not {what}: the caller {self.inside}",
                remedy="do it from a terminal that no agent has opened",
            )

    def require_admin(self, what: str) -> None:
        """Raise `NotPermitted` unless this is an administrator, who is no agent."""
        self.refuse_inside(what)
        if not self.admin:
            raise NotPermitted(
                f"only an administrator may {what}", remedy="the supervisor's user and root are"
            )


def administrator() -> Principal:
    """Return the user whose supervisor this is."""
    return Principal(user_name(os.geteuid()), admin=True)


def principal_of(
    connection: Connected, home: Home, keeper_pid: int | None = None, runner_pids: Collection[int] = ()
) -> Principal:
    """Return who is at the other end of a connected Unix socket.

    The supervisor's user and root are administrators. What descends from the keeper or a runner of ``home`` is an
    agent's. Blocks for about a millisecond. Ask again before each call that decides something: a process that has
    gone may no longer decide.
    """
    peer = peer_of(connection)
    ours = {*runner_pids, *(() if keeper_pid is None else (keeper_pid,))}
    inside = seen_inside(peer.pid, home.identity, ours)
    return Principal(user_name(peer.uid), admin=peer.uid in (0, os.geteuid()), inside=inside)


def user_name(uid: int) -> str:
    """Return the name of a Unix user, or its number where it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def add_token(
    tx: Tx, name: str, principal: str, *, scope: str = "user", expires_s: float | None = None
) -> str:
    """Make a token for ``principal`` and return it: it is shown this once, and only its hash is kept.

    Raises:
        Conflict: a token of this name is in force.
        Invalid: the name or scope is none.
    """
    if not name or scope not in SCOPES:
        raise Invalid(f"a token needs a name, and a scope of {' or '.join(SCOPES)}")
    before = one(tx.conn, "SELECT * FROM tokens WHERE name = ?", (to_text(name),))
    if before is not None and _fault(before, tx.now) is None:
        raise Conflict(f"there is a token {name} already", remedy=f"agentctl token remove {name}")
    token = secrets.token_urlsafe(32)
    tx.conn.execute(
        """INSERT OR REPLACE INTO tokens (name, hash, principal, scope, created_at, expires_at)
        VALUES (?, ?, ?, ?, ?, ?)""",
        (
            to_text(name),
            _hashed(token),
            to_text(principal),
            scope,
            tx.now,
            None if expires_s is None else tx.now + expires_s,
        ),
    )
    tx.emit("token.added", name=name, principal=principal, scope=scope)
    return token


def authenticate(conn: apsw.Connection, token: str, peer: Principal, now: float) -> Principal:
    """Return whom ``token`` makes of ``peer``, who stays inside if it is.

    Raises:
        NotPermitted: nobody has this token, it has expired, or it was revoked.
    """
    row = one(conn, "SELECT * FROM tokens WHERE hash = ?", (_hashed(token),))
    fault = "is not known" if row is None else _fault(row, now)
    if row is None or fault is not None:
        raise NotPermitted(f"this token {fault}", remedy="agentctl token add makes one")
    return replace(peer, name=row["principal"], admin=row["scope"] == "admin")


def list_tokens(conn: apsw.Connection) -> list[Row]:
    """Return all tokens by name, without what would let anyone use them."""
    return rows(
        conn, "SELECT name, principal, scope, created_at, expires_at, revoked_at FROM tokens ORDER BY name"
    )


def remove_token(tx: Tx, name: str) -> None:
    """Revoke a token at once; its row stays. Raises `Invalid` when none of this name is in force."""
    tx.conn.execute(
        "UPDATE tokens SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL", (tx.now, to_text(name))
    )
    if not tx.conn.changes():
        raise Invalid(f"there is no token {name}", remedy="agentctl token list")
    tx.emit("token.removed", name=name)


def _fault(row: Row, now: float) -> str | None:
    if row["revoked_at"] is not None:
        return "was revoked"
    if row["expires_at"] is not None and row["expires_at"] <= now:
        return "has expired"
    return None


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
