"""A screen that was closed leaves no screen and no widget in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.screens_memory import live_widgets, nine_screens, visit
from tests.ui.recorded_runs import every_status, held
from tuner_tui.ui.app import TunerApp

if TYPE_CHECKING:
    from pathlib import Path

VISITS = 10


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "monitor" else pytest.mark.slow)
             for name in nine_screens({})],
)  # fmt: skip
async def test_nothing_is_left_of_closed_screens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm-256color")
    runs = every_status(tmp_path)
    with held(tmp_path, runs["running"]):
        app = TunerApp()
        async with app.run_test(size=(120, 40)) as pilot:
            make = nine_screens(runs)[name]
            for _ in range(2):
                await visit(pilot, make, 0.05)
            before = live_widgets()
            for _ in range(VISITS):
                await visit(pilot, make, 0.05)
            await pilot.pause(1.0)
            left = live_widgets() - before
            assert not [kind for kind, count in left.items() if count >= VISITS], left
