"""One collection in one SQLite file: what is acknowledged is on disk, and entries are append-only.

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
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import msgspec

from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.feedback import use_lock
from tuner_tui.feedback.integrity import (
    ANNOTATION_COUNT,
    EMPTY_FILE,
    annotations_in,
    complete,
    connect,
    copy_path,
    missing_columns,
    require_structure,
    rows_lost,
)
from tuner_tui.feedback.records import (
    Annotation,
    AnnotatorKind,
    Answer,
    CollectionSettings,
    Contents,
    Entry,
    Item,
    NewAnswer,
    Proposal,
    RowProblem,
)
from tuner_tui.feedback.schema import APPLICATION_ID, MIGRATIONS, VERSION
from tuner_tui.feedback.store_rows import (
    ANSWERS,
    ENTRIES,
    NewItem,
    UnreadableRow,
    answer_of,
    checked,
    entry_of,
    insert_answers,
    insert_entry,
    insert_imported,
    insert_item,
    item_of,
    statements,
    with_written,
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
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tuner_tui.generation.messages import Turn

PATIENCE_SECONDS = 5.0
"""How long to wait for a locked store."""
UNLIKE_SUFFIX = ".unlike-copy"
T = TypeVar("T")


class Identity(NamedTuple):
    """Which file is at a path: device and inode of it and of its write-ahead log, where there is one."""

    file: tuple[int, int] | None
    log: tuple[int, int] | None

    def is_same(self, now: Identity) -> bool:
        """Whether what is written here goes into the file, and the log, that are there now."""
        return self.file == now.file and (self.log is None or self.log == now.log)


class Added(NamedTuple):
    """Rows added to a collection since the last read."""

    items: list[int]
    answers: list[tuple[int, int, str]]
    """Id, item and kind of maker."""
    entries: list[Entry]
    last: tuple[int, ...]
    """The greatest ids of items, answers and entries."""


class DamagedStore(TunerError):
    """The file is damaged; its last good copy may be restored."""


class UnlikeCopy(TunerError):
    """The collection lacks rows of its last good copy, which therefore is not replaced."""


class UnreadableItem(TunerError):
    """One item cannot be read; the others can."""


class MovedStore(TunerError):
    """The open file is not the one at the collection's path any more."""


class Store:
    """An open collection. Thread-safe; each call is one transaction."""

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
                with contextlib.closing(store), store._explaining("made"):
                    store._migrate()
                    store.change_settings(settings)
                share_with_group(making, path.parent)
                making.chmod(new_mode(path.parent))
                with _alone_to_create(path):
                    _set_logs_aside(path)
                    os.link(making, path)
                sync_folder(path.parent)
        except FileExistsError:
            raise _exists(path) from None
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
            connection = connect(path, timeout=PATIENCE_SECONDS, check_same_thread=False)
        except sqlite3.Error as error:
            raise explain(error, path, "opened") from error
        store = cls(path, connection)
        try:
            with store._explaining("opened"):
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
        with self._writing() as connection:
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
        rows = self._all("SELECT value FROM setting WHERE name = 'collection'")
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
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO setting VALUES ('collection', ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
                (msgspec.json.encode(settings).decode(),),
            )

    # -- items and answers ----------------------------------------------------------------------------------------

    def add_item(self, prompt: Sequence[Turn], origin: str, answers: Iterable[NewAnswer] = ()) -> int:
        """Add a prompt, with answers if there are any; returns the item's id."""
        (item,) = self.add_items([(prompt, origin, tuple(answers))])
        return item

    def add_items(self, rows: Iterable[tuple[Sequence[Turn], str, Sequence[NewAnswer]]]) -> list[int]:
        """Add several in one transaction: all or none."""
        ids = []
        with self._writing() as connection:
            for prompt, origin, answers in rows:
                ids.append(insert_item(connection, prompt, origin))
                insert_answers(connection, ids[-1], answers)
        return ids

    def add_imported(self, items: Iterable[NewItem]) -> list[int]:
        """Add items with what was said of them, and more about items that exist: all or none; gives the items' ids."""
        with self._writing() as connection:
            return [insert_imported(connection, item) for item in items]

    def add_answers(
        self, item: int, answers: Sequence[NewAnswer], only_if_fewer_than: int | None = None
    ) -> list[int]:
        """Add answers to an item; with a bound, only while it has fewer (another app may have been quicker)."""
        with self._writing() as connection:
            if only_if_fewer_than is not None:
                (has,) = connection.execute("SELECT count(*) FROM answer WHERE item = ?", (item,)).fetchone()
                if has >= only_if_fewer_than:
                    return []
            return insert_answers(connection, item, answers)

    def contents(self) -> Contents:
        """A consistent snapshot, with the rows that cannot be read."""
        with self._reading():
            items = self._all("SELECT id, prompt, origin FROM item ORDER BY id")
            answers = self._all(ANSWERS + " ORDER BY id")
            entries = self._all(ENTRIES + " ORDER BY id")
        return contents_of(items, answers, entries)

    def items(self) -> list[Item]:
        """All readable items, in the order in which they were added."""
        return list(self.contents().items)

    def item(self, number: int) -> Item:
        """One item with its answers. Raises UnreadableItem."""
        with self._reading():
            items = self._all("SELECT id, prompt, origin FROM item WHERE id = ?", (number,))
            answers = self._all(ANSWERS + " WHERE item = ? ORDER BY id", (number,))
        contents = contents_of(items, answers, [])
        if not contents.items:
            reason = "; ".join(map(str, contents.problems)) or f"item {number} is missing"
            raise UnreadableItem(
                "An item cannot be read",
                f"{self.path}: {reason}.",
                f"See: {shell_command('feedback check', self.path.stem)}",
            )
        return contents.items[0]

    def answer_counts(self) -> dict[int, int]:
        """How many readable answers from models or files each item has, in the items' order."""
        contents = self.contents()
        return {item.id: len(item.model_answers) for item in contents.items}

    def added_since(self, item: int, answer: int, entry: int) -> Added:
        """The readable rows with greater ids, as one snapshot."""
        with self._reading():
            items = self._all("SELECT id, prompt, origin FROM item WHERE id > ? ORDER BY id", (item,))
            answers = self._all(ANSWERS + " WHERE id > ? ORDER BY id", (answer,))
            entries = self._all(ENTRIES + " WHERE id > ? ORDER BY id", (entry,))
        return Added(
            items=[row[0] for row in items if _readable(item_of, row) is not None],
            answers=[
                (read.id, read.item, read.maker.kind)
                for read in (_readable(answer_of, row) for row in answers)
                if read is not None
            ],
            entries=[entry_of(row) for row in entries],
            last=tuple(
                rows[-1][0] if rows else before
                for rows, before in ((items, item), (answers, answer), (entries, entry))
            ),
        )

    def prompts(self) -> set[tuple[Turn, ...]]:
        """All prompts, to recognise new ones."""
        return {item.prompt for item in self.items()}

    # -- entries --------------------------------------------------------------------------------------------------

    def annotate(
        self,
        item: int,
        annotation: Annotation,
        annotator: str,
        annotator_kind: AnnotatorKind = "person",
        *,
        note: str | None = None,
        written: NewAnswer | None = None,
        at: float | None = None,
    ) -> int:
        """Save an annotation, with the answer that the annotator wrote, if any. It is on disk when this returns."""
        with self._writing() as connection:
            if written is not None:
                (number,) = insert_answers(connection, item, [written])
                annotation = with_written(annotation, number)
            return insert_entry(
                connection, item, annotator, annotator_kind, annotation=annotation, note=note, at=at
            )

    def propose(self, item: int, proposal: Proposal) -> int:
        """Save a judge model's proposal; it does not count as an annotation."""
        with self._writing() as connection:
            return insert_entry(connection, item, proposal.judge, "ai", proposal=proposal)

    def note(self, item: int, text: str, annotator: str) -> int:
        """Save a note about an item."""
        with self._writing() as connection:
            return insert_entry(connection, item, annotator, "person", note=text)

    def undo(self, annotator: str) -> Entry | None:
        """Undo the annotator's last active annotation or note, by adding an entry; None when there is none."""
        with self._writing() as connection:
            row = connection.execute(
                "SELECT id FROM entry AS e WHERE rater = ? AND rater_kind = 'person' AND undoes IS NULL"
                " AND NOT EXISTS (SELECT 1 FROM entry WHERE undoes = e.id) ORDER BY id DESC LIMIT 1",
                (annotator,),
            ).fetchone()
            if row is None:
                return None
            (undone_row,) = self._all(ENTRIES + " WHERE id = ?", row)
            undone = entry_of(undone_row)
            insert_entry(connection, undone.item, annotator, "person", undoes=undone.id)
        return undone

    def entries(self) -> list[Entry]:
        """All entries in order, including undone ones and those that undo them."""
        return list(self.contents().entries)

    def active_entries(self) -> list[Entry]:
        """Entries that were not undone."""
        return self.contents().active_entries

    def annotation_count(self) -> int:
        """The number of active annotations on disk, without skipped and flagged items."""
        ((count,),) = self._all(ANNOTATION_COUNT)
        return int(count)

    # -- copies ---------------------------------------------------------------------------------------------------

    def copy_to(self, target: Path) -> None:
        """Replace the older copy by a new one, once that is verified as complete and has all rows of the older one.

        Raises DamagedStore for a damaged collection and UnlikeCopy for one that lacks rows of the older copy, which
        then stays as it is; TunerError when the copy cannot be written.
        """
        try:
            with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
                making = Path(scratch) / target.name
                lost = self._copy_compared(making, target)
                share_with_group(making, target.parent)
                making.chmod(new_mode(target.parent))
                if lost:
                    making.replace(target.with_name(f"{self.path.name}{UNLIKE_SUFFIX}"))
                    raise self._unlike(target, lost)
                making.replace(target)
                sync_folder(target.parent)
        except OSError as error:
            raise TunerError("The copy cannot be written", f"{path_problem(error, target)}.") from error

    def _copy_compared(self, making: Path, older: Path) -> int:
        """Make a copy; returns how many rows of an older, complete one it lacks. Raises DamagedStore, MovedStore."""
        with self._explaining("copied"):
            self.require_in_place()
            with (
                contextlib.closing(connect(self.path, timeout=PATIENCE_SECONDS)) as reader,
                contextlib.closing(sqlite3.connect(making)) as copy,
            ):
                reader.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
            self.require_in_place()
            with complete(making) as copy:
                return rows_lost(copy, older) if annotations_in(older) is not None else 0

    def _unlike(self, target: Path, lost: int) -> UnlikeCopy:
        name = self.path.stem
        return UnlikeCopy(
            "The collection lacks rows of its last good copy",
            f"{self.path}: {lost} rows of {target.name} are missing or different in it. That copy is kept; the "
            f"current collection is copied to {self.path.name}{UNLIKE_SUFFIX}.",
            f"Restore the good copy: {shell_command('feedback restore', name)}. If the collection is correct as it is, "
            f"move {target.name} away.",
        )

    # -- plumbing -------------------------------------------------------------------------------------------------

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._turn, self._explaining("read"):
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
    def _reading(self) -> Iterator[None]:
        """Several reads in one snapshot."""
        with self._turn:
            if self._connection.in_transaction:
                yield
                return
            with self._explaining("read"):
                self._connection.execute("BEGIN")
            try:
                yield
            finally:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that takes the write lock at once; committed, synced and in place when the block succeeds."""
        with self._turn, self._explaining("written"):
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
    def _explaining(self, done: str) -> Iterator[None]:
        """Turn SQLite's errors into TunerError."""
        try:
            yield
        except sqlite3.Error as error:
            raise explain(error, self.path, done) from error


def _exists(path: Path) -> InputError:
    return InputError("The collection exists already", path.stem, "Choose another name.")


def _alone_to_create(path: Path) -> use_lock.UseLock:
    """The lock for creating a collection: a window may still write to the log of a moved one."""
    if os.path.lexists(path):
        raise _exists(path)
    try:
        return use_lock.take_alone(path)
    except TunerError:
        if os.path.lexists(path):  # another window was quicker
            raise _exists(path) from None
        raise


def _set_logs_aside(path: Path) -> None:
    """Logs without their collection must not be replayed into a new one; they are kept under another name."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for end in ("-wal", "-shm"):
        log = path.with_name(path.name + end)
        if os.path.lexists(log):
            log.rename(path.with_name(f"{path.name}.left-{stamp}{end}"))


def contents_of(
    items: Sequence[tuple[Any, ...]], answers: Sequence[tuple[Any, ...]], entries: Sequence[tuple[Any, ...]]
) -> Contents:
    """Rows as records, and the problems of unreadable ones."""
    problems: list[RowProblem] = []
    answers_of: dict[int, list[Answer]] = {}
    for row in answers:
        try:
            answer = answer_of(row)
        except UnreadableRow as error:
            problems.append(RowProblem(table="answer", id=row[0], problem=str(error)))
        else:
            answers_of.setdefault(answer.item, []).append(answer)
    read_items: list[Item] = []
    for row in items:
        try:
            item = item_of(row)
        except UnreadableRow as error:
            problems.append(RowProblem(table="item", id=row[0], problem=str(error)))
        else:
            own = tuple(answers_of.get(item.id, ()))
            read_items.append(msgspec.structs.replace(item, answers=own))
    ids = {item.id: {answer.id for answer in item.answers} for item in read_items}
    read_entries = tuple(checked(entry, ids.get(entry.item)) for entry in map(entry_of, entries))
    problems += [
        RowProblem(table="entry", id=entry.id, problem=entry.problem)
        for entry in read_entries
        if entry.problem
    ]
    return Contents(items=tuple(read_items), entries=read_entries, problems=tuple(problems))


def _readable(read: Callable[[tuple[Any, ...]], T], row: tuple[Any, ...]) -> T | None:
    try:
        return read(row)
    except UnreadableRow:
        return None


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
