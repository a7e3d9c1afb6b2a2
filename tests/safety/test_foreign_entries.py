"""Queue entries that name what is no run of this data folder: told by name, never run, and never in others' way."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from tests.faults.home import Home
from tuner_tui.config import paths
from tuner_tui.files import write_atomic
from tuner_tui.keeper import start
from tuner_tui.runs import queue
from tuner_tui.runs.events import RunFailed


def change(**fields: str) -> None:
    """Have the one entry that waits name something else."""
    path, entry = queue.entries()[0]
    write_atomic(path, msgspec.json.encode(msgspec.structs.replace(entry, lock="", **fields)))


@pytest.mark.parametrize("kind", ["elsewhere", "dots", "relative", "runs", "link"])
def test_an_entry_that_names_another_folder_is_never_run(home: Home, tmp_path: Path, kind: str) -> None:
    first, second = home.make_hopeless_run("first"), home.make_hopeless_run("second")
    foreign = tmp_path / "elsewhere"
    shutil.copytree(first.folder.path, foreign)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in foreign.iterdir())
    (paths.data_dir() / "link").symlink_to(foreign)
    start.hold_queue()
    start.submit(first.folder)
    change(
        folder={
            "elsewhere": str(foreign),
            "dots": f"{first.folder.path}/../../../../elsewhere",
            "relative": "../../elsewhere",
            "runs": f"{paths.runs_dir()}/..",
            "link": str(paths.data_dir() / "link"),
        }[kind]
    )
    start.submit(second.folder)
    start.release_queue()
    assert isinstance(second.wait_for_event(RunFailed), RunFailed)
    home.wait_until_idle()
    assert sorted((path.name, path.stat().st_mtime_ns) for path in foreign.iterdir()) == before
    assert "is not a run in" in queue.problems()[first.folder.name]
    assert first.status() == "queued"
    assert not (paths.data_dir() / "events.jsonl").exists()
    assert queue.withdraw(first.folder.name)
    first.submit()
    assert isinstance(first.wait_for_end(), RunFailed)
    home.wait_until_idle()


def test_an_entry_that_waits_for_a_path_is_never_run(home: Home, tmp_path: Path) -> None:
    first, second = home.make_hopeless_run("first"), home.make_hopeless_run("second")
    shutil.copytree(first.folder.path, tmp_path / "elsewhere")
    start.hold_queue()
    start.submit(second.folder, after=first.folder.name)
    change(after="../../../elsewhere")
    assert queue.entries() == []
    assert "../../../elsewhere" in queue.problems()[second.folder.name]


def test_a_data_folder_behind_a_symlink_has_runs_of_its_own(home: Home, tmp_path: Path) -> None:
    run = home.make_hopeless_run("run")
    start.hold_queue()
    start.submit(run.folder)
    (tmp_path / "same").symlink_to(paths.runs_dir())
    change(folder=str(tmp_path / "same" / run.folder.name))
    assert [Path(entry.folder).name for _, entry in queue.entries()] == [run.folder.name]
    assert queue.problems() == {}
