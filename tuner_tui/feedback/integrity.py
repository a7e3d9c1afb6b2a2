"""Checks whether a file is a complete collection, and whether it has all rows of an older copy."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, get_args

from tuner_tui.feedback.records import SET_ASIDE, Verdict
from tuner_tui.feedback.schema import APPLICATION_ID, COLUMNS, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORD_TABLES = ("item", "answer", "entry")
"""Rows of these are only ever added."""
ROW_VERDICTS = ("CHECK constraint failed", "NULL value in", "NUMERIC value in", "TEXT value in")
EMPTY_FILE = "the file is empty"
COPY_SUFFIX = ".good-copy"
ANNOTATION_COUNT = (
    "SELECT count(*) FROM entry WHERE judgement IS NOT NULL"
    " AND CASE WHEN typeof(judgement) = 'text' AND json_valid(judgement)"
    " THEN json_extract(judgement, '$.verdict') END IN ({})"
    " AND id NOT IN (SELECT undoes FROM entry WHERE undoes IS NOT NULL)"
).format(", ".join(f"'{verdict}'" for verdict in get_args(Verdict) if verdict not in SET_ASIDE))


def copy_path(path: Path) -> Path:
    """Where a collection's last good copy lies."""
    return path.with_name(path.name + COPY_SUFFIX)


def connect(
    path: Path, *, mode: str = "rw", timeout: float = 5.0, check_same_thread: bool = True
) -> sqlite3.Connection:
    """Open an existing database: SQLite would otherwise create an empty one where the file is missing."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=check_same_thread,
    )


def missing_columns(connection: sqlite3.Connection) -> list[str]:
    """Tables and columns that a collection of this version has and this file lacks."""
    missing: list[str] = []
    for table, columns in COLUMNS.items():
        present = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if not present:
            missing.append(f"table {table}")
        else:
            missing += [f"{table}.{column}" for column in columns if column not in present]
    return missing


def require_structure(connection: sqlite3.Connection, pragma: str = "quick_check") -> None:
    """Raises sqlite3.DatabaseError for a corrupt structure; an invalid value only affects its own row."""
    for (verdict,) in connection.execute(f"PRAGMA {pragma}(100)"):
        if verdict != "ok" and not verdict.startswith(ROW_VERDICTS):
            raise sqlite3.DatabaseError(verdict)


def require_complete(connection: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError, naming the fault, unless this is a complete collection of this version."""
    require_structure(connection, "integrity_check")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID or version > VERSION:
        raise sqlite3.DatabaseError("it is not a collection of this version")
    if version == VERSION and (missing := missing_columns(connection)):
        raise sqlite3.DatabaseError(f"missing: {', '.join(missing)}")


def rows_lost(connection: sqlite3.Connection, older: Path) -> int:
    """How many rows of an older copy are missing or different in a newer one. Raises sqlite3.Error."""
    connection.execute("ATTACH ? AS older", (f"{older.absolute().as_uri()}?mode=ro",))
    try:
        lost = 0
        for table in RECORD_TABLES:
            columns = [row[1] for row in connection.execute(f"PRAGMA older.table_info({table})")]
            differs = " OR ".join(f"new.{column} IS NOT old.{column}" for column in columns)
            (count,) = connection.execute(
                f"SELECT count(*) FROM older.{table} AS old LEFT JOIN main.{table} AS new ON new.id = old.id"
                f" WHERE new.id IS NULL OR {differs}"
            ).fetchone()
            lost += count
        return lost
    finally:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("DETACH older")


@contextlib.contextmanager
def complete(path: Path) -> Iterator[sqlite3.Connection]:
    """A complete collection, opened for reading. Raises sqlite3.Error for any other file."""
    connection = connect(path, mode="ro")
    try:
        if path.stat().st_size == 0:
            raise sqlite3.DatabaseError(EMPTY_FILE)
        require_complete(connection)
        yield connection
    except OSError as error:
        raise sqlite3.OperationalError(error.strerror or str(error)) from error
    finally:
        connection.close()


def annotations_in(path: Path) -> int | None:
    """The number of annotations in a complete copy, without skipped and flagged ones; None when it is incomplete."""
    if not path.is_file():
        return None
    try:
        with complete(path) as connection:
            (count,) = connection.execute(ANNOTATION_COUNT).fetchone()
            return int(count)
    except sqlite3.Error:
        return None
