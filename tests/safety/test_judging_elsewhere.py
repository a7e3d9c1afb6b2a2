"""Collections that are deleted, restored, moved or damaged while other processes judge them: "kept" is never untrue."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.feedback_rows import make_store
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.feedback import collections, use_lock
from tuner_tui.feedback.collections import (
    GoodCopies,
    collection_path,
    delete_collection,
    list_collections,
    open_collection,
    restore,
    trash_dir,
)
from tuner_tui.feedback.good_copy import replace_copy
from tuner_tui.feedback.integrity import annotations_in, copy_path
from tuner_tui.feedback.session import Session
from tuner_tui.feedback.store import Store
from tuner_tui.feedback.store_errors import DamagedStore, MovedStore, UnlikeCopy

if TYPE_CHECKING:
    from pathlib import Path

JUDGE = """
import sys
from tuner_tui.errors import TunerError
from tuner_tui.feedback.collections import GoodCopies, open_collection
from tuner_tui.feedback.session import Session
try:
    with open_collection("evening") as store:
        session = Session(store, sys.argv[1])
        copies = GoodCopies(store, 0.05)
        print("open", flush=True)
        for _ in range(int(sys.argv[2])):
            shown = session.next()
            if shown is None:
                break
            print(session.choose(shown, 0, note=sys.argv[1]), flush=True)
            copies.ask()
        copies.close()
        if len(sys.argv) > 3:
            sys.stdin.readline()
except TunerError as error:
    print(error.title, flush=True)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    monkeypatch.setattr(use_lock, "PATIENCE_SECONDS", 0.1)
    return tmp_path


def judging(name: str, count: int, *more: str) -> subprocess.Popen[str]:
    """A process that judges so many items of `evening`, and prints each entry's id once it is told to be kept."""
    return subprocess.Popen(
        [sys.executable, "-c", JUDGE, name, str(count), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def rest_of(process: subprocess.Popen[str], line: str = "") -> list[str]:
    """What it still prints, once it has got a line; `communicate` would lose what was read ahead."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(line)
    with process.stdout:
        lines = process.stdout.read().split("\n")
    process.wait(30)
    return lines


def judged(items: int = 30) -> Path:
    """A collection whose items are all judged, with its good copy."""
    store = make_store(collection_path("evening"), items)
    copies = GoodCopies(store)
    session = Session(store, "me")
    while shown := session.next():
        session.choose(shown, 0)
    copies.ask()
    copies.close()
    store.close()
    assert annotations_in(copy_path(collection_path("evening"))) == items
    return collection_path("evening")


def entry_ids(path: Path) -> set[int]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM entry")}


def test_deleting_and_restoring_wait_for_those_who_judge() -> None:
    make_store(collection_path("evening"), 60).close()
    processes = [judging(f"annotator{number}", 20, "wait") for number in range(2)]
    for process in processes:
        assert first_line(process) == "open"
    for action in (delete_collection, restore, delete_collection):  # while they judge, and while they rest
        with pytest.raises(TunerError, match="open in another window"):
            action("evening")
    acknowledged = {int(line) for process in processes for line in rest_of(process, "\n") if line.isdigit()}
    assert len(acknowledged) == 40
    delete_collection("evening")
    (trashed,) = trash_dir().glob("evening-*/evening.sqlite3")
    assert acknowledged <= entry_ids(trashed)
    restore("evening")
    assert acknowledged <= entry_ids(collection_path("evening"))


def test_a_collection_that_is_open_in_another_window_is_not_deleted() -> None:
    make_store(collection_path("evening"), 3).close()
    process = judging("other", 1, "wait")
    assert first_line(process) == "open"
    assert first_line(process) == "1"
    for action in (delete_collection, restore):
        with pytest.raises(TunerError, match="evening is open in another window"):
            action("evening")
    rest_of(process, "\n")
    delete_collection("evening")
    assert list_collections() == []


def test_a_file_that_is_moved_away_by_another_program_ends_the_acknowledging(tmp_path: Path) -> None:
    path = collection_path("evening")
    make_store(path, 400).close()
    process = judging("other", 400)
    assert first_line(process) == "open"
    acknowledged = [int(first_line(process)) for _ in range(10)]
    aside = tmp_path / "moved"
    aside.mkdir()
    path.rename(aside / path.name)  # the log stays behind for a moment, as with any such move
    path.with_name(path.name + "-wal").rename(aside / (path.name + "-wal"))
    with contextlib.suppress(TunerError):
        make_store(path, 5).close()  # refused while the other one still writes into the old log
    output = rest_of(process)
    acknowledged += [int(line) for line in output if line.isdigit()]
    assert "The collection was moved or deleted" in output
    assert set(acknowledged) <= entry_ids(aside / path.name)
    if not path.exists():
        make_store(path, 5).close()
    assert entry_ids(path) == set()
    assert annotations_in(copy_path(path)) != 0  # the new, empty one was not copied over it


@pytest.mark.parametrize("change", ["moved", "deleted", "replaced", "log deleted"])
def test_what_is_not_in_the_collections_file_is_not_acknowledged(tmp_path: Path, change: str) -> None:
    path = collection_path("evening")
    store = make_store(path, 3)
    session = Session(store, "me")
    shown = session.next()
    assert shown is not None
    session.choose(shown, 0)
    match change:
        case "moved":
            path.rename(tmp_path / "elsewhere")
        case "deleted":
            path.unlink()
        case "replaced":
            make_store(tmp_path / "other.sqlite3", 3).close()
            (tmp_path / "other.sqlite3").replace(path)
        case "log deleted":
            path.with_name(path.name + "-wal").unlink()
    with pytest.raises(MovedStore, match="moved or deleted"):
        session.choose(shown, 0)
    with pytest.raises(MovedStore):
        session.progress()
    with pytest.raises(TunerError):
        replace_copy(store, copy_path(path))
    assert path.exists() == (change in ("replaced", "log deleted"))  # no empty one is made in its place
    assert not copy_path(path).exists()


def damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    page = 4096
    match kind:
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "cut within a page":
            path.write_bytes(data[: page * 3 + 100])
        case "emptied":
            path.write_bytes(b"")
        case "zeroed pages":
            path.write_bytes(data[:page] + bytes(page * 3) + data[page * 4 :])
        case "zeroed":
            path.write_bytes(bytes(len(data)))
        case "header":
            path.write_bytes(b"garbage in the place of a header" * 4 + data[128:])
        case "another kind of file":
            path.write_bytes(b"not a database at all" * 100)
        case "tables":
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.execute("DROP TABLE entry")
        case "columns":
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.execute("ALTER TABLE entry RENAME COLUMN proposal TO other")
        case "partly":
            path.write_bytes(data[: page * 2] + os.urandom(page) + data[page * 3 :])


DAMAGES = (
    "truncated",
    "cut within a page",
    "emptied",
    "zeroed pages",
    "zeroed",
    "header",
    "another kind of file",
    "tables",
    "columns",
    "partly",
)


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_collection_never_replaces_its_good_copy(kind: str) -> None:
    path = judged()
    good = copy_path(path).read_bytes()
    damage(path, kind)
    with pytest.raises(TunerError), open_collection("evening") as store:
        replace_copy(store, copy_path(path))
    assert copy_path(path).read_bytes() == good
    with pytest.raises(DamagedStore) as caught:
        open_collection("evening")
    assert "has 30 annotations" in caught.value.hint
    assert "tuner-tui feedback restore evening" in caught.value.hint
    assert f"{path.name}.damaged-" in caught.value.hint
    (listed,) = list_collections()
    assert not listed.is_usable
    assert "30 annotations" in listed.detail
    damaged = path.read_bytes()
    aside = restore("evening")
    assert aside is not None
    assert aside.read_bytes() == damaged
    with open_collection("evening") as store:
        assert store.annotation_count() == 30


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_while_it_is_open_never_replaces_the_good_copy(kind: str) -> None:
    path = judged()
    good = copy_path(path).read_bytes()
    store = Store.open(path)
    store.rows("SELECT count(*) FROM item")
    damage(path, kind)
    with contextlib.suppress(TunerError):
        replace_copy(store, copy_path(path))
    assert annotations_in(copy_path(path)) == 30
    if annotations_in(path) != 30:
        assert copy_path(path).read_bytes() == good
    store.close()


@pytest.mark.parametrize(
    "statement", ["DELETE FROM entry WHERE id > 3", "UPDATE answer SET text = 'x' WHERE id = 2"]
)
def test_a_collection_that_lost_rows_does_not_replace_its_good_copy(statement: str) -> None:
    path = judged()
    good = copy_path(path).read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for trigger in ("entry_kept", "answer_stays"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(statement)
        connection.commit()
    told: list[TunerError] = []
    with open_collection("evening") as store:
        copies = GoodCopies(store, on_problem=told.append)
        copies.ask()
        copies.close()
    (error,) = told
    assert isinstance(error, UnlikeCopy)
    assert "is kept" in error.message
    assert copy_path(path).read_bytes() == good
    assert path.with_name(path.name + ".unlike-copy").exists()
    restore("evening")
    with open_collection("evening") as store:
        assert store.annotation_count() == 30


def test_a_collection_that_is_fine_is_not_restored() -> None:
    judged(3)
    with pytest.raises(InputError, match="not damaged"):
        restore("evening")


def test_a_damaged_copy_is_said_to_be_damaged() -> None:
    path = judged(3)
    copy_path(path).write_bytes(b"rubbish" * 1000)
    damage(path, "truncated")
    with pytest.raises(DamagedStore) as caught:
        open_collection("evening")
    assert "good copy is damaged too" in caught.value.hint
    with pytest.raises(DamagedStore, match="damaged too"):
        restore("evening")


def test_a_collection_whose_file_is_gone_is_listed_with_its_good_copy() -> None:
    path = judged(3)
    path.unlink()
    (listed,) = list_collections()
    assert (listed.name, listed.problem) == ("evening", "The collection's file is missing")
    assert "3 annotations" in listed.detail
    with pytest.raises(DamagedStore):
        collections.open_or_create("evening")
    assert restore("evening") is None
    with open_collection("evening") as store:
        assert store.annotation_count() == 3


def test_deleted_collections_come_back_the_last_one_first() -> None:
    for count in (3, 4):
        judged(count)
        trash = delete_collection("evening")
        assert trash.parent == trash_dir()
    restore("evening")
    with open_collection("evening") as store:
        assert store.annotation_count() == 4
    assert annotations_in(copy_path(collection_path("evening"))) == 4
    with pytest.raises(NotFoundError):
        delete_collection("other")


def test_two_who_make_the_same_collection_make_one() -> None:
    make = (
        "import sys\nfrom tuner_tui.feedback.collections import open_or_create\n"
        "from tuner_tui.generation.messages import Turn\nsys.stdin.readline()\n"
        "with open_or_create('evening') as store:\n    print(store.add_item([Turn('user', 'Hi')], 'x'))\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", make], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    numbers = [process.communicate("\n")[0].strip() for process in processes]
    assert sorted(numbers) == ["1", "2", "3"]
