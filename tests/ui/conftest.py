"""What the tests of screens share: a data folder of their own, and a terminal that is always the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ui.recorded_runs import every_status, held

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for runs, settings and caches."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    for name in ("NO_COLOR", "LC_ALL", "LC_CTYPE", "COLORFGBG", "TMUX", "TUNER_TUI_PLAIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    return tmp_path


@pytest.fixture
def runs(home: Path) -> Iterator[dict[str, RunFolder]]:
    """A run of every status; the running one's lock is held."""
    made = every_status(home)
    with held(home, made["running"]):
        yield made
