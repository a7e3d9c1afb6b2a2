"""A person's own files inside folders of ours stay; so does the trash of a wrong clock; names need not be UTF-8."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from tests.ui.recorded_runs import make_run, recorded_events
from tuner_tui.cli import tuner_tui
from tuner_tui.errors import TunerError
from tuner_tui.feedback.collections import trash_dir
from tuner_tui.runs import queue
from tuner_tui.runs.disk import complete_checkpoints
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.trash import RECORD_FILE, delete_run, deletions, empty_expired, restore_last
from tuner_tui.worker.training import checkpoints

NAMES = ("2026-11-20-first-try-94b2", "2026-11-21-second-try-94b3")
NOT_UTF_8 = os.fsdecode(b"caf\xe9-run")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def command(*arguments: str) -> str:
    done = CliRunner().invoke(tuner_tui, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def with_own_folders(run: RunFolder) -> list[Path]:
    """Two checkpoints, and what a person puts beside them: a copy of one, notes, and names with other digits."""
    for step in (20, 36):
        (run.checkpoints / f"step-{step:06}").mkdir()
        (run.checkpoints / f"step-{step:06}" / "weights").write_bytes(b"x" * 1000)
    own = [
        run.checkpoints / name
        for name in ("step-000020-backup", "step-by-step", "step-20", "step-²", "step-0000٣٦")
    ]
    for folder in own:
        folder.mkdir()
        (folder / "diary.txt").write_text("mine")
    return [folder / "diary.txt" for folder in own]


def test_cleaning_up_leaves_folders_beside_the_checkpoints(home: Path) -> None:
    run = make_run(home, NAMES[0], recorded_events())
    run.adapter.mkdir()
    own = with_own_folders(run)
    assert [path.name for path in complete_checkpoints(run)] == ["step-000020", "step-000036"]
    command("runs", "clean", "--yes")
    assert complete_checkpoints(run) == []
    assert all(path.read_text() == "mine" for path in own)


def test_training_leaves_folders_beside_the_checkpoints(home: Path) -> None:
    run = make_run(home, NAMES[0], recorded_events())
    own = with_own_folders(run)
    job = SimpleNamespace(
        folder=run, corrupt=set(), spec=SimpleNamespace(checkpoints=SimpleNamespace(keep=1))
    )
    checkpoints.CompleteCheckpoints._rotate(SimpleNamespace(job=job), 36, None)  # type: ignore[arg-type]
    assert [path.name for path in complete_checkpoints(run)] == ["step-000036"]
    assert all(path.read_text() == "mine" for path in own)


def test_only_whole_names_of_ours_are_leftovers(home: Path) -> None:
    run = make_run(home, NAMES[0], recorded_events())
    ours = (
        ".staging-000020-4711", ".staging-1234567-4711", ".staging-start-1", ".staging-adapter-1", ".old-adapter-4711",
        ".old-step-000020-4711", ".old-started-from-4711", ".plan.json.ab_c0123", ".report.md.abcdefgh",
    )  # fmt: skip
    persons = (
        ".old-adapter", ".old-notes", ".staging-mine", ".report.md.swp", ".plan.json.bak", ".report.md.old-one",
    )  # fmt: skip
    for name in (*ours, *persons):
        (run.path / name).mkdir()
    checkpoints.remove_leftovers(run.owned, run.path, run.checkpoints)
    assert not [name for name in ours if (run.path / name).exists()]
    assert [name for name in persons if (run.path / name).exists()] == list(persons)


def test_a_clock_that_was_behind_ends_nothing_too_soon(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (make_run(home, name, recorded_events()) for name in NAMES)
    delete_run(first)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1000.0)  # a battery that is empty
        delete_run(second)
        assert [deletion.name for deletion in deletions()] == [second.name, first.name]
    empty_expired()
    assert [deletion.name for deletion in deletions()] == [second.name, first.name]
    assert restore_last() == second.name


@pytest.mark.parametrize("at", ["-5", "1e300", "99999999999999999"])
def test_a_record_with_an_impossible_time_is_listed_and_kept(home: Path, at: str) -> None:
    run = make_run(home, NAMES[0], recorded_events())
    delete_run(run)
    (record,) = (home / "data" / "runs" / ".trash").glob(f"*/{RECORD_FILE}")
    record.write_text(f'{{"name": "{run.name}", "at": {at}, "size_bytes": 1}}')
    empty_expired()
    assert run.name in command("runs", "restore")
    command("runs", "restore", run.name)
    assert run.spec.is_file()


def test_a_name_that_is_not_utf_8_hides_no_other_run_and_is_told(home: Path) -> None:
    made_at = [make_run(home, name, recorded_events()) for name in (NOT_UTF_8, NAMES[0])]
    listed = json.loads(command("runs", "list", "--json"))
    assert {run["run"] for run in listed} == {"caf\\xe9-run", NAMES[0]}
    assert len(json.loads(command("runs", "disk", "--json"))["runs"]) == 2
    assert json.loads(command("runs", "show", NOT_UTF_8, "--json"))["run"] == "caf\\xe9-run"
    assert "caf\\xe9-run" in command("runs", "compare", NOT_UTF_8, NAMES[0], "--json").replace("\\\\", "\\")
    with pytest.raises(TunerError, match="not UTF-8"):
        delete_run(made_at[0])
    assert made_at[0].spec.is_file() and deletions() == []
    with pytest.raises(OSError, match="not UTF-8"):
        queue.enqueue(made_at[0])


def test_what_a_person_put_into_the_trash_of_collections_stays_there(home: Path) -> None:
    command("feedback", "add", "evening", "--prompt", "p", "--answer", "a", "--answer", "b", "--choose", "1")
    command("feedback", "delete", "evening", "--yes")
    (folder,) = trash_dir().iterdir()
    (folder / "photo.jpg").write_text("mine")
    (trash_dir().parent / "photo.jpg").write_text("mine too")
    command("feedback", "restore", "evening")
    assert (folder / "photo.jpg").read_text() == "mine"
    command("feedback", "delete", "evening", "--yes")
    command("feedback", "restore", "evening")
    assert list(trash_dir().iterdir()) == [folder]


def test_a_run_that_is_queued_while_it_is_measured_is_not_deleted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(home, NAMES[0], recorded_events())

    def queued_meanwhile(_: Path) -> int:
        queue.enqueue(run)
        return 0

    monkeypatch.setattr("tuner_tui.runs.trash.folder_size", queued_meanwhile)
    with pytest.raises(TunerError, match="live"):
        delete_run(run)
    assert run.spec.is_file()
    assert [path.name for path in (home / "data" / "runs" / ".trash").iterdir()] == [".tuner-tui"]


@pytest.mark.parametrize("key", ["folders.cache", "folders.data"])
def test_no_folder_is_set_inside_one_that_is_deleted_as_a_whole(home: Path, tmp_path: Path, key: str) -> None:
    run = make_run(home, NAMES[0], recorded_events())
    delete_run(run)
    assert restore_last() == run.name
    (tmp_path / "link").symlink_to(run.path)
    for place in (
        run.path / "caches",
        run.path / "x" / "y",
        tmp_path / "link" / "z",
        home / "data/runs/.trash",
    ):
        with pytest.raises(TunerError, match="inside one of"):
            command("config", "set", key, str(place))
    assert not (run.path / "caches").exists()


@pytest.mark.parametrize("key", ["folders.cache", "folders.data"])
def test_the_home_of_an_unknown_user_is_no_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TunerError, match="absolute path"):
        command("config", "set", key, "~nobody-of-that-name/x")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_deleted_to_where_it_cannot_be_restored_from(home: Path, tmp_path: Path) -> None:
    command("feedback", "add", "evening", "--prompt", "p", "--answer", "a", "--answer", "b", "--choose", "1")
    (tmp_path / "mine").mkdir()
    trash_dir().symlink_to(tmp_path / "mine")
    with pytest.raises(TunerError, match="is a symlink"):
        command("feedback", "delete", "evening", "--yes")
    assert (trash_dir().parent / "evening.sqlite3").is_file()
    assert list((tmp_path / "mine").iterdir()) == []
