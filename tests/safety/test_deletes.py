"""Nothing is deleted but below folders that we made and marked, and what a command deleted comes back."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.ui.recorded_runs import make_run, recorded_events
from tuner_tui.cli import tuner_tui
from tuner_tui.config import paths
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.owned import MARK, Layout, NotOurs, Owned, remove_hub_repository
from tuner_tui.runs import lock
from tuner_tui.runs.folder import RunFolder, list_runs
from tuner_tui.runs.notes import Note, read_note, write_note
from tuner_tui.runs.trash import (
    RECORD_FILE,
    delete_run,
    deletions,
    empty_expired,
    empty_trash,
    expired_bytes,
    restore,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PRODUCT = Path(__file__).resolve().parent.parent.parent / "tuner_tui"
DELETERS = {"rmtree", "unlink", "rmdir", "remove", "removedirs"}
MAY_DELETE = {"owned.py", "files.py"}
NAME = "2026-11-20-first-try-94b2"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> RunFolder:
    """A run of an earlier version, without a mark."""
    return make_run(home, NAME, recorded_events())


def command(*arguments: str, input: str = "") -> str:  # noqa: A002 - as in click
    done = CliRunner().invoke(tuner_tui, arguments, input=input)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def foreign_run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text("# mine")
    (folder / "thesis.txt").write_text("years of work")
    return folder


def test_only_two_files_delete_anything() -> None:
    calls = []
    for path in sorted(PRODUCT.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if str(path.relative_to(PRODUCT)) in MAY_DELETE or not any(name in text for name in DELETERS):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and node.attr in DELETERS:
                is_of_module = isinstance(node.value, ast.Name) and node.value.id in ("os", "shutil")
                if node.attr != "remove" or is_of_module:
                    calls.append(f"{path.name}:{node.lineno} {node.attr}")
            if isinstance(node, ast.ImportFrom) and node.module in ("os", "shutil"):
                calls += [f"{path.name}:{node.lineno}" for name in node.names if name.name in DELETERS]
    assert calls == []


@pytest.mark.parametrize("name", ["", " ", ".", "..", "/", "mine", "./mine", "../mine"])
def test_a_folder_with_a_run_toml_is_no_run(
    home: Path, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mine = foreign_run(tmp_path / "mine")
    monkeypatch.chdir(mine if name in ("", " ", ".") else tmp_path)
    for arguments in (("delete", "--yes"), ("note", "--text", "x"), ("stop",), ("resume",)):
        with pytest.raises(InputError):
            command("runs", arguments[0], name, *arguments[1:])
    with pytest.raises(InputError):
        command("runs", "delete", str(mine), "--yes")
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert run.path.is_dir()


def test_a_folder_among_the_runs_that_is_none_stays(home: Path) -> None:
    mine = foreign_run(home / "data" / "runs" / "photos")
    with pytest.raises(TunerError, match="not created by tuner-tui"):
        command("runs", "delete", "photos", "--yes")
    with pytest.raises(TunerError, match="not created by tuner-tui"):
        delete_run(RunFolder(mine))
    assert (mine / "thesis.txt").is_file()


def test_a_run_that_is_a_symlink_stays(home: Path, run: RunFolder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    run.path.rename(elsewhere)
    run.path.symlink_to(elsewhere)
    with pytest.raises(TunerError, match="symlink"):
        command("runs", "delete", NAME, "--yes")
    assert (elsewhere / "run.toml").is_file() and run.path.is_symlink()


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs", "clean", "--yes"),
        ("runs", "empty-trash", "--yes"),
        ("data", "cache", "clear"),
        ("models", "clear", "--all", "--yes"),
    ],
)
def test_folders_of_others_in_a_named_cache_stay(
    home: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    big = tmp_path / "big"
    for name in ("tokens", "trash", "pushes", "dequantised", "headers", "tokenizers", "photos"):
        (big / name / "inner").mkdir(parents=True)
        (big / name / "inner" / "mine.txt").write_text("mine")
        (big / name / "mine.txt").write_text("mine")
    for path in (*big.rglob("*"), big):
        os.utime(path, (1.0, 1.0))
    (home / "config").mkdir(parents=True)
    (home / "config" / "settings.toml").write_text(f'[folders]\ncache = "{big}"\n')
    before = sorted(big.rglob("*"))
    command(*arguments)
    empty_trash()
    empty_expired()
    assert sorted(big.rglob("*")) == before


def test_a_marked_folder_is_the_only_thing_that_is_deleted(tmp_path: Path) -> None:
    owned = Owned(tmp_path / "ours", "tokens")
    owned.claim()
    (owned.folder / "inner").mkdir()
    (owned.folder / "inner" / "file").write_text("x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    (owned.folder / "link").symlink_to(outside)
    for path in (
        Path(),
        owned.folder,
        owned.folder / "..",
        owned.folder / ".." / "outside",
        outside,
        outside / "file",
        tmp_path,
        owned.folder / "link",
        owned.folder / "link" / "file",
    ):
        with pytest.raises(NotOurs):
            owned.remove(path)
    with pytest.raises(NotOurs):
        Owned(owned.folder, "trash").remove(owned.folder / "inner")  # the mark says something else
    with pytest.raises(NotOurs):
        Owned(outside, "tokens").remove(outside / "file")
    with pytest.raises(NotOurs):
        Owned(outside, "tokens").remove_all()
    with pytest.raises(NotOurs):
        Owned(outside, "tokens").claim()
    assert (outside / "file").is_file()
    owned.remove(owned.folder / "inner")
    owned.remove_all()  # a symlink in it goes, and not what it leads to
    assert not owned.folder.exists()
    assert (outside / "file").is_file()


def test_an_earlier_folder_is_recognised_and_marked_when_all_of_it_is_ours(tmp_path: Path) -> None:
    layout = Layout("[0-9a-f]{4}", Path.is_file, lambda path: path.read_text() == "ours")
    owned = Owned(tmp_path, "tokens", layout=layout, may_be_older=True)
    (tmp_path / "other").touch()
    (tmp_path / "2024").write_text("mine")
    assert not owned.is_ours()
    (tmp_path / "12ab").write_text("ours")
    assert not Owned(tmp_path, "tokens", layout=layout).is_ours()  # its place is not ours
    assert owned.is_ours()
    assert [path.name for path in owned.entries()] == ["12ab"]
    for name in ("other", "2024"):
        with pytest.raises(NotOurs):
            owned.remove(tmp_path / name)
    for act in (owned.remove_all, lambda: owned.move_all(tmp_path.with_name("away"))):
        with pytest.raises(NotOurs):
            act()
    assert not (tmp_path / MARK).exists()
    for name in ("other", "2024"):
        (tmp_path / name).unlink()
    owned.claim()
    assert (tmp_path / MARK).is_file()
    (tmp_path / "other").touch()
    assert [path.name for path in owned.entries()] == ["12ab"]


def test_the_hubs_cache_gives_up_only_its_repositories(tmp_path: Path) -> None:
    cache = tmp_path / "hub"
    for name in ("models--a--b", "models--mine", "photos"):
        (cache / name / "snapshots").mkdir(parents=True)
    (cache / "models--mine" / "thesis.txt").touch()
    (cache / "models--x--y").symlink_to(tmp_path)
    for name in ("models--mine", "photos", "models--x--y", ".", ""):
        with pytest.raises(NotOurs):
            remove_hub_repository(cache / name, cache)
    with pytest.raises(NotOurs):
        remove_hub_repository(cache / "models--a--b", tmp_path)
    remove_hub_repository(cache / "models--a--b", cache)
    assert sorted(path.name for path in cache.iterdir()) == ["models--mine", "models--x--y", "photos"]


def test_a_deleted_run_comes_back_in_another_process(run: RunFolder) -> None:
    write_note(run.name, Note(text="dear to me"))
    before = {path.relative_to(run.path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    shown = command("runs", "delete", NAME, "--yes")
    assert f"runs restore {NAME}" in shown and "30 days" in shown
    assert list_runs() == [] and read_note(run.name).is_empty
    empty_expired()  # as an app does that closes
    assert NAME in command("runs", "restore")
    in_a_shell = [sys.executable, "-m", "tuner_tui", "runs", "restore", NAME]
    done = subprocess.run(in_a_shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "is restored" in done.stdout
    after = {path.relative_to(run.path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert before.items() <= after.items()
    assert read_note(run.name).text == "dear to me"
    assert deletions() == []
    with pytest.raises(NotFoundError):
        restore(NAME)


@pytest.mark.parametrize("text", ["first-try", "first-try-94b2", "94b2", "last", "2026-11-20"])
def test_an_unconfirmed_deletion_takes_the_full_name_only(run: RunFolder, text: str) -> None:
    with pytest.raises(InputError) as raised:
        command("runs", "delete", text, "--yes")
    assert NAME in raised.value.message and f"runs delete {NAME} --yes" in raised.value.hint
    assert run.path.is_dir()
    assert f"Delete {NAME} (" in command("runs", "delete", text, input="n\n")
    assert run.path.is_dir()
    assert f"Delete {NAME} (" in command("runs", "delete", text, input="y\n")
    assert not run.path.exists()


def test_a_taken_place_is_told_and_both_stay(home: Path, run: RunFolder) -> None:
    delete_run(run)
    other = make_run(home, NAME, recorded_events())
    (other.path / "new").touch()
    with pytest.raises(TunerError, match="exists again"):
        command("runs", "restore", NAME)
    assert (other.path / "new").is_file()
    assert [deleted.name for deleted in deletions()] == [NAME]
    delete_run(other)
    assert restore(NAME) == NAME
    assert (run.path / "new").is_file()  # the one that was deleted last


def test_the_trash_is_emptied_when_asked_and_when_its_time_is_over(
    home: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_run(run)
    assert expired_bytes() == 0
    command("runs", "clean", "--yes")
    assert deletions()
    assert "Freed" in command("runs", "empty-trash", "--yes")
    assert deletions() == []
    delete_run(make_run(home, NAME, recorded_events()))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 31 * 86400)
    assert expired_bytes() > 0
    empty_expired()
    assert deletions() == []


def test_what_is_being_restored_is_left_to_it(run: RunFolder) -> None:
    delete_run(run)
    (place,) = (paths.runs_dir() / ".trash").glob("*/lock")
    elsewhere = lock.acquire(place)
    assert elsewhere is not None
    with pytest.raises(TunerError, match="elsewhere"):
        restore(NAME)
    command("runs", "empty-trash", "--yes")
    elsewhere.release()
    assert restore(NAME) == NAME
    assert run.path.is_dir()


def test_a_forged_record_brings_nothing_elsewhere(run: RunFolder, tmp_path: Path) -> None:
    delete_run(run)
    (record,) = (paths.runs_dir() / ".trash").glob(f"*/{RECORD_FILE}")
    record.write_text(f'{{"name": "../../{tmp_path.name}-x", "at": 1.0, "size_bytes": 1, "kept_until": 9e9}}')
    with pytest.raises(InputError):
        restore(f"../../{tmp_path.name}-x")
    with pytest.raises(TunerError):
        restore(f"{tmp_path.name}-x")


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_a_named_folder_of_others_is_refused_for_our_files(
    home: Path, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    big = tmp_path / "big"
    big.mkdir()
    make(big / "photos")
    for key in ("folders.cache", "folders.data"):
        with pytest.raises(InputError, match="has other files"):
            command("config", "set", key, str(big))
        command("config", "set", key, str(big / "tuner-tui"))
        command("config", "set", key, str(big / "tuner-tui"))
