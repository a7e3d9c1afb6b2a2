"""What opens by itself opens only where it was asked for; elsewhere a toast tells the result, and keys go on typing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from textual.widgets import Input

from tests.ui.looking import screen_text, until, wait_for
from tests.ui.recorded_runs import held, make_run, recorded_events
from tuner_tui.errors import TunerError
from tuner_tui.runs.folder import RunFolder, list_runs
from tuner_tui.ui import run_actions
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.modals.help import HelpModal
from tuner_tui.ui.modals.message import MessageModal
from tuner_tui.ui.screens.home import Home
from tuner_tui.ui.screens.monitor import Monitor
from tuner_tui.ui.screens.new_run.screen import NewRunScreen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from textual.pilot import Pilot


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What holds slow work back until a test lets it go on."""
    event = threading.Event()
    yield event
    event.set()


def slowly(gate: threading.Event, work: Callable[..., object]) -> Callable[..., object]:
    def waits_first(*arguments: object) -> object:
        assert gate.wait(30)
        return work(*arguments)

    return waits_first


def told(app: TunerApp) -> str:
    return " | ".join(notification.message for notification in app._notifications)


async def test_a_demo_that_starts_late_leaves_the_person_typing(
    home: Path, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    """t on Home, then n at once: the run starts while a path is typed, which is no p for pause and no g for sample."""

    def start_demo() -> RunFolder:
        return make_run(home, "2026-11-21-first-try-0001", recorded_events())

    monkeypatch.setattr(run_actions, "start_demo", slowly(gate, start_demo))
    app = TunerApp()
    (home / "data").mkdir()
    with held(home):
        async with app.run_test(size=(80, 24)) as pilot:
            await wait_for(pilot, "No runs yet")
            await pilot.press("t", "t")  # the second one is too many
            await pilot.press("n")
            await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
            await wait_for(pilot, "Start from a preset")
            await pilot.press("down", "enter")
            await until(pilot, lambda: app.screen.step == "model")  # type: ignore[attr-defined]
            await pilot.press("ctrl+n")
            await until(pilot, lambda: app.screen.step == "data")  # type: ignore[attr-defined]
            gate.set()
            await until(pilot, lambda: "Started 2026-11-21-first-try-0001" in told(app))
            await pilot.press(*"pg.jsonl")
            assert isinstance(app.screen, NewRunScreen)
            assert isinstance(app.screen.focused, Input) and app.screen.focused.value == "pg.jsonl"
            (folder,) = list_runs()
            assert not list(folder.control.iterdir())


async def test_a_demo_opens_where_it_was_asked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    made = lambda: make_run(home, "2026-11-21-first-try-0001", recorded_events())  # noqa: E731
    monkeypatch.setattr(run_actions, "start_demo", slowly(gate, made))
    app = TunerApp()
    (home / "data").mkdir()
    with held(home):
        async with app.run_test(size=(80, 24)) as pilot:
            await wait_for(pilot, "No runs yet")
            await pilot.press("t")
            await wait_for(pilot, "… starting the demo", "Starting the demo ... its Monitor opens")
            gate.set()
            await until(pilot, lambda: isinstance(app.screen, Monitor))
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, Home))
            assert "starting the demo" not in screen_text(app)


async def test_a_demo_that_cannot_start_no_longer_says_that_it_does(
    home: Path, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    def refused() -> RunFolder:
        raise TunerError("The disk is full", "0.1 GB free.")

    monkeypatch.setattr(run_actions, "start_demo", slowly(gate, refused))
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "No runs yet")
        await pilot.press("t")
        await wait_for(pilot, "… starting the demo")
        gate.set()
        await wait_for(pilot, "The disk is full")
        await pilot.press("escape")
        await wait_for(pilot, "No runs yet", "0 runs")
        assert "its Monitor opens" not in screen_text(app)


async def test_a_late_question_is_not_asked_elsewhere(
    runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    """Measuring a large run takes a while; y typed on another screen meanwhile is no yes."""
    from tuner_tui import files

    real = files.folder_size
    monkeypatch.setattr(files, "folder_size", slowly(gate, real))
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        await pilot.press("down", "down", "delete", "n")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        gate.set()
        for _ in range(5):
            await pilot.pause(0.1)
            await pilot.press("y")
        assert isinstance(app.screen, NewRunScreen)
        assert runs["finished"].path.is_dir()


async def test_an_error_elsewhere_is_a_toast(
    runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    def fails(folder: RunFolder) -> str:
        raise TunerError("It cannot be paused", "The disk is full.", "Free some room.")

    monkeypatch.setattr(run_actions, "pause_run", slowly(gate, fails))
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 live")
        await until(pilot, lambda: app.screen.check_action("pause", ()) is True)
        await pilot.press("p", "n")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen))
        gate.set()
        await until(pilot, lambda: "It cannot be paused: The disk is full." in told(app))
        assert isinstance(app.screen, NewRunScreen)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Home))
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.screen, MessageModal))


async def test_what_a_closed_screen_did_is_told(
    runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    has_begun = threading.Event()

    def delete_run(folder: RunFolder) -> str:
        has_begun.set()
        assert gate.wait(30)
        return f"Deleted {folder.name}"

    monkeypatch.setattr(run_actions, "delete_run", delete_run)
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await open_runs(pilot)
        await pilot.press("down", "down", "delete")
        await wait_for(pilot, "Delete this run?")
        await pilot.press("y")
        await until(pilot, has_begun.is_set)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Home))
        gate.set()
        await until(pilot, lambda: f"Deleted {runs['finished'].name}" in told(app))


async def open_runs(pilot: Pilot[None]) -> None:
    await wait_for(pilot, "2 live")
    await pilot.press("m")
    await wait_for(pilot, "[1 Curves]", "10 runs")


async def test_a_new_run_that_starts_behind_help_opens_after_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    """Start, then ? for the keys: what is typed there is for Help, and Monitor comes when it is closed."""
    from tuner_tui.config.presets import find_preset, preset_spec
    from tuner_tui.sharing import start_run

    def start(spec: object, progress: object, **_: object) -> RunFolder:
        assert gate.wait(30)
        return make_run(home, "2026-11-21-first-try-0001", recorded_events())

    monkeypatch.setattr(start_run, "start_run", start)
    (home / "data").mkdir()
    app = TunerApp()
    with held(home):
        async with app.run_test(size=(80, 24)) as pilot:
            await wait_for(pilot, "No runs yet")
            app.open_new_run(preset_spec(find_preset("first-try")))
            await wait_for(pilot, "step 4 of 5")
            await pilot.press("5")
            await until(pilot, lambda: app.screen.check_action("go_to", ("review",)) is True)
            await wait_for(pilot, "Chosen for this machine")
            await pilot.press("s")
            await wait_for(pilot, "Starting ...")
            await pilot.press("question_mark")
            await until(pilot, lambda: isinstance(app.screen, HelpModal))
            gate.set()
            await until(pilot, lambda: "Started 2026-11-21-first-try-0001" in told(app))
            assert isinstance(app.screen, HelpModal)
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, Monitor))
            assert not any(isinstance(screen, NewRunScreen) for screen in app.screen_stack)
