"""What is mounted inside a folder of ours is never deleted with it, and what stays is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.ui.recorded_runs import make_run, recorded_events
from tuner_tui import owned as deleting
from tuner_tui.cli import tuner_tui
from tuner_tui.config import paths
from tuner_tui.errors import TunerError
from tuner_tui.owned import NotOurs, Owned, mounts_below
from tuner_tui.runs.trash import deletions, empty_trash

NAME = "2026-11-20-first-try-94b2"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def mounted(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    real = mounts_below
    monkeypatch.setattr(
        deleting, "mounts_below", lambda folder: [place] if place.is_relative_to(folder) else real(folder)
    )


def test_a_mount_in_a_deleted_run_keeps_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(home, NAME, recorded_events())
    assert CliRunner().invoke(tuner_tui, ["runs", "delete", NAME, "--yes"]).exit_code == 0
    (inside,) = (paths.runs_dir() / ".trash").glob("*/run/control")
    (inside / "photo.jpg").write_text("mine")
    mounted(monkeypatch, inside)
    with pytest.raises(TunerError, match="mounted there") as raised:
        CliRunner().invoke(tuner_tui, ["runs", "empty-trash", "--yes"], catch_exceptions=False)
    assert NAME in raised.value.message and str(inside) in raised.value.message
    assert (inside / "photo.jpg").read_text() == "mine"
    assert [record.name for record in deletions()] == [NAME]  # nothing of it was deleted
    monkeypatch.undo()
    monkeypatch.setenv("TUNER_TUI_HOME", str(home))
    assert empty_trash()[1] == []
    assert not run.path.exists() and deletions() == []


def test_a_run_with_a_mount_is_not_moved(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(home, NAME, recorded_events())
    mounted(monkeypatch, run.control)
    with pytest.raises(TunerError, match="mounted there"):
        CliRunner().invoke(tuner_tui, ["runs", "delete", NAME, "--yes"], catch_exceptions=False)
    assert run.spec.is_file()


def test_mounts_are_found_below_a_folder() -> None:
    assert Path("/proc") in mounts_below(Path("/"))
    assert mounts_below(Path("/proc/self/nothing")) == []
    assert deleting._MOUNT_ESCAPE.sub(deleting._unescaped, r"/a\040b") == "/a b"


REAL = """
import sys
from pathlib import Path
from tuner_tui.owned import Owned
owned = Owned(Path(sys.argv[1]), "tokens")
for act in (lambda: owned.remove(owned.folder / "inner"), owned.remove_all):
    try:
        act()
    except OSError as error:
        print(error)
"""


def test_a_real_mount_stays(tmp_path: Path) -> None:
    owned = Owned(tmp_path / "ours", "tokens")
    owned.claim()
    place = owned.folder / "inner" / "with space"
    place.mkdir(parents=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.jpg").write_text("mine")
    script = 'mount --bind "$1" "$2" && "$3" -c "$4" "$5"'
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*command, str(mine), str(place), sys.executable, REAL, str(owned.folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    assert done.stdout.count("mounted there") == 2, done.stdout + done.stderr
    assert (mine / "photo.jpg").read_text() == "mine"
    with pytest.raises(NotOurs):
        owned.remove(tmp_path / "mine")
