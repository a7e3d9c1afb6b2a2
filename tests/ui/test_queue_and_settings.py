"""The queue's and the settings' screens, driven by keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ui.looking import screen_lines, screen_text, until, wait_for
from tests.ui.recorded_runs import make_run
from tuner_tui.config.setting_list import SETTINGS
from tuner_tui.config.setting_values import value_text
from tuner_tui.config.settings import read_settings, set_setting, settings_file
from tuner_tui.runs import queue
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.modals.confirm import ConfirmModal
from tuner_tui.ui.screens.home import Home
from tuner_tui.ui.screens.monitor import Monitor
from tuner_tui.ui.screens.settings import SettingsScreen
from tuner_tui.ui.widgets.pick_list import PickList

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

    from tuner_tui.runs.folder import RunFolder


def waiting() -> list[str]:
    return [entry.folder.rpartition("-")[2] for _, entry in queue.entries()]


async def test_the_queue_is_ordered_by_keys(home: Path, runs: dict[str, RunFolder]) -> None:
    for name in ("bbbb", "cccc"):
        queue.enqueue(make_run(home, f"2026-11-22-later-{name}", []))
    queue.enqueue(make_run(home, "2026-11-22-child-dddd", []), after=runs["stopped"].name)
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "live")
        await pilot.press("w")
        await wait_for(pilot, "4 wait", "$ tuner-tui queue list", "Waiting for its turn")
        await pilot.press("end")
        await wait_for(pilot, "which is stopped; resume that run, or remove")
        await pilot.press("home")
        assert waiting() == ["77aa", "bbbb", "cccc", "dddd"]
        await pilot.press("down", "K")
        await until(pilot, lambda: waiting() == ["bbbb", "77aa", "cccc", "dddd"])
        await until(pilot, lambda: "1  2026-11-22-later-bbbb" in screen_text(app))
        await pilot.press("J")  # the cursor has stayed on its run
        await until(pilot, lambda: waiting() == ["77aa", "bbbb", "cccc", "dddd"])
        await wait_for(pilot, "2  2026-11-22-later-bbbb")
        await pilot.press("down", "T")
        await until(pilot, lambda: waiting() == ["cccc", "77aa", "bbbb", "dddd"])
        await pilot.press("x")
        await wait_for(pilot, "Remove this run from the queue?")
        await pilot.press("y")
        await until(pilot, lambda: waiting() == ["77aa", "bbbb", "dddd"])
        await wait_for(pilot, "3 wait")
        await pilot.press("H")
        await wait_for(pilot, "The queue is on hold: H releases it.", "H Release")
        assert queue.is_on_hold()
        await pilot.press("H")
        await until(pilot, lambda: not queue.is_on_hold())
        assert all(len(line) <= 80 for line in screen_lines(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Monitor))


async def test_a_run_is_started_without_waiting_for_memory(home: Path, runs: dict[str, RunFolder]) -> None:
    queue.withdraw(runs["queued"].name)
    queue.enqueue(runs["queued"], needs_bytes=7_000_000_000)
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "live")
        await pilot.press("w")
        await wait_for(pilot, "7.0 GB")
        await pilot.press("s")
        await until(pilot, lambda: queue.entries()[0][1].needs_bytes is None)


async def test_an_empty_queue_says_so(home: Path) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "No runs yet")
        await pilot.press("w")
        await wait_for(pilot, "The queue is empty", "empty")
        await pilot.press("K", "x", "s", "T", "enter", "escape")
        await until(pilot, lambda: isinstance(app.screen, Home))


async def choose(pilot: Pilot[None], key: str) -> None:
    """Put the cursor on a setting."""
    rows = pilot.app.screen.query_one(PickList)
    rows.highlighted = [row.key for row in rows.rows].index(key)
    await pilot.pause()


async def open_settings(pilot: Pilot[None]) -> None:
    await wait_for(pilot, "No runs yet")
    await pilot.press("o")
    await wait_for(pilot, "Data folder", "Offline")


async def test_every_setting_says_what_it_does(home: Path) -> None:
    app = TunerApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await open_settings(pilot)
        for setting in SETTINGS:
            await choose(pilot, setting.key)
            told = " ".join(str(app.screen.query_one("#setting-help").render()).split())
            assert setting.help in told
            command = app.screen.headless_command  # type: ignore[attr-defined]
            if value_text(setting.default) == "":
                assert command == "tuner-tui config list"  # there is no value to set yet
            else:
                assert command.startswith(f"tuner-tui config set {setting.key} ")


async def test_settings_are_changed_and_written(home: Path) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await open_settings(pilot)
        await choose(pilot, "notify.bell")
        await pilot.press("enter")
        await until(pilot, lambda: not read_settings().switch("notify.bell"))
        await choose(pilot, "notify.terminal")
        await pilot.press("enter")
        await until(pilot, lambda: read_settings().text("notify.terminal") == "osc9")
        await choose(pilot, "energy.price")
        await pilot.press("enter")
        await wait_for(pilot, "Price of energy", "kilowatt-hour", "Enter saves it")
        await pilot.press(*"much", "enter")
        await wait_for(pilot, "must be a number")
        await pilot.press("home", "ctrl+k", *"0.31", "enter")
        await until(pilot, lambda: read_settings().number("energy.price") == 0.31)
        await wait_for(pilot, "0.31")
        await pilot.press("d")
        await until(pilot, lambda: read_settings().number("energy.price") is None)
        assert "bell = false" in settings_file().read_text()


async def test_another_data_folder_is_asked_about(
    home: Path, runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        await pilot.press("o")
        await wait_for(pilot, "Data folder", "Offline")
        await choose(pilot, "folders.data")
        await pilot.press("enter")
        await wait_for(pilot, "Enter saves it")
        await pilot.press(*"relative/x", "enter")
        hint = app.screen.query_one(".hint")
        await until(pilot, lambda: f"would be {home}/relative/x" in str(hint.render()))
        assert not (home / "relative").exists()
        await pilot.press("home", "ctrl+k", *str(home / "big"), "enter")
        await wait_for(pilot, "Change the data folder?", "10 runs stay in", "does not exist and is created")
        assert asked(app).startswith(f"10 runs stay in {home}/data and are no longer listed;")
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, SettingsScreen))
        assert not settings_file().exists() and not (home / "big").exists()
        await pilot.press("enter")
        await wait_for(pilot, "Enter saves it")
        await pilot.press(*str(home / "big"), "enter")
        await wait_for(pilot, "Change the data folder?")
        await pilot.press("y")
        await until(pilot, lambda: read_settings().text("folders.data") == str(home / "big"))
        (home / "big" / "runs" / "2026-11-22-other-eeee").mkdir(parents=True)
        await pilot.press("d")
        await wait_for(pilot, "Change the data folder?")
        assert asked(app).startswith(f"1 run stays in {home}/big and is no longer listed;")
        await pilot.press("y")
        await until(pilot, lambda: read_settings().text("folders.data") is None)


def asked(app: TunerApp) -> str:
    assert isinstance(app.screen, ConfirmModal)
    return app.screen.detail


async def test_a_broken_file_is_told_and_left_alone(home: Path) -> None:
    set_setting("energy.price", "1")
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "No runs yet")
        home_screen = app.screen
        assert isinstance(home_screen, Home)
        settings_file().write_text("[energy\n")
        app.action_settings()
        await wait_for(pilot, "The settings cannot be read", "line 1")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, SettingsScreen))
    assert settings_file().read_text() == "[energy\n"


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (200, 50)])
async def test_both_fit_every_size(home: Path, runs: dict[str, RunFolder], size: tuple[int, int]) -> None:
    app = TunerApp()
    async with app.run_test(size=size) as pilot:
        await pilot.pause(0.3)
        for key in "ow":
            await pilot.press(key)
            await pilot.pause(0.2)
            assert all(len(line) <= size[0] for line in screen_lines(app))
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, Home))
