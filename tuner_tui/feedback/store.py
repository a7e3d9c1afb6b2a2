"""One collection in one SQLite file: what is acknowledged is on disk, and entries are only ever added.

Write-ahead log with `synchronous=FULL`: each commit waits until the disk has it (with the rollback journal and FULL,
a power cut may undo the last commit: https://sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.feedback.records import (
    Answer,
    CollectionSettings,
    Entry,
    Item,
    Judgement,
    NewAnswer,
    Proposal,
    RaterKind,
)
from tuner_tui.feedback.schema import APPLICATION_ID, MIGRATIONS, VERSION
from tuner_tui.feedback.store_rows import (
    ANSWERS,
    ENTRIES,
    answer_of,
    entry_of,
    insert_answers,
    insert_entry,
    insert_item,
    statements,
    with_written,
)
from tuner_tui.files import make_empty, make_folder, new_mode
from tuner_tui.generation.messages import Turn
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

PATIENCE_SECONDS = 5.0
"""How long a locked store is waited for."""
T = TypeVar("T")


class DamagedStore(TunerError):
    """The file is no whole collection any more; its last good copy may be put back."""


class Store:
    """A collection that is open. May be used from several threads; each call is one transaction."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._turn = threading.RLock()

    @classmethod
    def create(cls, path: Path, settings: CollectionSettings) -> Self:
        """Make an empty collection. Raises InputError when there is one already."""
        if path.exists():
            raise InputError("There is such a collection already", path.stem, "Take another name.")
        make_folder(path.parent)
        make_empty(path)  # for the mode
        store = cls._connect(path, is_new=True)
        store.change_settings(settings)
        return store

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a collection and bring it to this version.

        Raises NotFoundError, DamagedStore for a broken file, InputError for one of a newer version or of something
        else, and TunerError when another process has it locked.
        """
        if not path.is_file():
            raise NotFoundError("No such collection", path.stem, "See: tuner-tui feedback list")
        return cls._connect(path, is_new=path.stat().st_size == 0)  # empty: its maker was killed at once

    @classmethod
    def _connect(cls, path: Path, *, is_new: bool) -> Self:
        connection = sqlite3.connect(
            path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
        )
        store = cls(path, connection)
        try:
            with store._explaining("opened"):
                if not is_new:
                    store._check()
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA foreign_keys=ON")
                store._migrate()
        except BaseException:
            connection.close()
            raise
        return store

    def close(self) -> None:
        """Let go of the file."""
        with self._turn:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self) -> None:
        row = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if row[0] != "ok":
            raise sqlite3.DatabaseError(row[0])
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION and application == APPLICATION_ID:
            raise InputError(
                "The collection is from a newer tuner-tui",
                f"{self.path} has version {version}, and this program knows versions up to {VERSION}.",
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
        """How the collection is worked on."""
        rows = self._all("SELECT value FROM setting WHERE name = 'collection'")
        if not rows:
            return CollectionSettings()
        try:
            return msgspec.json.decode(rows[0][0], type=CollectionSettings)
        except ValueError as error:
            raise DamagedStore("The collection's settings cannot be read", f"{self.path}: {error}.") from None

    def change_settings(self, settings: CollectionSettings) -> None:
        """Keep other settings."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO setting VALUES ('collection', ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
                (msgspec.json.encode(settings).decode(),),
            )

    # -- items and answers ----------------------------------------------------------------------------------------

    def add_item(self, prompt: Sequence[Turn], origin: str, answers: Iterable[NewAnswer] = ()) -> int:
        """Keep a prompt, with answers if there are any; gives the item's id."""
        (item,) = self.add_items([(prompt, origin, tuple(answers))])
        return item

    def add_items(self, rows: Iterable[tuple[Sequence[Turn], str, Sequence[NewAnswer]]]) -> list[int]:
        """Keep many in one transaction: all or none."""
        found = []
        with self._writing() as connection:
            for prompt, origin, answers in rows:
                found.append(insert_item(connection, prompt, origin))
                insert_answers(connection, found[-1], answers)
        return found

    def add_judged(
        self,
        rows: Iterable[
            tuple[Sequence[Turn], str, Sequence[NewAnswer], Callable[[Sequence[int]], Judgement | None]]
        ],
        rater: str,
        rater_kind: RaterKind,
    ) -> list[int]:
        """Keep prompts with answers and, where a function of the answers' ids gives one, a judgement: all or none."""
        found = []
        with self._writing() as connection:
            for prompt, origin, answers, judge in rows:
                found.append(insert_item(connection, prompt, origin))
                judgement = judge(insert_answers(connection, found[-1], answers))
                if judgement is not None:
                    insert_entry(connection, found[-1], rater, rater_kind, judgement=judgement)
        return found

    def add_answers(
        self, item: int, answers: Sequence[NewAnswer], only_if_fewer_than: int | None = None
    ) -> list[int]:
        """Keep answers of an item; with a bound, only while it has fewer (another app may have been quicker)."""
        with self._writing() as connection:
            if only_if_fewer_than is not None:
                (has,) = connection.execute("SELECT count(*) FROM answer WHERE item = ?", (item,)).fetchone()
                if has >= only_if_fewer_than:
                    return []
            return insert_answers(connection, item, answers)

    def items(self, ids: Sequence[int] | None = None) -> list[Item]:
        """All items, or those of some ids, in the order in which they came."""
        rows = self._all("SELECT id, prompt, origin FROM item ORDER BY id")
        wanted = None if ids is None else set(ids)
        answers: dict[int, list[Answer]] = {}
        if ids is not None and len(ids) == 1:
            found = self._all(ANSWERS + " WHERE item = ? ORDER BY id", (ids[0],))
        else:
            found = self._all(ANSWERS + " ORDER BY id")
        for row in found:
            answers.setdefault(row[1], []).append(answer_of(row))
        return [
            Item(
                id=number,
                prompt=msgspec.json.decode(prompt, type=tuple[Turn, ...]),
                origin=origin,
                answers=tuple(answers.get(number, ())),
            )
            for number, prompt, origin in rows
            if wanted is None or number in wanted
        ]

    def item(self, number: int) -> Item:
        """One item with its answers."""
        rows = self._all("SELECT id, prompt, origin FROM item WHERE id = ?", (number,))
        answers = self._all(ANSWERS + " WHERE item = ? ORDER BY id", (number,))
        _, prompt, origin = rows[0]
        return Item(
            id=number,
            prompt=msgspec.json.decode(prompt, type=tuple[Turn, ...]),
            origin=origin,
            answers=tuple(map(answer_of, answers)),
        )

    def answer_counts(self) -> dict[int, int]:
        """How many answers from models or files each item has, in the items' order."""
        rows = self._all(
            "SELECT item.id, count(answer.id) FROM item LEFT JOIN answer ON answer.item = item.id"
            " AND json_extract(answer.maker, '$.kind') <> 'person' GROUP BY item.id ORDER BY item.id"
        )
        return dict(rows)

    def prompts(self) -> set[tuple[Turn, ...]]:
        """All prompts there are, to tell what is new."""
        return {
            msgspec.json.decode(row[0], type=tuple[Turn, ...]) for row in self._all("SELECT prompt FROM item")
        }

    # -- entries --------------------------------------------------------------------------------------------------

    def judge(
        self,
        item: int,
        judgement: Judgement,
        rater: str,
        rater_kind: RaterKind = "person",
        *,
        note: str | None = None,
        written: NewAnswer | None = None,
        at: float | None = None,
    ) -> int:
        """Keep a judgement, with the answer that the rater wrote if there is one. When this returns it is on disk."""
        with self._writing() as connection:
            if written is not None:
                (number,) = insert_answers(connection, item, [written])
                judgement = with_written(judgement, number)
            return insert_entry(connection, item, rater, rater_kind, judgement=judgement, note=note, at=at)

    def propose(self, item: int, proposal: Proposal) -> int:
        """Keep what a judge model proposes; it counts as no judgement."""
        with self._writing() as connection:
            return insert_entry(connection, item, proposal.judge, "ai", proposal=proposal)

    def note(self, item: int, text: str, rater: str) -> int:
        """Keep a note about an item."""
        with self._writing() as connection:
            return insert_entry(connection, item, rater, "person", note=text)

    def undo(self, rater: str) -> Entry | None:
        """Take back the rater's last judgement or note that stands, by an entry of its own; None when there is none."""
        with self._writing() as connection:
            row = connection.execute(
                "SELECT id FROM entry AS e WHERE rater = ? AND rater_kind = 'person' AND undoes IS NULL"
                " AND NOT EXISTS (SELECT 1 FROM entry WHERE undoes = e.id) ORDER BY id DESC LIMIT 1",
                (rater,),
            ).fetchone()
            if row is None:
                return None
            undone = entry_of(connection.execute(ENTRIES + " WHERE id = ?", row).fetchone())
            insert_entry(connection, undone.item, rater, "person", undoes=undone.id)
        return undone

    def entries(self) -> list[Entry]:
        """The whole record, undone ones and undoings too, in order."""
        return [entry_of(row) for row in self._all(ENTRIES + " ORDER BY id")]

    def standing(self) -> list[Entry]:
        """Entries that were not taken back."""
        rows = self._all(
            ENTRIES + " WHERE undoes IS NULL AND id NOT IN"
            " (SELECT undoes FROM entry WHERE undoes IS NOT NULL) ORDER BY id"
        )
        return [entry_of(row) for row in rows]

    def kept(self) -> int:
        """How many judgements stand on disk; what was only skipped or flagged counts nothing."""
        rows = self._all(
            "SELECT count(*) FROM entry WHERE judgement IS NOT NULL"
            " AND json_extract(judgement, '$.verdict') NOT IN ('skip', 'flag')"
            " AND id NOT IN (SELECT undoes FROM entry WHERE undoes IS NOT NULL)"
        )
        return int(rows[0][0])

    # -- copies ---------------------------------------------------------------------------------------------------

    def copy_to(self, target: Path) -> None:
        """Write a whole copy, in place of an older one only when it is done. Raises TunerError when it cannot be."""
        try:
            with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
                making = Path(scratch) / target.name
                self._copy_whole(making)
                making.chmod(new_mode(target.parent))
                making.replace(target)
        except OSError as error:
            raise TunerError("The copy cannot be written", f"{target}: {error.strerror}.") from error

    def _copy_whole(self, making: Path) -> None:
        with self._explaining("copied"):
            reader = sqlite3.connect(self.path, timeout=PATIENCE_SECONDS)
            copy = sqlite3.connect(making)
            try:
                reader.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
            finally:
                copy.close()
                reader.close()

    # -- plumbing -------------------------------------------------------------------------------------------------

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._turn, self._explaining("read"):
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that takes the write lock at once; committed, and synced, when the block ends well."""
        with self._turn, self._explaining("written"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _explaining(self, done: str) -> Iterator[None]:
        """SQLite's failures in plain words."""
        try:
            yield
        except sqlite3.Error as error:
            raise explain(error, self.path, done) from error


def explain(error: sqlite3.Error, path: Path, done: str) -> TunerError:
    """What a failure of SQLite means for the person, and what to do."""
    text = str(error)
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return TunerError(
            "The collection is locked",
            f"{path}: another program has held it for more than {PATIENCE_SECONDS:.0f} s.",
            "Close the other program (a database browser, a copy that runs) and try again. Nothing was kept.",
        )
    if code.startswith("SQLITE_FULL") or "disk I/O error" in text:
        return TunerError(
            "The disk is full" if code.startswith("SQLITE_FULL") else "The disk cannot be written",
            f"{path}: {text}. The last judgement was not kept; all that were shown as kept are.",
            "Free space on that disk, then judge again.",
        )
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return TunerError(
            "The collection cannot be written",
            f"{path}: {text}.",
            "Check the rights of the file and its folder.",
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
        and (not code or code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")))
    ):
        return DamagedStore(
            "The collection is damaged",
            f"{path}: {text}.",
            f"Put its last good copy back: {shell_command('feedback restore', path.stem)}",
        )
    return TunerError(f"The collection cannot be {done}", f"{path}: {text}.")
