"""Random keys on all screens: nothing crashes, no draft is lost without a question, and the footer is true.

The slow test presses 5,000 sequences. A part of it, or another one: `FUZZ_SEQUENCES=300 FUZZ_SEED=7 pytest -m slow
tests/ui/test_fuzz_keys.py`. No process is started: each attempt is refused as a full machine refuses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import random
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from textual.pilot import WaitForScreenTimeout

from tests.ui.feedback_host import collection
from tests.ui.fixed_host import ANSWERS, TALK, fix_hardware
from tests.ui.footer import footer_faults
from tests.ui.looking import screen_text, wait_for
from tests.ui.recorded_runs import every_status, gpu_telemetry, held
from tests.ui.test_keys import all_bindings
from tuner_tui.config.unfinished import read_unfinished, unfinished_file
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.modals.message import MessageModal
from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.screens.chat import ChatScreen
from tuner_tui.ui.screens.home import Home

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tuner_tui.runs.folder import RunFolder

SEQUENCES_PER_HOME = 25
KEYS_PER_SEQUENCE = 10
SETTLED_SECONDS = 15.0
NEVER = ("ctrl+z", "ctrl+c", "f12")
"""Suspending needs a terminal."""
ALWAYS = """
escape enter tab shift+tab up down left right space backspace delete pageup pagedown home end ctrl+p ctrl+u ctrl+q
question_mark f1 slash full_stop 7 0 Q A Z minus left_square_bracket ctrl+a ctrl+k shift+right
"""
DOORS: tuple[tuple[str, ...], ...] = (
    (),
    ("end",),
    ("enter",),
    ("down", "down", "enter"),
    ("down", "down", "down", "enter"),
    ("down", "down", "e"),
    ("m",),
    ("m", "space", "down", "space", "2"),
    ("n",),
    ("n", "enter", "ctrl+n", "ctrl+n"),
    ("n", "end", "enter", "x", "y"),
    ("w",),
    ("h",),
    ("o",),
    ("d",),
    ("f",),
    ("f", "enter"),
    ("a",),
    ("down", "down", "N"),
)
"""Keys from Home to where a sequence begins."""


class Fuzzed(TunerApp):
    """The app; it does not close when it is left."""

    CSS_PATH = [Path(inspect.getfile(TunerApp)).parent / name for name in TunerApp.CSS_PATH]  # noqa: RUF012
    has_left = False

    def exit(self, *_: Any, **__: Any) -> None:
        self.has_left = True


def no_process(*_: Any, **__: Any) -> Any:
    raise BlockingIOError(11, "Resource temporarily unavailable")


@pytest.mark.parametrize(
    "sequences",
    [10, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(0)])],
    ids=["few", "many"],
)
async def test_random_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path, sequences: int
) -> None:
    if sequences > SEQUENCES_PER_HOME:
        sequences = int(os.environ.get("FUZZ_SEQUENCES", sequences))
    seed = int(os.environ.get("FUZZ_SEED", "1"))
    fix_hardware(monkeypatch)
    monkeypatch.setattr(subprocess, "Popen", no_process)
    bound = {key for keys, _, _ in all_bindings() for key in keys.split(",")}
    pool = sorted((bound | set(ALWAYS.split())) - set(NEVER))
    faults: list[str] = []
    for batch in range(-(-sequences // SEQUENCES_PER_HOME)):
        place = tmp_path / f"home{batch}"
        monkeypatch.setenv("TUNER_TUI_HOME", str(place))
        monkeypatch.setenv("HF_HUB_CACHE", str(place / "hub"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        (place / "work").mkdir(parents=True)
        monkeypatch.chdir(place / "work")
        (place / "work" / "rows.jsonl").write_text('{"prompt": "Why?", "completion": "So."}\n' * 3)
        collection("evening", ANSWERS)
        runs = every_status(place)
        gpu_telemetry(runs["running"])
        with held(place, runs["running"]):
            few = min(SEQUENCES_PER_HOME, sequences - batch * SEQUENCES_PER_HOME)
            faults += await press_batch(place, runs, pool, f"{seed}.{batch}", few)
        assert len(faults) < 5, "\n".join(faults)
    assert not faults, "\n".join(faults)


async def press_batch(
    place: Path, runs: dict[str, RunFolder], pool: list[str], seed: str, sequences: int
) -> list[str]:
    """Press some sequences in one app; gives what went wrong."""
    draw = random.Random(seed)
    faults: list[str] = []
    app = Fuzzed()
    async with app.run_test(size=draw.choice(((80, 24), (140, 45))), notifications=True) as pilot:
        await wait_for(pilot, "live")
        for number in range(sequences):
            door = draw.choice((*DOORS, ("chat",)))
            keys = [*door, *draw.choices(pool, k=KEYS_PER_SEQUENCE)]
            if door == ("chat",):
                app.push_screen(ChatScreen(TALK))
                keys = keys[1:]
            for place_, key in enumerate(keys):
                if fault := await press(app, pilot, key):
                    pressed = " ".join(keys[: place_ + 1])
                    faults.append(f"{seed}, sequence {number}, {app.size.width} columns: {pressed}: {fault}")
                    break
                if app.has_left:
                    break
            if app._exception is not None:
                return faults
            await back_home(app, pilot)
    return faults


async def press(app: Fuzzed, pilot: Pilot[Any], key: str) -> str:
    """Press a key; gives what went wrong, empty if nothing did."""
    top = app.screen
    unsaved = [screen for screen in app.screen_stack if isinstance(screen, TunerScreen) and screen.leaving]
    with contextlib.suppress(WaitForScreenTimeout):  # a busy machine is no fault of the app
        await pilot.press(key)
        await pilot.pause()
    if app._exception is not None:
        return f"crash: {app._exception!r}\n{screen_text(app) if app.is_running else ''}"
    if isinstance(app.screen, MessageModal) and "A part of the app failed" in screen_text(app):
        return screen_text(app)
    is_gone = app.has_left or any(screen not in app.screen_stack for screen in unsaved)
    if unsaved and is_gone and top in unsaved and read_unfinished() is None:
        return f"{unsaved} was lost without a question"
    deadline = time.monotonic() + SETTLED_SECONDS
    while wrong := footer_faults(app):
        if time.monotonic() > deadline:
            return "; ".join(wrong)
        await asyncio.sleep(0.05)
        await pilot.pause()
    return ""


async def back_home(app: Fuzzed, pilot: Pilot[Any]) -> None:
    """Home as it was, with all runs shown."""
    app.has_left = False
    while len(app.screen_stack) > 1:
        await app.pop_screen()
    app.clear_notifications()
    home = app.screen
    assert isinstance(home, Home)
    home.action_clear_filter()
    unfinished_file().unlink(missing_ok=True)
    await pilot.pause()
