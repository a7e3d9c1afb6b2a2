"""The command without a command, and deleting runs from a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.ui.recorded_runs import every_status, held

if TYPE_CHECKING:
    from pathlib import Path


def tuner(home: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tuner_tui", *arguments],
        env=os.environ | {"TUNER_TUI_HOME": str(home)},
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_a_command_and_a_terminal_it_prints_help(tmp_path: Path) -> None:
    done = tuner(tmp_path)
    assert done.returncode == 0
    assert "Without a command, the app starts." in done.stdout
    assert "doctor" in done.stdout


def test_runs_delete_asks_and_leaves_live_runs_alone(tmp_path: Path) -> None:
    runs = every_status(tmp_path)
    with held(tmp_path, runs["running"]):
        assert tuner(tmp_path, "runs", "delete", runs["running"].name, "--yes").returncode == 4
        declined = tuner(tmp_path, "runs", "delete", runs["failed"].name, typed="n\n")
        assert declined.returncode == 0 and "Nothing was deleted." in declined.stdout
        nobody = tuner(tmp_path, "runs", "delete", runs["failed"].name, typed="")
        assert nobody.returncode == 2 and "There is no terminal to ask in. Next: Add --yes." in " ".join(
            nobody.stderr.split()
        )
        assert runs["failed"].path.is_dir()
        assert tuner(tmp_path, "runs", "delete", runs["failed"].name, typed="y\n").returncode == 0
        assert not runs["failed"].path.exists()
        assert tuner(tmp_path, "runs", "delete", runs["finished"].name, "--yes").returncode == 0
        assert not runs["finished"].path.exists()


def test_a_fault_of_ours_is_told_in_words_and_kept(tmp_path: Path) -> None:
    broken = "import tuner_tui.runs.folder as f, tuner_tui.cli as c; f.list_runs = lambda *_: 1 / 0; c.main()"
    done = subprocess.run(
        [sys.executable, "-c", broken, "runs", "list"],
        env=os.environ | {"TUNER_TUI_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr and "Traceback" not in done.stderr
    assert "Traceback" in (tmp_path / "data" / "fault.log").read_text()
