"""The tables of a collection, as migrations: each upgrades a store by one version."""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE item (
        id INTEGER PRIMARY KEY,
        prompt TEXT NOT NULL,
        origin TEXT NOT NULL,
        added REAL NOT NULL
    );
    CREATE TABLE answer (
        id INTEGER PRIMARY KEY,
        item INTEGER NOT NULL REFERENCES item(id),
        text TEXT NOT NULL,
        is_finished INTEGER,
        maker TEXT NOT NULL,
        added REAL NOT NULL
    );
    CREATE INDEX answer_item ON answer(item);
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        item INTEGER NOT NULL REFERENCES item(id),
        at REAL NOT NULL,
        rater TEXT NOT NULL,
        rater_kind TEXT NOT NULL CHECK (rater_kind IN ('person', 'ai', 'import')),
        judgement TEXT,
        note TEXT,
        undoes INTEGER UNIQUE REFERENCES entry(id)
    );
    CREATE INDEX entry_item ON entry(item);
    CREATE TRIGGER entry_stays BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
    CREATE TRIGGER entry_kept BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END;
    CREATE TRIGGER answer_stays BEFORE UPDATE ON answer BEGIN SELECT RAISE(ABORT, 'answers are never changed'); END;
    CREATE TRIGGER answer_kept BEFORE DELETE ON answer BEGIN SELECT RAISE(ABORT, 'answers are never deleted'); END;
    """,
    """
    ALTER TABLE entry ADD COLUMN proposal TEXT;
    """,
)
"""Version 2 added proposals of judge models."""

VERSION = len(MIGRATIONS)
APPLICATION_ID = 0x74756E65
"""Distinguishes a collection from other SQLite files ("tune")."""
COLUMNS: dict[str, tuple[str, ...]] = {
    "setting": ("name", "value"),
    "item": ("id", "prompt", "origin", "added"),
    "answer": ("id", "item", "text", "is_finished", "maker", "added"),
    "entry": ("id", "item", "at", "rater", "rater_kind", "judgement", "note", "undoes", "proposal"),
}
"""The tables and columns of this version."""
