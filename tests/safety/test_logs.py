"""The logs in the data folder: ours stay small, and a foreign file of their names loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tuner_tui.owned import LARGEST_LOG_BYTES, LOG_TITLE, open_own_log

if TYPE_CHECKING:
    from pathlib import Path

MINE = b"the person's own\n"
BROKEN = "import tuner_tui.runs.folder as f, tuner_tui.cli as c; f.list_runs = lambda *_: 1 / 0; c.main()"


def write(path: Path, line: bytes) -> None:
    with open_own_log(path) as log:
        log.write(line)


@pytest.mark.parametrize("is_link", [False, True])
def test_a_fault_replaces_no_file_of_its_logs_name(tmp_path: Path, is_link: bool) -> None:
    log = tmp_path / "data" / "fault.log"
    log.parent.mkdir()
    if is_link:
        (tmp_path / "mine").write_bytes(MINE)
        log.symlink_to(tmp_path / "mine")
    else:
        log.write_bytes(MINE)
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", BROKEN, "runs", "list"],
            env=os.environ | {"TUNER_TUI_HOME": str(tmp_path)},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1
    assert log.is_symlink() == is_link
    assert log.read_bytes().startswith(MINE)
    assert log.read_bytes().count(b"Traceback") == 2


def test_only_a_log_of_ours_is_emptied_when_it_is_large(tmp_path: Path) -> None:
    ours, foreign = tmp_path / "generation.log", tmp_path / "foreign.log"
    write(ours, b"old\n" * LARGEST_LOG_BYTES)
    foreign.write_bytes(MINE * LARGEST_LOG_BYTES)
    size = foreign.stat().st_size
    for path in (ours, foreign):
        write(path, b"new\n")
    assert ours.read_bytes() == LOG_TITLE + b"new\n"
    assert foreign.stat().st_size == size + len(b"new\n")
