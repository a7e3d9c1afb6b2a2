"""Disk use, cleaning up and the trash: what is said is what goes, and for 30 days it comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.ui.recorded_runs import every_status, held
from tuner_tui.cli.runs import runs as runs_command
from tuner_tui.config import paths
from tuner_tui.data.tokens import token_cache
from tuner_tui.errors import NotFoundError, RunProblem, TunerError
from tuner_tui.files import folder_size
from tuner_tui.models import dequantised
from tuner_tui.models.dequantised import ORIGIN_FILE
from tuner_tui.owned import Owned
from tuner_tui.runs.disk import clean_up_items, complete_checkpoints, owned_pushes, run_disk
from tuner_tui.runs.folder import RunFolder, list_runs
from tuner_tui.runs.notes import Note, read_note, write_note
from tuner_tui.runs.queue import queued_names, withdraw
from tuner_tui.runs.trash import (
    LOCK_FILE,
    RECORD_FILE,
    delete_items,
    delete_run,
    deletions,
    empty_expired,
    empty_trash,
    expired_bytes,
    restore,
    restore_last,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, RunFolder]]:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    made = every_status(tmp_path)
    for status in ("finished", "stopped", "failed"):
        for step in (20, 36):
            checkpoint = made[status].checkpoints / f"step-{step:06}"
            checkpoint.mkdir()
            (checkpoint / "adapter_model.safetensors").write_bytes(b"x" * 1000)
    (made["finished"].checkpoints / ".making-step-000040").mkdir()
    made["finished"].adapter.mkdir()
    (made["finished"].adapter / "adapter_model.safetensors").write_bytes(b"x" * 500)
    with held(tmp_path):
        yield made


def fill_caches() -> None:
    model = paths.dequantised_dir() / "0123456789abcdef"
    model.mkdir(parents=True)
    (model / ORIGIN_FILE).write_text('{"name": "octopus.gguf", "made_at": 1.0}')
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"x" * 7000)
    tokens = token_cache.owned().claim()
    rows = tokens / f"{'0' * 32}{token_cache.SUFFIX}"
    rows.write_bytes(b"x" * 300)
    fresh = owned_pushes().claim()
    staged = fresh / "a-run-adapter-default-trained"
    staged.mkdir()
    (staged / "SHA256SUMS").write_bytes(b"x" * 300)
    leftover = paths.runs_dir() / ".deleting-half"
    RunFolder(leftover).owned.claim()
    (leftover / "rest").write_bytes(b"x" * 200)
    for path in (tokens, rows, fresh, leftover):  # and not what is staged there
        os.utime(path, (time.time() - 3600,) * 2)


def command(*arguments: str) -> str:
    done = CliRunner().invoke(runs_command, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_what_a_run_takes(runs: dict[str, RunFolder]) -> None:
    taken = run_disk(runs["finished"])
    assert (taken.checkpoints, taken.checkpoint_count, taken.adapter) == (2000, 2, 500)
    assert taken.total == folder_size(runs["finished"].path)


def test_what_can_go_and_what_is_needed(runs: dict[str, RunFolder]) -> None:
    fill_caches()
    items = {(item.kind, item.name): item.size_bytes for item in clean_up_items(queued_names())}
    assert items == {  # and not the model and the tokens, which the run that waits may need
        ("checkpoints", runs["finished"].name): 2000,
        ("leftovers", ".deleting-half"): folder_size(paths.runs_dir() / ".deleting-half"),
    }
    assert withdraw(runs["queued"].name)
    assert [item.name for item in clean_up_items(()) if item.kind == "cache"] == ["tokens"]
    sizes = [item.size_bytes for item in clean_up_items(())]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == folder_size(paths.dequantised_dir())


def test_a_live_run_keeps_its_model(runs: dict[str, RunFolder], tmp_path: Path) -> None:
    from tuner_tui.runs import lock

    fill_caches()
    withdraw(runs["queued"].name)
    working = lock.acquire(runs["running"].lock)
    assert working is not None
    assert "model" not in {item.kind for item in clean_up_items(())}
    working.release()
    assert "model" in {item.kind for item in clean_up_items(())}


def test_clean_frees_what_it_says(runs: dict[str, RunFolder]) -> None:
    fill_caches()
    withdraw(runs["queued"].name)
    for earlier in (runs["finished"].owned, dequantised.owned()):
        earlier.require()  # marked at first use, which takes room too
    before = folder_size(paths.data_dir()) + folder_size(paths.cache_dir())
    report = json.loads(command("disk", "--json"))
    said = sum(item["size_bytes"] for item in report["clean_up"])
    shown = command("clean", "--yes")
    assert "octopus.gguf" in shown
    assert "The adapter stays" in shown
    after = folder_size(paths.data_dir()) + folder_size(paths.cache_dir())
    assert before - after == said
    assert complete_checkpoints(runs["finished"]) == []
    assert len(complete_checkpoints(runs["stopped"])) == 2
    assert runs["finished"].adapter.is_dir()
    assert "Nothing is removable" in command("clean", "--yes")


def test_clean_takes_only_what_is_named(runs: dict[str, RunFolder]) -> None:
    fill_caches()
    withdraw(runs["queued"].name)
    command("clean", "--only", "cache", "--name", "tokens", "--yes")
    assert token_cache.owned().entries() == []
    assert complete_checkpoints(runs["finished"])
    with pytest.raises(NotFoundError):
        command("clean", "--name", "nothing", "--yes")


def test_a_run_comes_back_with_its_note(runs: dict[str, RunFolder]) -> None:
    run = runs["finished"]
    write_note(run.name, Note(text="dear to me"))
    run.owned.require()  # marked at first use
    before = {path.relative_to(run.path): path.stat().st_size for path in run.path.rglob("*")}
    deletion = delete_run(run)
    assert deletion.size_bytes > 2500
    assert run not in list_runs()
    assert read_note(run.name).is_empty
    assert restore_last() == run.name
    assert run in list_runs()
    assert {path.relative_to(run.path): path.stat().st_size for path in run.path.rglob("*")} == before
    assert read_note(run.name).text == "dear to me"
    assert restore_last() is None


def test_the_last_deleted_comes_back_first_and_a_taken_place_is_told(runs: dict[str, RunFolder]) -> None:
    delete_run(runs["finished"])
    delete_run(runs["stopped"])
    assert restore_last() == runs["stopped"].name
    runs["finished"].path.mkdir()
    with pytest.raises(TunerError, match="cannot be restored"):
        restore_last()
    runs["finished"].path.rmdir()
    assert restore_last() == runs["finished"].name


def test_a_live_run_is_not_deleted(runs: dict[str, RunFolder]) -> None:
    with pytest.raises(RunProblem, match="live"):
        delete_run(runs["queued"])
    assert runs["queued"].path.is_dir()


def test_all_or_none(runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs["finished"]
    with pytest.raises(TunerError, match="cannot be deleted"):
        delete_items(run.owned, [run.checkpoints, run.path / "gone"], "both")
    real = Owned.move

    def fails_at_the_second(owned: Owned, path: Path, target: Path) -> None:
        if path == run.adapter:
            raise OSError(28, "No space left on device")
        real(owned, path, target)

    monkeypatch.setattr(Owned, "move", fails_at_the_second)
    with pytest.raises(TunerError, match="No space left"):
        delete_items(run.owned, [run.checkpoints, run.adapter], "both")
    assert complete_checkpoints(run) and run.adapter.is_dir()
    assert deletions() == []


def test_items_come_back_in_another_process(runs: dict[str, RunFolder]) -> None:
    fill_caches()
    run, rows = runs["finished"], token_cache.owned().entries()
    steps = complete_checkpoints(run)
    delete_items(run.owned, steps, f"{run.name} checkpoints")
    delete_items(token_cache.owned(), rows, "tokens cache")
    assert not any(path.exists() for path in (*steps, *rows))
    empty_expired()  # as an app does that closes
    assert f"{run.name} checkpoints" in command("restore")
    restore_command = [sys.executable, "-m", "tuner_tui", "runs", "restore", f"{run.name} checkpoints"]
    assert subprocess.run(restore_command, capture_output=True, check=False).returncode == 0
    assert complete_checkpoints(run) == steps
    assert folder_size(run.checkpoints) == 2000
    assert restore("tokens cache") == "tokens cache"
    assert all(path.is_file() for path in rows)


def test_checkpoints_of_a_run_that_is_deleted_too_wait_for_it(runs: dict[str, RunFolder]) -> None:
    run = runs["finished"]
    delete_items(run.owned, complete_checkpoints(run), f"{run.name} checkpoints")
    delete_run(run)
    with pytest.raises(TunerError, match="does not exist") as raised:
        restore(f"{run.name} checkpoints")
    assert f"runs restore {run.name}" in raised.value.hint
    assert restore(run.name) == run.name
    restore(f"{run.name} checkpoints")
    assert len(complete_checkpoints(run)) == 2


@pytest.mark.parametrize("place", ["/tmp/x", "../x", "a/../../x", ".trash/x", "", "linked/x"])
def test_a_forged_record_puts_nothing_elsewhere(
    runs: dict[str, RunFolder], tmp_path: Path, place: str
) -> None:
    run = runs["finished"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (paths.runs_dir() / "linked").symlink_to(elsewhere)
    delete_items(run.owned, complete_checkpoints(run)[:1], "steps")
    (record,) = (paths.runs_dir() / ".trash").glob(f"*/{RECORD_FILE}")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"items": [place]}))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(TunerError):
        restore("steps")
    assert sorted(tmp_path.rglob("*")) == before


def test_emptying_frees_the_disk(runs: dict[str, RunFolder]) -> None:
    fill_caches()
    delete_run(runs["finished"])
    delete_items(token_cache.owned(), token_cache.owned().entries(), "tokens cache")
    held = sum(deletion.size_bytes for deletion in deletions())
    freed, stayed = empty_trash()
    assert freed >= held > 2500
    assert stayed == [] == deletions()
    assert not runs["finished"].path.exists()


def test_what_is_kept_and_what_is_over(runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    delete_run(runs["finished"])
    delete_items(runs["stopped"].owned, complete_checkpoints(runs["stopped"]), "steps")
    record, other = sorted(
        (paths.runs_dir() / ".trash").glob(f"*/{RECORD_FILE}"), key=lambda path: path.stat().st_size
    )
    record.write_text(json.dumps(json.loads(record.read_text()) | {"kept_until": None}))  # of an earlier app
    other.write_text("{")  # damaged
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 29 * 86400)
    empty_expired()
    assert record.is_file() and other.is_file() and expired_bytes() == 0
    monkeypatch.setattr(time, "time", lambda: real() + 31 * 86400)
    assert expired_bytes() > 2500
    assert "trash" in {item.name for item in clean_up_items(())}
    empty_expired()
    assert not record.exists() and not other.exists() and expired_bytes() == 0


def test_a_crash_while_deleting_loses_nothing(runs: dict[str, RunFolder]) -> None:
    name = runs["finished"].name
    code = (
        "import os\nfrom tuner_tui.runs import notes\nfrom tuner_tui.runs.folder import find_run\n"
        "from tuner_tui.runs.trash import delete_run\n"
        "notes.owned = lambda: os.kill(os.getpid(), 9)\n"  # between the run and its note
        f"delete_run(find_run({name!r}))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not runs["finished"].path.exists()
    empty_expired()
    (folder,) = (path.parent for path in (paths.runs_dir() / ".trash").glob(f"*/{LOCK_FILE}"))
    assert folder.is_dir()
    assert restore(name) == name
    assert runs["finished"].spec.is_file()
