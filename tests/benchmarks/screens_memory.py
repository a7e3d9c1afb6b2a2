"""Nine screens opened and closed many times: how far the process grows, and what stays of the widgets.

python -m tests.benchmarks.screens_memory [VISITS]   (200 visits of each screen unless told)
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from textual.dom import DOMNode

from tests.ui.recorded_runs import every_status, held
from tuner_tui.ui.app import TunerApp

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.pilot import Pilot
    from textual.screen import Screen

    from tuner_tui.runs.folder import RunFolder

MOST_GROWTH_MB = 10.0
WARM_UP_VISITS = 10
"""The first visits load modules and fill caches that are bounded."""
STAY_SECONDS = 0.15


def nine_screens(runs: dict[str, RunFolder]) -> dict[str, Callable[[], Screen[None]]]:
    """How each is made."""
    from tuner_tui.ui.screens.collections import Collections
    from tuner_tui.ui.screens.doctor import DoctorScreen
    from tuner_tui.ui.screens.downloads import DownloadsScreen
    from tuner_tui.ui.screens.monitor import Monitor
    from tuner_tui.ui.screens.new_run.screen import NewRunScreen
    from tuner_tui.ui.screens.queue import QueueScreen
    from tuner_tui.ui.screens.runs import RunsScreen
    from tuner_tui.ui.screens.settings import SettingsScreen
    from tuner_tui.ui.screens.share import ShareScreen

    return {
        "monitor": lambda: Monitor(runs["finished"]),
        "runs": RunsScreen,
        "queue": QueueScreen,
        "settings": SettingsScreen,
        "share": lambda: ShareScreen(runs["finished"]),
        "downloads": DownloadsScreen,
        "collections": Collections,
        "new run": NewRunScreen,
        "doctor": DoctorScreen,
    }


async def visit(pilot: Pilot[None], make: Callable[[], Screen[None]], seconds: float = STAY_SECONDS) -> None:
    """Open a screen, let it read, and close it."""
    app = pilot.app
    assert isinstance(app, TunerApp)
    app.push_screen(make())
    await pilot.pause(seconds)
    app.action_home()
    await pilot.pause()


def live_widgets() -> Counter[str]:
    """The screens and widgets in memory, by their class."""
    gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, DOMNode))


async def measure(visits: int) -> bool:
    """Print the growth of each screen; whether all of it is small enough."""
    home = Path(os.environ["TUNER_TUI_HOME"])
    runs = every_status(home)
    total = 0.0
    with held(home, runs["running"]):
        app = TunerApp()
        async with app.run_test(size=(120, 40)) as pilot:
            for name, make in nine_screens(runs).items():
                for _ in range(WARM_UP_VISITS):
                    await visit(pilot, make)
                before, widgets = _resident_mb(), live_widgets()
                for _ in range(visits):
                    await visit(pilot, make)
                await pilot.pause(1.0)
                left = live_widgets() - widgets
                grown = _resident_mb() - before
                total += grown
                print(f"{name:<12} {grown:+7.1f} MB   {dict(left) or 'no widget left'}", flush=True)
    print(f"{'in all':<12} {total:+7.1f} MB   (at most {MOST_GROWTH_MB:g})")
    return total < MOST_GROWTH_MB


def _resident_mb() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 1e6


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TUNER_TUI_HOME"] = folder
        sys.exit(not asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 200)))
