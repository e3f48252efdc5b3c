"""The tables, as numbered steps; ``PRAGMA user_version`` is the number of the last step that was taken.

A step that has been released is never changed: what is to be different comes in a new one. Times are seconds since
the epoch, durations seconds, money US dollars; JSON is kept as text. Permissions and budgets rest on these tables
refusing what must not be, whoever asks.
"""

from __future__ import annotations

APPLICATION_ID = 0x61676E74
"""``PRAGMA application_id`` of our files ("agnt"): another program's database is never taken for ours."""

TERMINAL = ("succeeded", "stopped", "failed", "crashed", "timed_out", "cancelled", "lost")
"""The states in which a run has ended."""

LIVE = ("queued", "starting", "running", "waiting_permission", "paused", "stopping")
"""All other states of a run."""


def _words(*words: str) -> str:
    return ", ".join(f"'{word}'" for word in words)


FIRST = f"""
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    agent TEXT,
    run_id INTEGER,
    data TEXT NOT NULL
) STRICT;

CREATE TABLE agents (
    name TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    caps TEXT,
    origin TEXT NOT NULL CHECK (origin IN ('file', 'adhoc')),
    originator TEXT NOT NULL,
    wanted TEXT NOT NULL CHECK (wanted IN ('up', 'down')),
    held TEXT,
    restarts INTEGER NOT NULL DEFAULT 0,
    crash_count INTEGER NOT NULL DEFAULT 0,
    backoff_until REAL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    removed_at REAL
) STRICT;

CREATE TABLE agent_runs (
    run_id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    lineage INTEGER NOT NULL,
    predecessor INTEGER REFERENCES agent_runs,
    template TEXT NOT NULL,
    template_digest TEXT NOT NULL,
    adapter TEXT NOT NULL,
    originator TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ({_words(*LIVE, *TERMINAL)})),
    reason TEXT,
    settings TEXT NOT NULL,
    pid INTEGER,
    start_time REAL,
    boot_id TEXT,
    protocol INTEGER,
    queued_at REAL NOT NULL,
    started_at REAL,
    ready_at REAL,
    ended_at REAL,
    exit_reason TEXT,
    exit_code INTEGER,
    exit_signal INTEGER,
    stderr_tail TEXT,
    stdout_tail TEXT,
    last_seq INTEGER NOT NULL DEFAULT 0,
    last_cmd INTEGER NOT NULL DEFAULT 0,
    iteration INTEGER NOT NULL DEFAULT 0,
    iterations INTEGER NOT NULL DEFAULT 0,
    pause_kind TEXT,
    pause_reason TEXT,
    pause_seq INTEGER,
    resume_at REAL,
    stalled_since REAL,
    CHECK ((ended_at IS NOT NULL) = (state IN ({_words(*TERMINAL)})))
) STRICT;
CREATE INDEX agent_runs_of_agent ON agent_runs (agent, run_id);
CREATE INDEX agent_runs_of_lineage ON agent_runs (lineage, run_id);
CREATE INDEX agent_runs_by_end ON agent_runs (ended_at);

CREATE TRIGGER agent_runs_terminal BEFORE UPDATE ON agent_runs WHEN OLD.ended_at IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a run that has ended never changes');
END;

CREATE TABLE iterations (
    run_id INTEGER NOT NULL REFERENCES agent_runs,
    iteration INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN
        ('running', 'interrupted', 'ok', 'error', 'permission', 'no_change', 'cancelled', 'timed_out')),
    started_at REAL NOT NULL,
    ended_at REAL,
    duration_s REAL,
    summary TEXT,
    tokens_in INTEGER,
    tokens_out INTEGER,
    cache_read_tokens INTEGER,
    cache_write_tokens INTEGER,
    cost_usd REAL,
    error TEXT,
    session TEXT,
    PRIMARY KEY (run_id, iteration, attempt)
) STRICT, WITHOUT ROWID;

CREATE INDEX iterations_running ON iterations (run_id) WHERE status = 'running';

CREATE TABLE permissions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL REFERENCES agent_runs,
    agent TEXT NOT NULL,
    request_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    input TEXT NOT NULL,
    digest TEXT NOT NULL,
    rationale TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'decided', 'applied', 'in_doubt', 'void')),
    granted INTEGER CHECK (granted IN (0, 1)),
    how TEXT CHECK (how IN ('person', 'auto_approve')),
    decided_by TEXT,
    reason TEXT,
    asked_at REAL NOT NULL,
    decided_at REAL,
    applied_at REAL,
    closed_reason TEXT,
    UNIQUE (run_id, request_id),
    CHECK ((granted IS NULL) = (decided_at IS NULL) AND (granted IS NULL) = (decided_by IS NULL)),
    CHECK (state = 'void' OR (state = 'open') = (granted IS NULL))
) STRICT;
CREATE INDEX permissions_waiting ON permissions (run_id) WHERE state IN ('open', 'decided');

CREATE TRIGGER permissions_decided_once BEFORE UPDATE ON permissions
WHEN OLD.granted IS NOT NULL AND (
    NEW.granted IS NOT OLD.granted OR NEW.decided_by IS NOT OLD.decided_by OR NEW.decided_at IS NOT OLD.decided_at)
BEGIN
    SELECT RAISE(ABORT, 'a permission is decided once');
END;
CREATE TRIGGER permissions_bound BEFORE UPDATE OF run_id, request_id, tool, input, digest ON permissions
BEGIN
    SELECT RAISE(ABORT, 'what was asked never changes');
END;

CREATE TABLE commands (
    run_id INTEGER NOT NULL REFERENCES agent_runs,
    cmd INTEGER NOT NULL,
    op TEXT NOT NULL,
    frame TEXT NOT NULL,
    created_at REAL NOT NULL,
    iteration INTEGER,
    carried_to INTEGER REFERENCES agent_runs,
    PRIMARY KEY (run_id, cmd)
) STRICT, WITHOUT ROWID;
CREATE INDEX commands_unread ON commands (run_id) WHERE op = 'message' AND iteration IS NULL AND carried_to IS NULL;

CREATE TABLE ledger (
    run_id INTEGER NOT NULL REFERENCES agent_runs,
    iteration INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    model TEXT NOT NULL,
    agent TEXT NOT NULL,
    lineage INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cost_usd REAL,
    at REAL NOT NULL,
    PRIMARY KEY (run_id, iteration, attempt, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    agent TEXT NOT NULL,
    task_key TEXT NOT NULL,
    adapter TEXT NOT NULL,
    session TEXT NOT NULL,
    updated_at REAL NOT NULL,
    PRIMARY KEY (agent, task_key, adapter)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('user', 'admin')),
    created_at REAL NOT NULL,
    expires_at REAL,
    revoked_at REAL
) STRICT;
"""

STEPS: tuple[str, ...] = (FIRST,)
"""Step *n* (from 1) leads to version *n*."""
