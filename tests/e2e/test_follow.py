"""Following a run in a real terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.terminal import Terminal, has_tmux
from tests.ui.recorded_runs import held, make_run, until_step

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not has_tmux(), reason="tmux is not installed")]


def test_ctrl_c_takes_the_bar_away(tmp_path: Path) -> None:
    run = make_run(tmp_path, "2026-11-21-octopus-3f2a", until_step(16))
    command = [sys.executable, "-m", "tuner_tui", "runs", "follow", run.name]
    environment = {"TUNER_TUI_HOME": str(tmp_path), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    with held(tmp_path, run), Terminal(command, environment) as terminal:
        terminal.wait_for("16/36", 60)
        terminal.press("C-c")
        text = terminal.wait_for("[ended 130]", 60)
    end = text.partition("Left; ")[2].split()
    assert end[:2] == [run.name, "continues."] and end[-2:] == ["[ended", "130]"]
    assert "16/36" not in text and "━" not in text  # no bar that stays as it was
