"""Exporting by the command: what is there at the end, and that nothing is left when it does not get there."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.sharing.test_push_run import made
from tuner_tui.sharing.export import remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["made"]


@pytest.fixture
def start(made: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `tuner-tui export last`."""

    def start_now(*options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tuner_tui", "export", "last", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TUNER_TUI_HOME": str(made / "home"), "HF_HUB_OFFLINE": "1"},
            cwd=tmp_path,
        )

    return start_now


@pytest.mark.slow
def test_a_merged_model_with_checksums(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    process = start("--as", "merged", "--out", "model")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "10 of 10 greedy answers equal" in " ".join(out.split())
    for line in (tmp_path / "model" / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / "model" / name).read_bytes()).hexdigest() == digest
    again = start("--as", "merged", "--out", "model")
    _, err = again.communicate(timeout=60)
    assert again.returncode == 2 and "not empty" in err


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_an_export_that_was_ended(
    how: signal.Signals, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start("--as", "merged", "--out", "model")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".model.partial-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(how)
    process.communicate(timeout=30)
    assert process.returncode == (130 if how is signal.SIGINT else -9)
    assert not (tmp_path / "model").exists()
    remove_leftovers(tmp_path / "model")
    assert not list(tmp_path.glob(".model.partial-*"))
    time.sleep(3)  # an orphan would go on writing
    assert not list(tmp_path.iterdir())


def test_a_script_is_python_and_takes_its_rows_along(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start("--as", "script", "--out", "again")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    folder = tmp_path / "again"
    compile((folder / "train.py").read_text(), "train.py", "exec")
    assert "import tuner_tui" not in (folder / "train.py").read_text()
    assert len((folder / "rows.jsonl").read_text().splitlines()) == 2
    assert "peft==0" in (folder / "requirements.txt").read_text()
