"""The SQLite file of one collection: made, opened, upgraded, written in whole transactions, and still in its place.

Write-ahead log with `synchronous=FULL`: each commit waits until the disk has it (with the rollback journal and FULL,
a power cut may undo the last commit: https://sqlite.org/pragma.html#pragma_synchronous). What was written is
acknowledged only when the file that holds it still is the one at the collection's path.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.feedback import store_errors, use_lock
from tuner_tui.feedback.integrity import (
    EMPTY_FILE,
    annotations_in,
    connect,
    copy_path,
    missing_columns,
    require_structure,
)
from tuner_tui.feedback.records import (
    CollectionSettings,
)
from tuner_tui.feedback.schema import APPLICATION_ID, MIGRATIONS, VERSION
from tuner_tui.feedback.store_errors import (
    DamagedStore,
    MovedStore,
    exists_already,
    explain,
)
from tuner_tui.feedback.store_rows import (
    statements,
)
from tuner_tui.files import (
    barred,
    make_empty,
    make_folder,
    new_mode,
    path_problem,
    share_with_group,
    sync_folder,
)
from tuner_tui.text import plain, shell_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Identity(NamedTuple):
    """Which file is at a path: device and inode of it and of its write-ahead log, where there is one."""

    file: tuple[int, int] | None
    log: tuple[int, int] | None

    def is_same(self, now: Identity) -> bool:
        """Whether what is written here goes into the file, and the log, that are there now."""
        return self.file == now.file and (self.log is None or self.log == now.log)


class CollectionFile:
    """An open file of a collection, with its settings. Thread-safe; each call is one transaction."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._turn = threading.RLock()
        self._in_use: use_lock.UseLock | None = None
        self._identity: Identity | None = None
        self._log = log_path(path)

    @classmethod
    def create(cls, path: Path, settings: CollectionSettings) -> Self:
        """Create an empty collection. Raises InputError when it exists.

        Raises TunerError while another window still has a deleted one of that name open.
        """
        try:
            make_folder(path.parent)
            with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
                making = Path(scratch) / path.name
                make_empty(making)
                store = cls(making, connect(making))
                with contextlib.closing(store), store.explaining("made"):
                    store._migrate()
                    store.change_settings(settings)
                share_with_group(making, path.parent)
                making.chmod(new_mode(path.parent))
                with _alone_to_create(path):
                    _set_logs_aside(path)
                    os.link(making, path)
                sync_folder(path.parent)
        except FileExistsError:
            raise exists_already(path) from None
        except OSError as error:
            raise TunerError(
                "The collection cannot be created",
                f"{path_problem(error, path)}.",
                "Check the permissions of the folder, and that it is on a local disk.",
            ) from error
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a collection and upgrade it to this version.

        Raises NotFoundError, DamagedStore for a broken file, InputError for one of a newer version or another
        program, and TunerError while another process locks, deletes or restores it.
        """
        _require_file(path)
        in_use = use_lock.share(path)
        try:
            store = cls._connect(path)
        except BaseException:
            in_use.release()
            raise
        store._in_use = in_use
        return store

    @classmethod
    def _connect(cls, path: Path) -> Self:
        before = identity_of(path)
        is_empty = path.stat().st_size == 0
        if is_empty and (_has_log(path) or annotations_in(copy_path(path)) is not None):
            raise explain(sqlite3.DatabaseError(EMPTY_FILE), path, "opened")
        try:
            connection = connect(path, timeout=store_errors.PATIENCE_SECONDS, check_same_thread=False)
        except sqlite3.Error as error:
            raise explain(error, path, "opened") from error
        store = cls(path, connection)
        try:
            with store.explaining("opened"):
                if not is_empty:  # an empty one was made by an earlier version that was killed at once
                    store._check()
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA foreign_keys=ON")
                store._migrate()
                if missing := missing_columns(connection):
                    raise sqlite3.DatabaseError(f"missing: {', '.join(missing)}")
            store._identity = identity_of(path)
            if store._identity.file != before.file:
                raise store._moved()
        except BaseException:
            connection.close()
            raise
        return store

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._connection.close()
            if self._in_use is not None:
                self._in_use.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def require_in_place(self) -> None:
        """Raises MovedStore when another file, or none, is at the collection's path now."""
        identity = self._identity
        if identity is not None and not identity.is_same(identity_of(self.path, self._log)):
            raise self._moved()

    def _moved(self) -> MovedStore:
        return MovedStore(
            "The collection was moved or deleted",
            f"{self.path}: another program replaced or removed the file while it was open here. "
            "The last change was not saved.",
            "Leave this screen and open the collection again; see: tuner-tui feedback list",
        )

    def _check(self) -> None:
        require_structure(self._connection)
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION and application == APPLICATION_ID:
            raise InputError(
                "The collection is from a newer tuner-tui",
                f"{self.path} has version {version}, and this program reads versions up to {VERSION}.",
                "Upgrade tuner-tui; nothing was changed.",
            )
        if application != APPLICATION_ID:
            raise InputError(
                "Not a feedback collection", f"{self.path} is another program's SQLite file.", "Move it away."
            )

    def _migrate(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == VERSION:
            return
        with self.writing() as connection:
            (version,) = connection.execute(
                "PRAGMA user_version"
            ).fetchone()  # another app may have been quicker
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                for statement in statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={number}")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")

    # -- settings -------------------------------------------------------------------------------------------------

    def settings(self) -> CollectionSettings:
        """The collection's settings."""
        rows = self.rows("SELECT value FROM setting WHERE name = 'collection'")
        if not rows:
            return CollectionSettings()
        try:
            return msgspec.json.decode(rows[0][0], type=CollectionSettings)
        except (ValueError, TypeError, RecursionError) as error:
            raise DamagedStore(
                "The collection's settings cannot be read",
                f"{self.path}: {plain(str(error))}.",
                "Its annotations can be exported: "
                + shell_command(
                    "feedback export", self.path.stem, options=("--as", "pairs", "--out", "FILE")
                ),
            ) from None

    def change_settings(self, settings: CollectionSettings) -> None:
        """Save new settings."""
        with self.writing() as connection:
            connection.execute(
                "INSERT INTO setting VALUES ('collection', ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
                (msgspec.json.encode(settings).decode(),),
            )

    # -- transactions -----------------------------------------------------------------------------------------------

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._turn, self.explaining("read"):
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.OperationalError as error:
                if "decode to UTF-8" not in str(error):
                    raise
            self._connection.text_factory = _text_or_bytes
            try:
                return self._connection.execute(query, values).fetchall()
            finally:
                self._connection.text_factory = str

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Several reads in one snapshot."""
        with self._turn:
            if self._connection.in_transaction:
                yield
                return
            with self.explaining("read"):
                self._connection.execute("BEGIN")
            try:
                yield
            finally:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that takes the write lock at once; committed, synced and in place when the block succeeds."""
        with self._turn, self.explaining("written"):
            self.require_in_place()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
            self.require_in_place()

    @contextlib.contextmanager
    def explaining(self, done: str) -> Iterator[None]:
        """Turn SQLite's errors into TunerError."""
        try:
            yield
        except sqlite3.Error as error:
            raise explain(error, self.path, done) from error


def _alone_to_create(path: Path) -> use_lock.UseLock:
    """The lock for creating a collection: a window may still write to the log of a moved one."""
    if os.path.lexists(path):
        raise exists_already(path)
    try:
        return use_lock.take_alone(path)
    except TunerError:
        if os.path.lexists(path):  # another window was quicker
            raise exists_already(path) from None
        raise


def _set_logs_aside(path: Path) -> None:
    """Logs without their collection must not be replayed into a new one; they are kept under another name."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for end in ("-wal", "-shm"):
        log = path.with_name(path.name + end)
        if os.path.lexists(log):
            log.rename(path.with_name(f"{path.name}.left-{stamp}{end}"))


def identity_of(path: Path, log: Path | None = None) -> Identity:
    """Which file, with which log, is at a path now; `log` is the log's path, if known."""
    return Identity(_inode(path), _inode(log or log_path(path)))


def log_path(path: Path) -> Path:
    """The path of a collection's write-ahead log: beside the file itself, not beside a link to it."""
    return Path(os.path.realpath(path) + "-wal")


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _require_file(path: Path) -> None:
    """Raises NotFoundError when nothing is there, InputError for anything but a file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise NotFoundError("No such collection", path.stem, "See: tuner-tui feedback list") from None
    except OSError as error:
        raise TunerError(
            "The collection cannot be opened",
            f"{path_problem(error, path)}.",
            "Check the permissions.",
        ) from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        kind = kinds.get(stat.S_IFMT(mode), "device")
        raise InputError("Not a feedback collection", f"{path} is a {kind}, not a file.", "Move it away.")
    if not os.access(path, os.R_OK | os.W_OK):
        raise TunerError(
            "The collection cannot be opened",
            f"{barred(path) or f'{path}: there is no permission to read and write it'}.",
            f"Its owner can allow it: chmod {'u' if path.stat().st_uid == os.getuid() else 'g'}+rw "
            f"{shlex.quote(str(path))}",
        )


def _has_log(path: Path) -> bool:
    """Whether the log of a collection has changes: SQLite discards them when the file itself is empty."""
    try:
        return log_path(path).stat().st_size > 0
    except OSError:
        return False


def _text_or_bytes(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content
