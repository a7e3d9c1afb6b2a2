"""On all screens, at several widths, the footer shows whole keys that work, and help at its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.ui.feedback_host import collection
from tests.ui.fixed_host import ANSWERS, TALK
from tests.ui.footer import footer_faults
from tests.ui.looking import footer_keys, until, wait_for
from tests.ui.recorded_runs import make_run
from tuner_tui.feedback.records import CollectionSettings
from tuner_tui.runs import queue
from tuner_tui.runs.summary import RunSummary
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.run_words import took_words, when_words
from tuner_tui.ui.screens.chat import ChatScreen
from tuner_tui.ui.screens.collections import Collections
from tuner_tui.ui.screens.doctor import DoctorScreen
from tuner_tui.ui.screens.downloads import DownloadsScreen
from tuner_tui.ui.screens.feedback import FeedbackScreen
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

    from tuner_tui.feedback.records import Mode
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


ENTER = "⏎"


async def test_a_list_offers_what_enter_does_and_nothing_while_it_is_empty(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "hub"))
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        for make, words in (
            (QueueScreen, "The queue is empty"),
            (DownloadsScreen, "cache is empty"),
            (Collections, "collection"),
        ):
            app.push_screen(make())
            await wait_for(pilot, words)
            assert ENTER not in footer_keys(app), make
            app.pop_screen()
        waiting = make_run(home, "2026-11-22-later-bbbb", [])
        queue.enqueue(waiting)
        queue.hold()
        app.push_screen(QueueScreen())
        await wait_for(pilot, "1  2026-11-22-later-bbbb")
        await until(pilot, lambda: footer_keys(app).get(ENTER) == "Open", lambda: f"{footer_keys(app)}")
        queue.withdraw(waiting.name)
        await wait_for(pilot, "The queue is empty")
        await until(pilot, lambda: ENTER not in footer_keys(app), lambda: f"{footer_keys(app)}")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("mode", "count", "keys"),
    [
        ("pairs", 2, "1-2"),
        ("pairs", 4, "1-4"),
        ("ranking", 3, "1-3"),
        ("thumbs", 1, "1-2"),
        ("scores", 1, "1-5"),
        ("demonstrations", 0, ""),
    ],
)
async def test_feedback_names_the_numbers_that_there_are(mode: Mode, count: int, keys: str) -> None:
    collection("evening", [[f"answer {place}" for place in range(count)]], CollectionSettings(mode=mode))
    app = TunerApp(FeedbackScreen("evening"))
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "saved 0, 1 ready")
        shown = {key: name for key, name in footer_keys(app).items() if name == "Choose"}
        assert shown == ({keys: "Choose"} if keys else {})
        assert not footer_faults(app)


@pytest.mark.usefixtures("home")
async def test_chat_names_the_numbers_of_its_answers() -> None:
    app = TunerApp(ChatScreen(TALK))
    async with app.run_test(size=(140, 24)) as pilot:
        await pilot.press("tab")
        await until(pilot, lambda: footer_keys(app).get("1-2") == "Better", lambda: f"{footer_keys(app)}")
    app = TunerApp(ChatScreen(TALK.with_candidates(TALK.candidates[:1])))
    async with app.run_test(size=(140, 24)) as pilot:
        await pilot.press("tab")
        await until(pilot, lambda: "Good" in footer_keys(app).values())
        assert "Better" not in footer_keys(app).values()


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
