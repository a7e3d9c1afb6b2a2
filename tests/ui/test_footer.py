"""On all screens, at several widths, the footer shows whole keys that work, and help at its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.ui.feedback_host import collection
from tests.ui.fixed_host import ANSWERS, TALK
from tests.ui.footer import footer_faults
from tests.ui.looking import until, wait_for
from tuner_tui.runs.summary import RunSummary
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.run_words import took_words, when_words
from tuner_tui.ui.screens.chat import ChatScreen
from tuner_tui.ui.screens.collections import Collections
from tuner_tui.ui.screens.doctor import DoctorScreen
from tuner_tui.ui.screens.downloads import DownloadsScreen
from tuner_tui.ui.screens.monitor import Monitor
from tuner_tui.ui.screens.new_run.screen import NewRunScreen
from tuner_tui.ui.screens.queue import QueueScreen
from tuner_tui.ui.screens.runs import RunsScreen
from tuner_tui.ui.screens.settings import SettingsScreen
from tuner_tui.ui.screens.share import ShareScreen
from tuner_tui.ui.widgets.runs_table import Columns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from textual.screen import Screen

    from tuner_tui.runs.folder import RunFolder

SCREENS: dict[str, tuple[Callable[[dict[str, RunFolder]], Screen[None]] | None, tuple[str, ...]]] = {
    "home": (None, ("down", "down", "down", "slash", "x", "escape", "S")),
    "runs": (lambda _: RunsScreen(), ("2", "3", "4", "5", "1", "slash", "x", "escape")),
    "monitor, live": (lambda runs: Monitor(runs["running"]), ("2", "3", "L", "4", "5", "1")),
    "monitor, ended": (lambda runs: Monitor(runs["finished"]), ("2", "3", "4", "5")),
    "share": (lambda runs: ShareScreen(runs["finished"]), ()),
    "queue": (lambda _: QueueScreen(), ("down",)),
    "settings": (lambda _: SettingsScreen(), ("down",)),
    "downloads": (lambda _: DownloadsScreen(), ()),
    "doctor": (lambda _: DoctorScreen(), ()),
    "collections": (lambda _: Collections(), ("enter",)),
    "new run": (lambda _: NewRunScreen(), ("enter", "ctrl+n", "ctrl+n", "ctrl+n", "ctrl+n")),
    "chat": (lambda _: ChatScreen(TALK), ("escape",)),
}


@pytest.mark.parametrize("width", [50, 80, 140])
@pytest.mark.parametrize("name", SCREENS)
async def test_the_footer_is_true(
    home: Path, runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch, name: str, width: int
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr("tuner_tui.hardware.torch_report.ask_torch", _NeverAnswered)
    collection("evening", ANSWERS)
    make, keys = SCREENS[name]
    app = TunerApp()
    async with app.run_test(size=(width, 24)) as pilot:
        await wait_for(pilot, "2 live")
        if make is not None:
            app.push_screen(make(runs))
            await pilot.pause()
        for key in ("", *keys):
            if key:
                await pilot.press(key)
            await until(pilot, lambda: not footer_faults(app), lambda: f"{footer_faults(app)}")


class _NeverAnswered:
    """PyTorch, still being asked."""

    def __init__(self) -> None:
        import threading

        self.answered = threading.Event()
        self.report = None


def test_a_time_in_a_list_is_never_cut_off() -> None:
    columns = Columns.at(140)
    now = time.time()
    for seconds in (0, 1, 59, 60, 89, 90, 3599, 3600, 5399, 5400, 86399, 129600, 999 * 86400, 9999 * 86400):
        live = RunSummary(status="running", started_at=now - min(seconds, 400 * 86400), seconds_left=seconds)
        ended = RunSummary(status="finished", started_at=now - 5, ended_at=now - min(seconds, 400 * 86400))
        for summary in (live, ended):
            assert len(when_words(summary, now)) <= columns.when
            assert len(took_words(summary, now)) <= columns.took
