"""One bad collection, or one bad row, never hides the others; what cannot be read is named and stays as it is."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.ui.looking import until, wait_for
from tests.unit.feedback_rows import make_store
from tuner_tui.cli.data import data
from tuner_tui.cli.feedback import feedback
from tuner_tui.cli.train import train
from tuner_tui.config.spec import RunSpec
from tuner_tui.data.files.rows import read_rows
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.feedback.checking import check_collection
from tuner_tui.feedback.collections import (
    collection_path,
    delete_collection,
    feedback_dir,
    list_collections,
    open_collection,
    restore,
    restore_as,
)
from tuner_tui.feedback.exporting import Filters, export_rows
from tuner_tui.feedback.records import CollectionSettings
from tuner_tui.feedback.session import Session
from tuner_tui.feedback.statistics import annotator_statistics
from tuner_tui.text import counted
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.data_looks import list_all, look_at_training
from tuner_tui.ui.screens.collections import Collections
from tuner_tui.ui.screens.feedback import FeedbackScreen

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    make_judged("good", 4)
    return tmp_path


def make_judged(name: str, count: int, left: int = 1) -> Path:
    """A collection of which so many items are judged and one is left."""
    with make_store(collection_path(name), count + left) as store:
        session = Session(store, "me", seed=1)
        for _ in range(count):
            shown = session.next()
            assert shown is not None
            session.choose(shown, 0)
        return store.path


def a_newer_version(path: Path) -> None:
    make_store(path, 1).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")


def a_foreign_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE entry (id)")


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may be no longer than 108 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


BAD_FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a stray copy": (
        "evening (copy).sqlite3",
        lambda path: make_store(path, 1).close(),
        "name is not valid for a collection",
    ),
    "a name in another encoding": (
        os.fsdecode(b"abend-\xff.sqlite3"),
        lambda path: make_store(path, 1).close(),
        "name is not valid for a collection",
    ),
    "a name of two lines": (
        "a\nb.sqlite3",
        lambda path: path.write_text("x"),
        "name is not valid for a collection",
    ),
    "a folder": ("bad.sqlite3", lambda path: path.mkdir(), "Not a feedback collection"),
    "a pipe": ("bad.sqlite3", os.mkfifo, "Not a feedback collection"),
    "a socket": ("bad.sqlite3", a_socket, "Not a feedback collection"),
    "a link to nowhere": ("bad.sqlite3", lambda path: path.symlink_to("nowhere"), "No such collection"),
    "a link to itself": ("bad.sqlite3", lambda path: path.symlink_to(path), "cannot be opened"),
    "not SQLite": ("bad.sqlite3", lambda path: path.write_text("hello" * 1000), "damaged"),
    "cut short": ("bad.sqlite3", lambda path: path.write_bytes(b"SQLite format 3\0"), "damaged"),
    "a newer version": ("bad.sqlite3", a_newer_version, "newer tuner-tui"),
    "another program's": ("bad.sqlite3", a_foreign_database, "Not a feedback collection"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_a_named_problem_and_the_others_are_listed(kind: str) -> None:
    name, make, words = BAD_FILES[kind]
    path = feedback_dir() / name
    make(path)
    summaries = {summary.name: summary for summary in list_collections()}
    assert len(summaries) == 2
    assert (summaries["good"].judged, summaries["good"].problem) == (4, "")
    (bad,) = (summary for summary in summaries.values() if summary.name != "good")
    assert words in bad.problem
    assert bad.detail
    assert not bad.is_usable
    as_json = json.loads(CliRunner().invoke(feedback, ["list", "--json"], catch_exceptions=False).stdout)
    assert {row["name"]: row["problem"] for row in as_json}[bad.name] == bad.problem
    text = CliRunner().invoke(feedback, ["list"], catch_exceptions=False).stdout
    assert bad.problem in text
    assert "good" in text
    assert any("cannot be used" in listing.remark for listing in list_all(feedback_dir()))
    assert os.path.lexists(path)


def test_a_collection_without_permission_is_a_named_problem(home: Path) -> None:
    make_store(collection_path("bad"), 1).close()
    collection_path("bad").chmod(0)
    for folder in (*reversed(home.parents), home, *home.rglob("*")):
        if folder.is_dir() and folder.is_relative_to(home.parents[2]):
            folder.chmod(0o777)
    for file in feedback_dir().glob("*good*"):
        file.chmod(0o666)
    for file in feedback_dir().glob(".*.lock"):
        file.chmod(0o666)
    script = (
        "import os\nfrom tuner_tui.feedback.collections import list_collections\n"
        "list_collections()  # imports all, while it may\n"
        "if os.getuid() == 0:\n    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print([(s.name, s.judged, s.problem) for s in sorted(list_collections(), key=lambda s: s.name)])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str([("bad", 0, "The collection cannot be opened"), ("good", 4, "")]), (
        done.stderr
    )


def test_a_folder_of_collections_that_cannot_be_listed_is_told(home: Path) -> None:
    feedback_dir().rename(home / "elsewhere")
    feedback_dir().write_text("a file")
    with pytest.raises(TunerError, match="cannot be listed"):
        list_collections()


async def test_the_screen_shows_bad_collections_beside_good_ones() -> None:
    (feedback_dir() / "a folder.sqlite3").mkdir()
    collection_path("torn").write_text("hello" * 1000)
    async with TunerApp(Collections()).run_test(size=(100, 24)) as pilot:
        await wait_for(
            pilot,
            "good",
            "4 annotated",
            "its name is not valid for a collection",
            "The collection is damaged",
        )


async def test_rows_that_cannot_be_read_do_not_stop_the_screen() -> None:
    path = make_judged("evening", 3)
    spoil(path, 'UPDATE entry SET judgement = \'{"verdict": "sparkling", "shown": [1, 2]}\' WHERE id = 2')
    spoil(path, "UPDATE item SET prompt = x'00ff' WHERE id = 4")
    with open_collection("evening") as store:
        store.add_items([(store.item(1).prompt, "x", store.item(1).answers)])
    async with TunerApp(FeedbackScreen("evening")).run_test(size=(100, 24)) as pilot:
        await wait_for(pilot, "saved 2, 1 ready")
        await pilot.press("1")
        await wait_for(pilot, "saved 3, 0 ready")
        await pilot.press("m")
        await wait_for(pilot, "2 rows cannot be read")


def spoil(path: Path, *statements: str) -> None:
    """Change rows as another program could."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for trigger in ("entry_stays", "entry_kept", "answer_stays", "answer_kept"):
            connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        connection.execute("PRAGMA ignore_check_constraints=ON")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def annotation(**changes: Any) -> str:
    content = {"verdict": "choice", "shown": [3, 4], "ranks": [1, 2]} | changes
    return f"UPDATE entry SET judgement = '{json.dumps(content)}' WHERE id = 2"


SPOILT_ROWS: dict[str, tuple[str, str]] = {
    "invalid JSON": ("UPDATE entry SET judgement = '{\"verdict\"' WHERE id = 2", "entry 2: judgement"),
    "deep JSON": ("UPDATE entry SET judgement = '" + "[" * 5000 + "' WHERE id = 2", "entry 2: judgement"),
    "a list": ("UPDATE entry SET judgement = '[]' WHERE id = 2", "entry 2: judgement"),
    "a blob": ("UPDATE entry SET judgement = x'ff00ff' WHERE id = 2", "entry 2: judgement"),
    "a number": ("UPDATE entry SET judgement = 7 WHERE id = 2", "entry 2: judgement"),
    "text that is not UTF-8": (
        "UPDATE entry SET judgement = CAST(x'7bff' AS TEXT) WHERE id = 2",
        "entry 2: judgement",
    ),
    "a note that is not UTF-8": ("UPDATE entry SET note = CAST(x'ff' AS TEXT) WHERE id = 2", "entry 2: note"),
    "an unknown verdict": (annotation(verdict="sparkling"), "'sparkling' is not known to this version"),
    "a verdict of another type": (annotation(verdict=["x"]), "entry 2: verdict"),
    "ranks of another length": (annotation(ranks=[1]), "expected 2 ranks"),
    "ranks that are text": (annotation(ranks=["a", "b"]), "entry 2: judgement"),
    "scores missing": (annotation(verdict="thumbs", ranks=[]), "thumbs without scores"),
    "an answer shown twice": (annotation(shown=[3, 3]), "shown twice"),
    "an answer that does not exist": (annotation(shown=[3, 999]), "answer 999"),
    "an answer of another item": (annotation(shown=[3, 1]), "answer 1"),
    "a time that is text": ("UPDATE entry SET at = 'noon' WHERE id = 2", "entry 2: at"),
    "a rater that is a blob": ("UPDATE entry SET rater = x'00' WHERE id = 2", "entry 2: rater"),
    "an unknown kind of rater": (
        "UPDATE entry SET rater_kind = 'robot' WHERE id = 2",
        "'robot' is not known",
    ),
    "an item that does not exist": ("UPDATE entry SET item = 999 WHERE id = 2", "its item 999"),
    "an item that is text": ("UPDATE entry SET item = 'x' WHERE id = 2", "entry 2: item"),
    "a proposal that is rubbish": (
        "UPDATE entry SET proposal = 'x', judgement = NULL WHERE id = 2",
        "proposal",
    ),
    "an answer that is a blob": ("UPDATE answer SET text = x'ff' WHERE id = 3", "answer 3: text"),
    "an answer that is not UTF-8": (
        "UPDATE answer SET text = CAST(x'ff' AS TEXT) WHERE id = 3",
        "answer 3: text",
    ),
    "a maker that is rubbish": ("UPDATE answer SET maker = '{' WHERE id = 3", "answer 3: maker"),
    "a maker of an unknown kind": (
        'UPDATE answer SET maker = \'{"kind": "robot"}\' WHERE id = 3',
        "answer 3: maker",
    ),
    "is_finished of another type": (
        "UPDATE answer SET is_finished = 'no' WHERE id = 3",
        "answer 3: is_finished",
    ),
    "a prompt that is rubbish": ("UPDATE item SET prompt = '[' WHERE id = 2", "item 2: prompt"),
    "a prompt of an unknown role": (
        'UPDATE item SET prompt = \'[{"role": "robot", "content": "x"}]\' WHERE id = 2',
        "item 2: prompt",
    ),
    "an origin that is a blob": ("UPDATE item SET origin = x'ff' WHERE id = 2", "item 2: origin"),
}


@pytest.mark.parametrize("kind", SPOILT_ROWS)
def test_a_row_that_cannot_be_read_is_named_and_the_others_work(kind: str, tmp_path: Path) -> None:
    statement, words = SPOILT_ROWS[kind]
    path = make_judged("evening", 4)
    spoil(path, statement)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        before = list(connection.execute("SELECT * FROM entry ORDER BY id"))

    report = check_collection("evening")
    assert words in "\n".join(map(str, report.rows))
    assert report.judged is not None
    summaries = {summary.name: summary for summary in list_collections()}
    assert summaries["evening"].unreadable == len(report.rows)
    assert "cannot be read" in summaries["evening"].problem
    assert summaries["evening"].judged == 3
    assert summaries["good"].judged == 4

    with open_collection("evening") as store:
        contents = store.contents()
        assert annotator_statistics(contents.items, contents.entries).annotations == 3
        for exported in ("pairs", "rated", "demonstrations"):
            export_rows(store, exported, Filters(with_ai=True))
        session = Session(store, "me", seed=1)
        assert session.progress().saved == 3
        shown = session.next()
        assert shown is not None
        session.choose(shown, 0)
        assert session.progress().saved == 4
        assert session.undo() is not None

    out = tmp_path / "out.jsonl"
    arguments = ["export", "evening", "--out", str(out), "--as", "pairs"]
    done = CliRunner().invoke(feedback, arguments, catch_exceptions=False)
    assert f"{counted(len(report.rows), 'row')} of evening cannot be read and" in done.output
    assert words in done.output
    assert words in out.with_name("out.card.md").read_text()
    assert len(list(read_rows(out))) == 3
    stats = CliRunner().invoke(feedback, ["stats", "evening", "--json"], catch_exceptions=False)
    assert any(words in problem for problem in json.loads(stats.output)["unreadable"])
    check = CliRunner().invoke(feedback, ["check", "evening", "--json"])
    assert check.exit_code == 1
    assert any(
        words in f"{row['table']} {row['id']}: {row['problem']}" for row in json.loads(check.output)["rows"]
    )
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        after = list(connection.execute("SELECT * FROM entry ORDER BY id"))
    assert after[: len(before)] == before


def test_settings_that_cannot_be_read_do_not_hide_the_annotations(tmp_path: Path) -> None:
    path = make_judged("evening", 2)
    spoil(path, 'UPDATE setting SET value = \'{"mode": "sparkling"}\'')
    summaries = {summary.name: summary for summary in list_collections()}
    assert "settings" in summaries["evening"].problem
    assert summaries["good"].judged == 4
    out = tmp_path / "out.jsonl"
    arguments = ["export", "evening", "--out", str(out), "--as", "pairs"]
    assert CliRunner().invoke(feedback, arguments, catch_exceptions=False).exit_code == 0
    assert len(list(read_rows(out))) == 2


def test_a_sound_collection_is_said_to_be_sound() -> None:
    make_store(collection_path("evening"), 1, CollectionSettings(mode="thumbs")).close()
    done = CliRunner().invoke(feedback, ["check", "evening"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "every row can be read" in done.output


def make_newer() -> str:
    """A collection with a judgement of a newer version; what is said of that."""
    spoil(make_judged("evening", 4), SPOILT_ROWS["an unknown verdict"][0])
    return SPOILT_ROWS["an unknown verdict"][1]


async def test_the_feedback_screen_names_what_it_cannot_read() -> None:
    words = make_newer()
    async with TunerApp(FeedbackScreen("evening")).run_test(size=(100, 24)) as pilot:
        await wait_for(pilot, "saved 3, 1 ready, 1 unreadable")
        await until(pilot, lambda: bool(pilot.app._notifications), lambda: "no notice")
        [notice] = list(pilot.app._notifications)
        assert words in notice.message
        assert "feedback check evening" in notice.message


def test_train_names_what_of_a_collection_it_leaves_out(tmp_path: Path) -> None:
    words = make_newer()
    spec = tmp_path / "run.toml"
    spec.write_text(
        '[model]\nsource = "./nothing"\n[data]\ntrain = "feedback:evening"\n[method]\nkind = "dpo"\n'
    )
    for arguments in (["--check"], []):
        done = CliRunner().invoke(train, [str(spec), *arguments])
        assert "1 row of evening cannot be read and is left out" in done.output
        assert words in done.output


def test_data_check_takes_a_collection_and_names_what_it_leaves_out() -> None:
    words = make_newer()
    done = CliRunner().invoke(data, ["check", "feedback:evening", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == 3
    assert words in done.stderr


def test_new_run_names_what_of_a_collection_it_leaves_out() -> None:
    words = make_newer()
    spec = RunSpec.model_validate(
        {"model": {"source": "x"}, "data": {"train": "feedback:evening"}, "method": {"kind": "dpo"}}
    )
    look = look_at_training(spec)
    assert look.problem is None
    assert words in "\n".join(look.left_out)


def test_a_deleted_collection_is_restored_beside_one_that_took_its_name() -> None:
    make_judged("evening", 3)
    delete_collection("evening")
    make_judged("evening", 1)
    with pytest.raises(InputError, match="Collection evening exists") as told:
        restore("evening")
    assert "evening-" in told.value.message and "--as" in told.value.hint
    restore_as("evening", "evening-again")
    with open_collection("evening-again") as store:
        assert store.annotation_count() == 3
    with open_collection("evening") as store:
        assert store.annotation_count() == 1
    with pytest.raises(NotFoundError, match="Nothing to restore"):
        restore_as("evening", "third")
    with pytest.raises(NotFoundError, match="No such collection"):
        restore("never-made")
