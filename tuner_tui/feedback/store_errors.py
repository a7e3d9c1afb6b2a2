"""What can be wrong with a collection, in plain words with what to do: SQLite's errors and ours."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from tuner_tui.errors import InputError, TunerError
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_SECONDS = 5.0
"""How long to wait for a locked store."""


class DamagedStore(TunerError):
    """The file is damaged; its last good copy may be restored."""


class UnlikeCopy(TunerError):
    """The collection lacks rows of its last good copy, which therefore is not replaced."""


class UnreadableItem(TunerError):
    """One item cannot be read; the others can."""


class MovedStore(TunerError):
    """The open file is not the one at the collection's path any more."""


def exists_already(path: Path) -> InputError:
    """The error for a name that is taken."""
    return InputError("The collection exists already", path.stem, "Choose another name.")


def explain(error: sqlite3.Error, path: Path, done: str) -> TunerError:
    """An SQLite error in plain words, with what to do."""
    text = str(error)
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return TunerError(
            "The collection is locked",
            f"{path}: another program has locked it for more than {PATIENCE_SECONDS:.0f} s.",
            "Close the other program (such as a database browser or a running copy) and try again. Nothing was saved.",
        )
    if code.startswith("SQLITE_FULL") or "disk I/O error" in text:
        return TunerError(
            "The disk is full" if code.startswith("SQLITE_FULL") else "The disk cannot be written",
            f"{path}: {text}. The last annotation was not saved; all that were shown as saved are on disk.",
            "Free space on that disk, then annotate again.",
        )
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return TunerError(
            "The collection cannot be written",
            f"{path}: {text}.",
            "Check the permissions of the file and its folder.",
        )
    if (
        isinstance(error, sqlite3.DatabaseError)
        and not isinstance(
            error,
            (
                sqlite3.IntegrityError,
                sqlite3.ProgrammingError,
                sqlite3.InterfaceError,
                sqlite3.NotSupportedError,
            ),
        )
        and (
            not code
            or code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
            or text.startswith(("no such table", "no such column"))
        )
    ):
        return DamagedStore(
            "The collection is damaged",
            f"{path}: {text}.",
            f"Restore its last good copy: {shell_command('feedback restore', path.stem)}. The damaged file is kept.",
        )
    return TunerError(f"The collection cannot be {done}", f"{path}: {text}.")
