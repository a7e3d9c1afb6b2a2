"""The store: what is acknowledged is on disk, entries stay, and a store that cannot be used says why."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.unit.feedback_rows import answer, make_store
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.feedback import store_errors
from tuner_tui.feedback.collections import (
    GoodCopies,
    collection_path,
    list_collections,
    open_collection,
    open_or_create,
    restore,
)
from tuner_tui.feedback.integrity import copy_path
from tuner_tui.feedback.records import Annotation, CollectionSettings
from tuner_tui.feedback.schema import APPLICATION_ID, MIGRATIONS, VERSION
from tuner_tui.feedback.session import FIRST_REPEAT, Session
from tuner_tui.feedback.store import Store
from tuner_tui.feedback.store_errors import DamagedStore
from tuner_tui.generation.messages import Turn

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    return tmp_path


def judge_all(session: Session, places: int) -> int:
    kept = 0
    while shown := session.next():
        session.choose(shown, places, seconds=3.0)
        kept += 1
    return kept


def test_an_annotation_has_everything(tmp_path: Path) -> None:
    with make_store(tmp_path / "a.sqlite3", 1) as store:
        session = Session(store, "me", seed=1)
        shown = session.next()
        assert shown is not None
        session.choose(shown, 1, strength="slight", seconds=2.5, note="odd")
    with Store.open(tmp_path / "a.sqlite3") as store:
        (entry,) = store.entries()
        assert entry.annotation is not None
        assert entry.annotation.shown == tuple(each.id for each in shown.answers)
        assert entry.annotation.ranks == (2, 1)
        assert entry.annotation.best() == shown.answers[1].id
        assert (entry.annotation.strength, entry.annotation.seconds, entry.note) == ("slight", 2.5, "odd")
        assert (entry.annotator, entry.annotator_kind) == ("me", "person")
        assert store.annotation_count() == 1
        assert store.item(1).answers[0].maker.seed == 1


def test_undo_is_an_entry_of_its_own(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 2)
    session = Session(store, "me", seed=1)
    assert session.undo() is None
    first = session.next()
    assert first is not None
    session.choose(first, 0)
    undone = session.undo()
    assert undone is not None
    assert undone[1] is not None
    assert undone[1].answers == first.answers
    assert (store.annotation_count(), len(store.entries()), len(store.active_entries())) == (0, 2, 0)
    assert session.next() == first
    assert session.undo() is None


def test_entries_and_answers_cannot_be_changed(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 1)
    store.note(1, "a note", "me")
    other = sqlite3.connect(store.path)
    for statement in (
        "UPDATE entry SET note = 'x'",
        "DELETE FROM entry",
        "UPDATE answer SET text = 'x'",
        "DELETE FROM answer",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            other.execute(statement)


def test_commits_are_synced(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3")
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_older_store_is_brought_to_this_version(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite3"
    old = sqlite3.connect(path)
    old.executescript(MIGRATIONS[0])
    old.execute("PRAGMA user_version=1")
    old.execute(f"PRAGMA application_id={APPLICATION_ID}")
    old.execute("INSERT INTO item VALUES (1, '[[\"user\",\"Hi\"]]', 'x', 0)".replace('[[\\"', '[["'))
    old.execute("UPDATE item SET prompt = ?", ('[{"role":"user","content":"Hi"}]',))
    old.execute("INSERT INTO entry (item, at, rater, rater_kind, note) VALUES (1, 0, 'me', 'person', 'old')")
    old.commit()
    old.close()
    with Store.open(path) as store:
        assert [entry.note for entry in store.entries()] == ["old"]
        assert store._connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    make_store(tmp_path / "a.sqlite3", 1).close()
    newer = sqlite3.connect(tmp_path / "a.sqlite3")
    newer.execute(f"PRAGMA user_version={VERSION + 1}")
    newer.commit()
    newer.close()
    with pytest.raises(InputError, match="newer") as caught:
        Store.open(tmp_path / "a.sqlite3")
    assert not isinstance(caught.value, DamagedStore)


def test_a_foreign_file(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "a.sqlite3")
    other.execute("CREATE TABLE x (y)")
    other.commit()
    with pytest.raises(InputError, match="another program"):
        Store.open(tmp_path / "a.sqlite3")
    with pytest.raises(NotFoundError):
        Store.open(tmp_path / "b.sqlite3")


def test_a_locked_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_errors, "PATIENCE_SECONDS", 0.1)
    store = make_store(tmp_path / "a.sqlite3", 2)
    session = Session(store, "me")
    shown = session.next()
    assert shown is not None
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TunerError, match="locked"):
        session.choose(shown, 0)
    other.execute("ROLLBACK")
    assert store.annotation_count() == 0
    session.choose(shown, 0)
    assert store.annotation_count() == 1


@pytest.mark.parametrize("damage", ["cut", "garbage", "middle"])
def test_a_damaged_store_and_its_good_copy(home: Path, damage: str) -> None:
    store = make_store(collection_path("evening"), 30)
    copies = GoodCopies(store)
    assert judge_all(Session(store, "me"), 0) == 30
    copies.ask()
    copies.close()
    store.close()
    path = collection_path("evening")
    data = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "garbage":
            path.write_bytes(b"not a database at all" * 100)
        case "middle":
            path.write_bytes(data[:4096] + os.urandom(4096 * 2) + data[4096 * 3 :])
    with pytest.raises(DamagedStore, match="damaged") as caught:
        open_collection("evening")
    assert "feedback restore evening" in caught.value.hint
    (listed,) = list_collections()
    assert listed.problem == "The collection is damaged"
    aside = restore("evening")
    assert aside is not None
    assert aside.exists()
    with open_collection("evening") as again:
        assert again.annotation_count() == 30


def test_restoring_without_a_copy(home: Path) -> None:
    make_store(collection_path("evening"), 1).close()
    assert not copy_path(collection_path("evening")).exists()
    with pytest.raises(NotFoundError, match="no good copy"):
        restore("evening")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tuner_tui.errors import TunerError
from tuner_tui.feedback.session import Session
from tuner_tui.feedback.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store.open(Path(sys.argv[1]))
session = Session(store, "me")
shown = session.next()
session.choose(shown, 0)
wal = Path(sys.argv[1] + "-wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (wal, wal))
try:
    for _ in range(100):
        session.choose(session.next(), 0, note="x" * 5000)
except TunerError as error:
    print(error.title, store.annotation_count())
"""


def test_a_full_disk_at_an_annotation(tmp_path: Path) -> None:
    make_store(tmp_path / "a.sqlite3", 10).close()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.sqlite3")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("The disk "), done.stderr
    shown_as_kept = int(done.stdout.split()[-1])
    assert shown_as_kept >= 1
    with Store.open(tmp_path / "a.sqlite3") as store:
        assert store.annotation_count() == shown_as_kept


def test_two_apps_on_one_collection(tmp_path: Path) -> None:
    make_store(tmp_path / "a.sqlite3", 40).close()
    counts = []

    def work(name: str) -> None:
        with Store.open(tmp_path / "a.sqlite3") as store:
            counts.append(judge_all(Session(store, name), 0))

    threads = [threading.Thread(target=work, args=(f"annotator{number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store.open(tmp_path / "a.sqlite3") as store:
        assert store.annotation_count() == sum(counts) >= 40


def test_strange_text_is_kept(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3")
    texts = ["\n\n\n", "\x00\x1b[31m\x07", "x" * 100_000, "half \ud83d emoji", "مرحبا 👩‍👩‍👧 全角"]
    item = store.add_item([Turn("user", "p" * 100_000)], "test", [answer(text) for text in texts[:2]])
    store.add_answers(item, [answer(text) for text in texts[2:]])
    found = [each.text for each in store.item(item).answers]
    assert found == [*texts[:3], "half ? emoji", texts[4]]
    assert len(store.item(item).prompt_text) == 100_000


def test_answers_are_added_only_while_they_are_needed(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 1)
    assert store.add_answers(1, [answer("late")], only_if_fewer_than=2) == []
    assert len(store.add_answers(1, [answer("third")], only_if_fewer_than=3)) == 1


def test_names_of_collections(home: Path) -> None:
    for name in ("", "../x", "a/b", ".hidden", "x" * 61, "a\nb", "-x"):
        with pytest.raises(InputError, match="name"):
            open_or_create(name)
    with open_or_create("evening-1.b", CollectionSettings(mode="thumbs")) as store:
        assert store.settings().mode == "thumbs"
    assert [each.name for each in list_collections()] == ["evening-1.b"]


def test_thumbs_go_answer_by_answer(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 2, CollectionSettings(mode="thumbs"))
    session = Session(store, "me")
    texts = []
    while shown := session.next():
        assert len(shown.answers) == 1
        texts.append(shown.answers[0].text)
        session.keep(shown, "thumbs", scores=[len(texts) % 2])
    assert len(set(texts)) == 4
    assert session.progress().ready == 0
    session.undo()
    assert session.progress().ready == 1


def test_an_edit_is_preferred_and_a_skip_is_no_annotation(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 2)
    session = Session(store, "me")
    shown = session.next()
    assert shown is not None
    session.keep(shown, "choice", written="Better.", edited_from=shown.answers[0].id)
    entry = store.entries()[0]
    assert entry.annotation is not None
    assert entry.annotation.best() == entry.annotation.written
    written = store.item(shown.item.id).answers[-1]
    assert (written.maker.kind, written.maker.edited_from) == ("person", shown.answers[0].id)
    second = session.next()
    assert second is not None
    session.keep(second, "skip")
    assert (session.next(), store.annotation_count()) == (None, 1)


def test_items_come_back_swapped(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 100)
    session = Session(store, "me", seed=3)
    orders: dict[int, tuple[int, ...]] = {}
    repeats = 0
    for number in range(100):
        shown = session.next()
        assert shown is not None
        order = tuple(each.id for each in shown.answers)
        if shown.is_repeat:
            repeats += 1
            assert number >= FIRST_REPEAT
            assert orders[shown.item.id] == order[::-1]
        orders[shown.item.id] = order
        session.choose(shown, 0)
    assert 8 <= repeats <= 11


def test_order_is_random_and_blind_to_the_model(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 40)
    session = Session(store, "me")
    first = 0
    while shown := session.next():
        first += shown.answers[0].maker.model == "base"
        session.keep(shown, "tie", ranks=[1, 1])
    assert 8 <= first <= 32


def test_repeated_annotations_are_not_new_ones(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 1)
    store.annotate(1, Annotation(verdict="choice", shown=(1, 2), ranks=(1, 2)), "me", "ai")
    assert Session(store, "me").next() is not None
