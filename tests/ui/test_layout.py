"""What holds for each screen at 80x24: the command and the keys below it, and help with each key once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ui.looking import screen_lines, until, wait_for
from tests.ui.recorded_runs import make_run, recorded_events
from tuner_tui.planning.plan import Choice
from tuner_tui.runs.events import ChoicesMade, Warned
from tuner_tui.runs.journal import append_event
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.keys import keys_of
from tuner_tui.ui.screens.collections import Collections
from tuner_tui.ui.screens.doctor import DoctorScreen
from tuner_tui.ui.screens.downloads import DownloadsScreen
from tuner_tui.ui.screens.home import Home
from tuner_tui.ui.screens.monitor import Monitor
from tuner_tui.ui.screens.new_run.screen import NewRunScreen
from tuner_tui.ui.screens.queue import QueueScreen
from tuner_tui.ui.screens.runs import RunsScreen
from tuner_tui.ui.screens.settings import SettingsScreen
from tuner_tui.ui.screens.share import ShareScreen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.ui.screens.base import TunerScreen

WITHOUT_RUNS: list[Callable[[], TunerScreen]] = [
    DownloadsScreen,
    SettingsScreen,
    QueueScreen,
    Collections,
    RunsScreen,
    DoctorScreen,
    NewRunScreen,
]


@pytest.mark.parametrize("make", WITHOUT_RUNS)
async def test_the_command_stands_above_the_keys(
    home: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], TunerScreen]
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "hub"))
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "No runs yet")
        app.push_screen(make())
        await until(pilot, lambda: not isinstance(app.screen, Home))
        await pilot.pause(0.5)
        rows = [number for number, line in enumerate(screen_lines(app)) if line.startswith(" $ ")]
        assert rows == [22]


async def test_help_lists_each_key_once_and_each_name_once(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        for make in (
            None,
            *WITHOUT_RUNS,
            lambda: Monitor(runs["finished"]),
            lambda: ShareScreen(runs["finished"]),
        ):
            if make is not None:
                app.push_screen(make())
                await pilot.pause(0.5)
            keys = keys_of(app.screen)
            shown = [part for key in keys for part in key.display.split()]
            names = [key.name for key in keys]
            assert len(shown) == len(set(shown)), f"{app.screen}: {sorted(shown)}"
            assert len(names) == len(set(names)), f"{app.screen}: {sorted(names)}"
            if make is not None:
                app.pop_screen()
                await pilot.pause()


async def test_the_queues_keys_say_what_they_do(runs: dict[str, RunFolder], home: Path) -> None:
    from tuner_tui.runs.queue import enqueue

    enqueue(make_run(home, "2026-11-22-later-bbbb", []))
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "live")
        await pilot.press("w")
        await wait_for(pilot, "2 waiting")
        told = {key.name: (key.display, key.tooltip) for key in keys_of(app.screen)}
        assert told["Earlier"] == ("K", "Move up")
        assert told["To front"] == ("T", "Move it to the front of the queue")
        await pilot.press("question_mark")
        await wait_for(pilot, "Help: Queue", "K         Earlier", "q         Quit")
        await pilot.press("end")
        await wait_for(pilot, "T         To front")


@pytest.mark.parametrize("width", [40, 80, 120])
async def test_further_lines_of_details_keep_their_indent(home: Path, width: int) -> None:
    reason = " ".join(f"because{number}" for number in range(30))
    folder = make_run(home, "2026-11-21-octopus-3f2a", recorded_events())
    append_event(folder.events, ChoicesMade(choices=(Choice(name="attention", value="sdpa", reason=reason),)))
    append_event(folder.events, Warned(message=reason, hint=reason))
    app = TunerApp()
    async with app.run_test(size=(width, 100)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Home))
        app.open_monitor(folder)
        await pilot.press("4")
        await wait_for(pilot, "attention", "because29")
        lines = [line.rstrip() for line in screen_lines(app)]
        start = next(number for number, line in enumerate(lines) if line.startswith(" attention"))
        told = lines[start].partition("sdpa")[2]
        for line in lines[start + 1 :]:
            if not line.startswith(" " * 17):
                break
            assert line[17] != " "
            told += f" {line.strip()}"
        assert told.split() == reason.split()
        warned = next(number for number, line in enumerate(lines) if line.startswith(" ! because0"))
        assert lines[warned + 1].startswith("   because")
