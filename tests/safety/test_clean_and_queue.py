"""What cannot go is named and keeps nothing else; queue entries without a run; modes of checkpoints."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.ui.recorded_runs import make_run, recorded_events
from tuner_tui.cli import tuner_tui
from tuner_tui.config import paths
from tuner_tui.errors import NotFoundError, TunerError
from tuner_tui.files import make_folder, settle_modes
from tuner_tui.runs import queue
from tuner_tui.runs.disk import clean_up_items, complete_checkpoints
from tuner_tui.runs.folder import RunFolder

NAMES = ("2026-11-20-first-try-94b2", "2026-11-21-second-try-94b3")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def runs(home: Path) -> tuple[RunFolder, RunFolder]:
    """Two finished runs with two checkpoints each."""
    first, second = (make_run(home, name, recorded_events()) for name in NAMES)
    for run in (first, second):
        run.adapter.mkdir()
        for step in (20, 36):
            checkpoint = run.checkpoints / f"step-{step:06}"
            checkpoint.mkdir()
            (checkpoint / "weights").write_bytes(b"x" * 1000)
    return first, second


@pytest.mark.parametrize("what", ["checkpoint", "checkpoints", "run"])
def test_a_symlink_keeps_nothing_else(runs: tuple[RunFolder, RunFolder], tmp_path: Path, what: str) -> None:
    first, second = runs
    place = {
        "checkpoint": first.checkpoints / "step-000020",
        "checkpoints": first.checkpoints,
        "run": first.path,
    }[what]
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    inside = sorted(path.relative_to(tmp_path) for path in (tmp_path / "elsewhere").rglob("*"))
    done = CliRunner().invoke(tuner_tui, ["runs", "clean", "--yes"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert complete_checkpoints(second) == []
    assert sorted(path.relative_to(tmp_path) for path in (tmp_path / "elsewhere").rglob("*")) == inside
    assert place.is_symlink()
    if what == "checkpoint":
        assert [path.name for path in first.checkpoints.iterdir()] == ["step-000020"]


def test_what_cannot_be_deleted_is_named_at_the_end(
    runs: tuple[RunFolder, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuner_tui.owned import Owned

    first, second = runs
    stays = first.checkpoints / "step-000020"
    real = Owned.remove

    def remove(owned: Owned, path: Path) -> None:
        if path == stays:
            raise PermissionError(13, "Permission denied", str(path))
        real(owned, path)

    monkeypatch.setattr(Owned, "remove", remove)
    assert len(clean_up_items(())) == 2
    with pytest.raises(TunerError, match="step-000020") as raised:
        CliRunner().invoke(tuner_tui, ["runs", "clean", "--yes"], catch_exceptions=False)
    assert first.name in raised.value.message
    assert complete_checkpoints(first) == [stays] and complete_checkpoints(second) == []


@pytest.mark.parametrize("content", [b"{", b'{"folder": "/nowhere"}', b'{"folder": "x\\u0000y"}'])
def test_an_entry_without_a_run_can_be_taken_out(home: Path, content: bytes) -> None:
    folder = queue.owned().claim()
    (folder / f"{1:020d}-zz.json").write_bytes(content)
    (folder / f"{2:020d}-other.json").write_bytes(content)
    done = CliRunner().invoke(tuner_tui, ["queue", "remove", "zz"], catch_exceptions=False)
    assert done.exit_code == 0 and "removed from the queue" in done.stdout
    assert queue.queued_names() == {"other"}
    assert CliRunner().invoke(tuner_tui, ["queue", "remove", "oth"], catch_exceptions=False).exit_code == 0
    with pytest.raises(NotFoundError):
        CliRunner().invoke(tuner_tui, ["queue", "remove", "zz"], catch_exceptions=False)


@pytest.mark.parametrize("umask", [0o002, 0o000, 0o022])
def test_a_checkpoint_has_the_modes_of_its_run(home: Path, umask: int) -> None:
    from tuner_tui.worker.training.checkpoints import _make_complete

    before = os.umask(umask)
    try:
        checkpoints = paths.runs_dir() / "a-run" / "checkpoints"
        make_folder(checkpoints)
        made = checkpoints / ".staging-000001-1" / "checkpoint-1"
        made.mkdir(parents=True)  # as a library does
        (made / "weights").write_bytes(b"x")
        _make_complete(made, 1, "", 0)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (made, *made.iterdir())}
        assert set(modes.values()) == {0o700, 0o600} and modes[made.name] == 0o700
        shared = checkpoints.parent / "shared"
        shared.mkdir()
        shared.chmod(0o2775)
        inner = shared / "x" / "y"
        inner.mkdir(parents=True)
        (inner / "weights").write_bytes(b"x")
        settle_modes(inner, place=shared)
        assert stat.S_IMODE((inner / "weights").stat().st_mode) == 0o666 & ~umask
    finally:
        os.umask(before)


def test_a_queue_folder_of_somebody_else_is_neither_read_nor_written(home: Path) -> None:
    folder = paths.queue_dir()
    folder.mkdir(parents=True)
    mine = {
        "1-mine.json": '{"text": "mine"}',
        "order": "mine\n",
        "regardless": "1-mine\n",
        "letters.txt": "x",
    }
    for name, text in mine.items():
        (folder / name).write_text(text)
    assert queue.queued_names() == set() and queue.entries() == []
    for arguments in (["start", "mine"], ["move", "mine", "first"], ["remove", "mine"]):
        with pytest.raises(TunerError):
            CliRunner().invoke(tuner_tui, ["queue", *arguments], catch_exceptions=False)
    assert {path.name: path.read_text() for path in folder.iterdir()} == mine
