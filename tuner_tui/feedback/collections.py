"""The collections of this data folder: their names, last good copies, and what a list shows of each."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import re
import shutil
import sqlite3
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.config import paths
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.feedback import use_lock
from tuner_tui.feedback.good_copy import UNLIKE_SUFFIX, replace_copy
from tuner_tui.feedback.integrity import (
    ANNOTATION_COUNT,
    COPY_SUFFIX,
    annotations_in,
    connect,
    copy_path,
    require_complete,
    rows_lost,
)
from tuner_tui.feedback.records import CollectionSettings
from tuner_tui.feedback.schema import APPLICATION_ID
from tuner_tui.feedback.store import Store
from tuner_tui.feedback.store_errors import DamagedStore, exists_already
from tuner_tui.files import (
    is_group_shared,
    make_folder,
    new_mode,
    path_problem,
    share_with_group,
    sync_folder,
)
from tuner_tui.guarded import Unreadable, open_regular
from tuner_tui.owned import NotOurs, Owned
from tuner_tui.text import counted, plain, shell_command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner_tui.feedback.records import RowProblem

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", re.ASCII)
SUFFIX = ".sqlite3"
COPY_EVERY_SECONDS = 10.0


class CollectionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One collection in a list."""

    name: str
    mode: str
    items: int
    judged: int
    left: int
    """Items with answers that are not annotated yet."""
    waiting: int
    """Prompts that have no answers yet."""
    changed: float
    """Seconds since 1970."""
    unreadable: int = 0
    """Rows that cannot be read; the others can be worked with."""
    problem: str = ""
    """What is wrong with the collection, in a few words."""
    detail: str = ""
    """Details, and what to do."""

    @property
    def is_usable(self) -> bool:
        """Whether it can be opened."""
        return bool(self.mode)


def feedback_dir() -> Path:
    """The folder of all collections."""
    return paths.data_dir() / "feedback"


def owned() -> Owned:
    """That folder, as one in which tuner-tui may delete."""
    return Owned(feedback_dir(), "feedback", _holds_collections)


def _holds_collections(folder: Path) -> bool:
    """Whether one of the files is a collection, by SQLite's application id in its header."""
    for path in folder.glob(f"[!.]*{SUFFIX}*"):  # also a good copy of one that is damaged
        with contextlib.suppress(OSError, Unreadable), open_regular(path) as file:
            if int.from_bytes(file.read(72)[68:], "big") == APPLICATION_ID:
                return True
    return False


def _require_owned(path: Path) -> None:
    """Raises InputError for a folder that is not ours: SQLite would use a foreign file's log as its own.

    A folder of an earlier version is marked, before any collection in it is open: reading the files of an open one
    would drop its locks.
    """
    if not path.parent.is_dir():
        return
    try:
        owned().require()
    except NotOurs as error:
        raise InputError(
            "Not a collection",
            f"{path}: the folder holds files that tuner-tui did not make.",
            "Name another data folder: tuner-tui config set folders.data",
        ) from error
    except OSError:  # a folder that cannot be written to, and so not marked: opening tells more
        return


def collection_path(name: str) -> Path:
    """A collection's file. Raises InputError for a name that no collection can have."""
    if not _NAME.fullmatch(name):
        raise InputError(
            "Not a collection's name",
            f"{name!r}: expected up to 60 letters, digits, dots, dashes and underscores.",
            "Use a name such as evening-1.",
        )
    return feedback_dir() / f"{name}{SUFFIX}"


def open_collection(name: str) -> Store:
    """Open a collection that exists. Raises like Store.open; the error for a damaged one describes its good copy."""
    path = collection_path(name)
    if os.path.lexists(path):
        _require_owned(path)
    try:
        return Store.open(path)
    except NotFoundError:
        if (error := _of_missing(path)) is not None:
            raise error from None
        raise
    except DamagedStore as error:
        raise DamagedStore(error.title, error.message, damage_hint(path)) from error


def damage_hint(path: Path) -> str:
    """How to fix a damaged collection: the state of its last good copy, and where the damaged file is kept."""
    name, copy = path.stem, copy_path(path)
    annotations = annotations_in(copy)
    if annotations is None:
        what = "is damaged too" if copy.exists() else "does not exist"
        return (
            f"Its last good copy {what}. Nothing was changed; if sqlite3 is installed, its .recover command may "
            f"recover rows from {path}."
        )
    return (
        f"Its last good copy, of {_when(copy)}, has {annotations} annotations. Restore it: "
        f"{shell_command('feedback restore', name)}. The damaged file is kept beside it as {path.name}.damaged-DATE."
    )


def _of_missing(path: Path) -> DamagedStore | None:
    """The error for a collection whose file is missing while its last good copy exists."""
    if os.path.lexists(path) or not copy_path(path).is_file():
        return None
    return DamagedStore("The collection's file is missing", f"{path} does not exist.", damage_hint(path))


def _when(path: Path) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))


def open_or_create(name: str, settings: CollectionSettings | None = None) -> Store:
    """Open a collection, creating it if missing; given settings are saved."""
    path = collection_path(name)
    if not os.path.lexists(path):
        if (missing := _of_missing(path)) is not None:
            raise missing
        try:
            owned().claim()
        except OSError as error:
            raise TunerError(
                "The collection cannot be created",
                f"{path_problem(error, feedback_dir())}.",
                "Free disk space there, or change its permissions.",
            ) from error
        try:
            return Store.create(path, settings or CollectionSettings())
        except InputError:  # another window was quicker
            if not path.exists():
                raise
    store = open_collection(name)
    if settings is not None:
        store.change_settings(settings)
    return store


def collection_files() -> list[Path]:
    """The files of all collections, including those with only a good copy left. Raises TunerError."""
    folder = feedback_dir()
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TunerError(
            "The collections cannot be listed",
            f"{path_problem(error, folder)}.",
            "Check the permissions of that folder.",
        ) from error
    names = {name.removesuffix(COPY_SUFFIX) for name in names if not name.startswith(".")}
    return sorted(folder / name for name in names if name.endswith(SUFFIX))


def list_collections() -> list[CollectionSummary]:
    """All collections, the last changed first; unusable ones are listed with their problem. Raises TunerError."""
    return sorted(map(summarise_file, collection_files()), key=lambda summary: -summary.changed)


def summarise(name: str) -> CollectionSummary:
    """What a list shows of one collection."""
    return summarise_file(collection_path(name))


def summarise_file(path: Path) -> CollectionSummary:
    """What a list shows of one file: its counts, or the problem."""
    name = os.fsencode(path.name).decode("utf-8", "backslashreplace").removesuffix(SUFFIX)
    try:
        with open_collection(path.name.removesuffix(SUFFIX)) as store:
            return _summary(store, name)
    except TunerError as error:
        problem = "its name is not valid for a collection" if not _NAME.fullmatch(path.stem) else error.title
        return CollectionSummary(
            name=plain(name),
            mode="",
            items=0,
            judged=0,
            left=0,
            waiting=0,
            changed=_changed(path),
            problem=problem,
            detail=plain(" ".join(part for part in (error.message, error.hint) if part)),
        )


def _summary(store: Store, name: str) -> CollectionSummary:
    settings, contents = store.settings(), store.contents()
    active_entries = contents.active_entries
    done = {
        entry.item
        for entry in active_entries
        if entry.annotation is not None or entry.is_unreadable_annotation
    }
    counts = [len(item.model_answers) for item in contents.items if item.id not in done]
    needed = needed_answers(settings)
    unreadable = len(contents.problems)
    return CollectionSummary(
        name=name,
        mode=settings.mode,
        items=len(contents.items),
        judged=sum(
            entry.annotation is not None and not entry.annotation.is_set_aside for entry in active_entries
        ),
        left=sum(count >= needed for count in counts),
        waiting=sum(count < needed for count in counts),
        changed=_changed(store.path),
        unreadable=unreadable,
        problem=f"{counted(unreadable, 'row')} cannot be read" if unreadable else "",
        detail=_row_words(contents.problems, name),
    )


def _row_words(problems: Sequence[RowProblem], name: str) -> str:
    if not problems:
        return ""
    return "; ".join(map(str, problems[:3])) + f". See all: {shell_command('feedback check', name)}"


def needed_answers(settings: CollectionSettings) -> int:
    """Answers that an item needs before it can be annotated."""
    return {"pairs": 2, "ranking": 2, "thumbs": 1, "scores": 1, "demonstrations": 0}[settings.mode]


def delete_collection(name: str) -> Path:
    """Move a collection and its copies to the trash of collections; returns their folder there.

    Raises NotFoundError, and TunerError while it is open in another window.
    """
    path = collection_path(name)
    if not os.path.lexists(path) and not copy_path(path).exists():
        raise NotFoundError("No such collection", name, "See: tuner-tui feedback list")
    _require_owned(path)
    if trash_dir().is_symlink():
        raise TunerError(
            "The collection cannot be deleted",
            f"{trash_dir()} is a symlink, and nothing is restored through one.",
            "Replace it by a folder.",
        )
    with use_lock.take_alone(path):
        _write_log_back(path)
        try:
            trash = _new_folder(trash_dir(), name)
            for part in (*_logs(path), path.with_name(path.name + UNLIKE_SUFFIX), copy_path(path), path):
                if os.path.lexists(part):
                    owned().move(part, trash / part.name)
        except OSError as error:
            raise TunerError(
                "The collection cannot be deleted",
                f"{path_problem(error, path)}.",
                "Check the permissions of the folder.",
            ) from error
        sync_folder(trash)
        sync_folder(path.parent)
    return trash


def trash_dir() -> Path:
    """The folder of deleted collections, each in its own subfolder."""
    return feedback_dir() / "trash"


def _new_folder(parent: Path, name: str) -> Path:
    make_folder(parent)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count():
        folder = parent / (f"{name}-{stamp}" + (f"-{number}" if number else ""))
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o777 if is_group_shared(parent) else 0o700)
            share_with_group(folder, parent)
            return folder
    raise AssertionError("unreachable")


def _logs(path: Path) -> tuple[Path, Path]:
    """The write-ahead log of a collection and that log's index."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def _write_log_back(path: Path) -> None:
    """Checkpoint the log into the file if possible, so that one rename moves everything."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connect(path, timeout=1.0)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def annotator_name() -> str:
    """The annotator: the user name on this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "person"


# -- the last good copy ---------------------------------------------------------------------------------------------


def restore_as(name: str, new_name: str) -> None:
    """Take the last deleted collection of a name out of the trash, under a name that is free.

    Raises NotFoundError when none of that name is there, and InputError for a new name that is taken.
    """
    path, target = collection_path(name), collection_path(new_name)
    if not _in_trash(path):
        raise NotFoundError("Nothing to restore", f"No collection {name} is in the trash.")
    _require_owned(target)
    with use_lock.take_alone(target):
        if os.path.lexists(target) or os.path.lexists(copy_path(target)):
            raise exists_already(target)
        _take_out_of_trash(path, target)


def restore(name: str) -> Path | None:
    """Replace a damaged collection by its last good copy, or take a deleted one out of the trash.

    Returns the path of the damaged file, None when there was none. Raises NotFoundError when there is nothing to
    restore, DamagedStore when the copy is damaged too, InputError when the collection is intact, and TunerError while
    it is open in another window.
    """
    path = collection_path(name)
    copy = copy_path(path)
    if not path.parent.is_dir():
        raise _nothing_to_restore(path)
    _require_owned(path)
    with use_lock.take_alone(path):
        if not os.path.lexists(path) and not os.path.lexists(copy):
            _take_out_of_trash(path, path)
            return None
        if not copy.is_file():
            raise _nothing_to_restore(path)
        annotations = annotations_in(copy)
        if annotations is None:
            raise DamagedStore("The good copy is damaged too", f"{copy}.", damage_hint(path))
        _refuse_if_fine(path, copy, annotations)
        aside = _aside(path)
        try:
            with tempfile.TemporaryDirectory(prefix=".restoring-", dir=path.parent) as scratch:
                trial = Path(scratch) / path.name
                _copy_synced(copy, trial)
                trial.chmod(new_mode(path.parent))
                for part in (*_logs(path), path):  # the log of the broken file must not go into the good one
                    if os.path.lexists(part):
                        owned().move(part, aside.with_name(aside.name + part.name.removeprefix(path.name)))
                trial.rename(path)
        except OSError as error:
            raise TunerError(
                "The good copy cannot be restored",
                f"{path_problem(error, path)}.",
                "Check that there is free disk space.",
            ) from error
        sync_folder(path.parent)
    return aside if os.path.lexists(aside) else None


def _nothing_to_restore(path: Path) -> TunerError:
    """Why nothing can be restored: the collection is there, or was never there."""
    name = path.stem
    if not os.path.lexists(path):
        return NotFoundError(
            "No such collection",
            f"{name}: there is no good copy of it, and nothing of that name is in the trash.",
            "List the collections: tuner-tui feedback list",
        )
    if in_trash := _in_trash(path):
        return InputError(
            f"Collection {name} exists",
            f"The deleted one of that name is in {in_trash[0]}.",
            f"Restore it under another name: {shell_command('feedback restore', name, options=('--as', 'NAME'))}",
        )
    return NotFoundError(
        "There is no good copy",
        f"{copy_path(path)} does not exist.",
        "If the collection itself is damaged and sqlite3 is installed, its .recover command may recover rows.",
    )


def _aside(path: Path) -> Path:
    """An unused name beside a collection for its damaged file."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count():
        aside = path.with_name(f"{path.name}.damaged-{stamp}" + (f"-{number}" if number else ""))
        if not os.path.lexists(aside):
            return aside
    raise AssertionError("unreachable")


def _refuse_if_fine(path: Path, copy: Path, annotations: int) -> None:
    """Raises InputError for a collection that is complete and has all rows of its copy."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    try:
        with contextlib.closing(connect(path)) as connection:
            require_complete(connection)
            has_lost = rows_lost(connection, copy) > 0
            (own,) = connection.execute(ANNOTATION_COUNT).fetchone()
    except sqlite3.Error:
        return
    if not has_lost:
        raise InputError(
            "The collection is not damaged",
            f"{path.stem} has {own} annotations, including all of its last good copy ({annotations}).",
            f"Rows that cannot be read are listed by: {shell_command('feedback check', path.stem)}",
        )


def _in_trash(path: Path) -> list[Path]:
    """The trash's folders with deleted collections of this name, the last deleted one first."""
    folders = [file.parent for file in trash_dir().glob(f"{path.stem}-*/{path.name}")]
    return sorted(folders, key=lambda folder: (folder.stat().st_mtime, folder.name), reverse=True)


def _take_out_of_trash(path: Path, target: Path) -> None:
    """Restore the last deleted collection of a name. Raises NotFoundError."""
    folders = _in_trash(path)
    if not folders:
        raise _nothing_to_restore(path)
    folder = folders[0]
    parts = [part for part in folder.iterdir() if part.name.startswith(path.name)]  # others are the person's
    try:
        for part in sorted(parts, key=lambda part: part.name == path.name):  # the collection itself last
            owned().move(part, target.with_name(part.name.replace(path.name, target.name, 1)))
        if not any(folder.iterdir()):
            owned().remove(folder)
    except OSError as error:
        raise TunerError(
            "The collection cannot be restored",
            f"{path_problem(error, path)}.",
            f"It is in {folder}.",
        ) from error
    sync_folder(path.parent)


def _copy_synced(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


class GoodCopies:
    """Copies a collection after annotations, in its own thread, at most once per interval, and at the end."""

    def __init__(
        self,
        store: Store,
        every_seconds: float = COPY_EVERY_SECONDS,
        on_problem: Callable[[TunerError], None] = lambda _: None,
    ) -> None:
        """`on_problem` is called in the thread, once for each kind of problem."""
        self._store = store
        self._on_problem = on_problem
        self._problems: set[str] = set()
        self._every = every_seconds
        self._wanted = threading.Event()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._work, name="good copies", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Request a copy, because there are new rows."""
        self._wanted.set()

    def close(self) -> None:
        """Make a last copy of new rows, and stop."""
        self._leaving.set()
        self._wanted.set()
        self._thread.join(timeout=30)

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            is_last = self._leaving.is_set()
            self._wanted.clear()
            try:
                replace_copy(self._store, copy_path(self._store.path))
            except TunerError as error:  # the collection itself is intact: annotating continues
                if isinstance(error, DamagedStore):
                    error = DamagedStore(error.title, error.message, damage_hint(self._store.path))
                if error.title not in self._problems:
                    self._problems.add(error.title)
                    self._on_problem(error)
            if is_last:
                return
            self._leaving.wait(self._every)


def _changed(path: Path) -> float:
    times = [0.0]
    for file in (path, path.with_name(path.name + "-wal")):
        with contextlib.suppress(OSError):
            times.append(file.stat().st_mtime)
    return max(times)
