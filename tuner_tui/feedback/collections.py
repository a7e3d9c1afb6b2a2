"""The collections of this data folder: their names, last good copies, and what a list shows of each."""

from __future__ import annotations

import contextlib
import getpass
import re
import shutil
import sqlite3
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from tuner_tui.config import paths
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.feedback.records import CollectionSettings
from tuner_tui.feedback.schema import APPLICATION_ID
from tuner_tui.feedback.store import Store
from tuner_tui.files import new_mode
from tuner_tui.owned import Owned

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", re.ASCII)
SUFFIX = ".sqlite3"
COPY_SUFFIX = ".good-copy"
COPY_EVERY_SECONDS = 10.0


class CollectionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One collection in a list."""

    name: str
    mode: str
    items: int
    judged: int
    left: int
    """Items that have answers and no judgement yet."""
    waiting: int
    """Prompts that have no answers yet."""
    changed: float
    """Seconds since 1970."""
    problem: str = ""


def feedback_dir() -> Path:
    """Where collections lie."""
    return paths.data_dir() / "feedback"


def owned() -> Owned:
    """That folder, for deleting in it."""
    return Owned(feedback_dir(), "feedback", _holds_collections)


def _holds_collections(folder: Path) -> bool:
    """Whether one of the files is a collection, by what SQLite keeps in its first bytes."""
    for path in folder.glob(f"[!.]*{SUFFIX}*"):  # also a good copy of one that is damaged
        with contextlib.suppress(OSError), path.open("rb") as file:
            if int.from_bytes(file.read(72)[68:], "big") == APPLICATION_ID:
                return True
    return False


def collection_path(name: str) -> Path:
    """A collection's file. Raises InputError for a name that no collection can have."""
    if not _NAME.fullmatch(name):
        raise InputError(
            "Not a collection's name",
            f"{name!r}: expected up to 60 letters, digits, dots, dashes and underscores.",
            "Take a name such as evening-1.",
        )
    return feedback_dir() / f"{name}{SUFFIX}"


def open_collection(name: str) -> Store:
    """Open a collection that exists. Raises as Store.open does."""
    path = collection_path(name)
    if path.exists() and not owned().is_ours():  # SQLite would take the log beside a foreign file for its own
        raise InputError(
            "Not a collection",
            f"{path}: the folder holds files that tuner-tui did not make.",
            "Name another data folder: tuner-tui config set folders.data",
        )
    return Store.open(path)


def open_or_create(name: str, settings: CollectionSettings | None = None) -> Store:
    """Open a collection, making it if there is none; settings that are given are kept."""
    path = collection_path(name)
    if not path.exists():
        try:
            owned().claim()
        except OSError as error:
            raise TunerError(
                "The collection cannot be made", f"{error.filename}: {error.strerror}."
            ) from error
        return Store.create(path, settings or CollectionSettings())
    store = open_collection(name)
    if settings is not None:
        store.change_settings(settings)
    return store


def collection_names() -> list[str]:
    """All collections, by name."""
    try:
        return sorted(path.name.removesuffix(SUFFIX) for path in feedback_dir().glob(f"[!.]*{SUFFIX}"))
    except OSError:
        return []


def list_collections() -> list[CollectionSummary]:
    """Every collection, the last changed first; what cannot be opened is listed with its problem."""
    return sorted(map(summarise, collection_names()), key=lambda each: -each.changed)


def summarise(name: str) -> CollectionSummary:
    """What a list shows of one collection."""
    path = collection_path(name)
    changed = _changed(path)
    try:
        with open_collection(name) as store:
            settings, counts, standing = store.settings(), store.answer_counts(), store.standing()
            done = {entry.item for entry in standing if entry.judgement is not None}
            needed = needed_answers(settings)
            return CollectionSummary(
                name=name,
                mode=settings.mode,
                items=len(counts),
                judged=store.kept(),
                left=sum(count >= needed for item, count in counts.items() if item not in done),
                waiting=sum(count < needed for item, count in counts.items() if item not in done),
                changed=changed,
            )
    except TunerError as error:
        return CollectionSummary(
            name=name, mode="", items=0, judged=0, left=0, waiting=0, changed=changed, problem=error.title
        )


def needed_answers(settings: CollectionSettings) -> int:
    """Answers that an item needs before it can be judged."""
    return {"pairs": 2, "ranking": 2, "thumbs": 1, "scores": 1, "demonstrations": 0}[settings.mode]


def delete_collection(name: str) -> None:
    """Delete a collection and its copy for good. Raises NotFoundError."""
    path = collection_path(name)
    if not path.exists():
        raise NotFoundError("No such collection", name, "See: tuner-tui feedback list")
    for each in (path, copy_path(path), *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        if each.exists():
            owned().remove(each)


def rater_name() -> str:
    """Who judges: the person's name on this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "person"


# -- the last good copy ---------------------------------------------------------------------------------------------


def copy_path(path: Path) -> Path:
    """Where a collection's last good copy lies."""
    return path.with_name(path.name + COPY_SUFFIX)


def restore(name: str) -> Path:
    """Put the last good copy in the place of a damaged collection, which is kept beside it; gives where.

    Raises NotFoundError when there is no copy, DamagedStore when that is broken too.
    """
    path = collection_path(name)
    copy = copy_path(path)
    if not copy.is_file():
        raise NotFoundError(
            "There is no good copy",
            f"{copy} does not exist.",
            "If sqlite3 is installed, its .recover command may save what is left.",
        )
    with tempfile.TemporaryDirectory(prefix=".restoring-", dir=path.parent) as scratch:
        trial = Path(scratch) / path.name
        shutil.copyfile(copy, trial)
        Store.open(trial).close()
        aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        for end in ("", "-wal", "-shm"):  # the log of the broken file must not be played into the good one
            part = path.with_name(path.name + end)
            if part.exists():
                owned().move(part, aside.with_name(aside.name + end))
        trial.chmod(new_mode(path.parent))
        trial.rename(path)
    return aside


class GoodCopies:
    """Copies a collection after judgements, in a thread of its own, at most once in so many seconds, and at the end."""

    def __init__(self, store: Store, every_seconds: float = COPY_EVERY_SECONDS) -> None:
        self._store = store
        self._every = every_seconds
        self._wanted = threading.Event()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._work, name="good copies", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """There is something new."""
        self._wanted.set()

    def close(self) -> None:
        """Copy what is new once more, and stop."""
        self._leaving.set()
        self._wanted.set()
        self._thread.join(timeout=30)

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            is_last = self._leaving.is_set()
            self._wanted.clear()
            with contextlib.suppress(
                TunerError, sqlite3.Error, OSError
            ):  # the collection itself is what counts
                self._store.copy_to(copy_path(self._store.path))
            if is_last:
                return
            self._leaving.wait(self._every)


def _changed(path: Path) -> float:
    times = [0.0]
    for each in (path, path.with_name(path.name + "-wal")):
        with contextlib.suppress(OSError):
            times.append(each.stat().st_mtime)
    return max(times)
