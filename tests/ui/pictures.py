"""`python -m tests.ui.pictures FOLDER [TOUR ...]`: screens as SVG at two sizes; test_pictures compares them.

With rsvg-convert on the machine it makes PNG files too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from textual.screen import ModalScreen
from textual.widgets import Input, TextArea

from tests.ui.fixed_host import PLACE, TALK, fixed_host
from tests.ui.looking import screen_text
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.screens.chat import ChatScreen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from textual.pilot import Pilot

    from tuner_tui.runs.folder import RunFolder

SIZES = ((80, 24), (140, 45))
PATIENCE_SECONDS = 20.0
STILL_SECONDS = 0.1
"""A screen on which nothing was drawn for so long, with no work under way, is ready."""
UNREADY = (
    "Loading ...",
    "Reading",
    "Checking ...",
    "Starting ...",
    "Opening ...",
    "reading the model",
    "Looking",
)


@dataclasses.dataclass(frozen=True)
class Stop:
    """A picture: the keys that lead to it from the one before, and what is on it once all has been read."""

    name: str
    keys: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    run: str = ""
    """The run to open first, above Home."""


def stop(name: str, keys: str = "", *shows: str, run: str = "") -> Stop:
    """Keys are separated by blanks."""
    return Stop(name, tuple(keys.split()), shows, run)


TOURS: dict[str, tuple[Stop, ...]] = {
    "home": (
        stop("home", "", "RTX 4070", "octopus", "10 runs, 2 live", "failed", "! Logout"),
        stop("help", "question_mark", "Help: Home"),
        stop("palette", "escape ctrl+p", "Compare runs"),
        stop("stop", "escape x", "Stop this run?"),
        stop("delete", "escape end delete", "Delete this run?"),
        stop("home-filter", "escape slash f a i l e d", "2 of 10 runs"),
    ),
    "empty": (stop("empty", "", "RTX 4070", "Three ways", "! Logout"),),
    "monitor": (
        stop("running", "", "16/36", "left", "GPU memory", run="running"),
        stop("running-tenth", "X z z", "last tenth", "by tokens"),
        stop("queued", "", "Queued: starts when", run="queued"),
        stop("failed", "", "The GPU ran out of memory", "Next:", run="failed"),
        stop("nan", "", "The loss is not finite", run="nan"),
        stop("interrupted", "", "Interrupted", run="interrupted"),
        stop("evil", "2", "prompt", run="evil"),
        stop("finished", "", "Finished at step 36", run="finished"),
        stop("samples", "2", "tuned, step"),
        stop("log", "3", "train_runtime"),
        stop("details", "4", "started"),
        stop("profile", "5", "Set training.micro_batch = 4", run="stopped"),
        stop("share", "e", "adapter", "Hub: private", run="finished"),
        stop("light", "", "16/36", "GPU memory", run="running"),
    ),
    "runs": (
        stop("runs-curves", "m space down down space down space", "3 marked", "A ", "C "),
        stop("runs-settings", "2", "3 marked"),
        stop("runs-lineage", "3", "base model"),
        stop("runs-note", "4", "note"),
        stop("runs-edit-note", "ctrl+e", "Note on"),
        stop("runs-disk", "escape 5", "This run:"),
    ),
    "small": (
        stop("queue", "w", "1 waiting"),
        stop("downloads", "escape h", "The Hub's cache is empty", "free"),
        stop("settings", "escape o", "folders.data"),
        stop("settings-edit", "down down down enter", "Enter saves it"),
        stop("doctor", "escape escape d", "Precisions that work here", "not ready: 1 problem"),
        stop("chat-start", "escape a", "Models to chat with"),
    ),
    "new": (
        stop("new-start", "n", "Start from a preset", "fits here"),
        stop("new-model", "down enter", "the demo's model", "fits"),
        stop("new-data", "ctrl+n", "rows, dataset type", "fits"),
        stop("data-checks", "f2", "rows, dataset type", "not checked with the model"),
        stop("data-lengths", "2", "tokenizer"),
        stop("data-rows", "3", "as stored, row"),
        stop("data-tokens", "4", "EOS token", "tokens with loss"),
        stop("data-columns", "5", "detected:", "columns:", "as it is trained"),
        stop("data-column", "down enter", "Column for messages", "used for messages"),
        stop("new-method", "escape escape ctrl+n", "Method: the training objective", "fits"),
        stop("new-settings", "4", "The defaults suit", "fits"),
        stop("new-find", "ctrl+f r a n k", "Find an option"),
        stop("new-review", "escape 5", "Chosen for this machine", "fits"),
        stop("new-terms", "m", "Peak:"),
        stop("new-gpu", "escape f4", "What would fit on another GPU?"),
        stop("new-what-if", "2 4 enter", "What if 24 GB: 23.7 GB"),
    ),
    "pick": (
        stop("pick", "n enter", "What do you want", "as of 2025-10-01", "fits, ", "sft, lora"),
        stop("pick-facts", "down", "Facts that change", "text, Markdown and PDF files,", "fits, "),
        stop("pick-data", "enter end up enter", "documents in that folder", "fits"),
    ),
    "feedback": (
        stop("collections", "f", "evening", "2 ready"),
        stop("collections-new", "n", "New collection"),
        stop("feedback", "escape enter", "catalogues", "2 ready"),
        stop("feedback-write", "w", "Your own answer"),
        stop("feedback-stats", "escape m", "Your annotator statistics", "self-agreement"),
    ),
    "chat": (stop("chat", "", "Ask a question", "tokens/s"),),
}
"""By name: every screen with its parts and dialogs, in the order in which one app shows them."""
SMALL_ONLY = ("running-tenth", "queued", "nan", "interrupted", "evil", "light")
"""States of a screen that is drawn at both sizes in another state."""


class Watched(TunerApp):
    """The app, without animations, that knows when it last drew something."""

    CSS_PATH = [Path(inspect.getfile(TunerApp)).parent / name for name in TunerApp.CSS_PATH]  # noqa: RUF012
    drawn_at = 0.0

    def _display(self, *arguments: Any, **named: Any) -> None:
        self.drawn_at = time.monotonic()
        super()._display(*arguments, **named)


def app_of(tour: str) -> Watched:
    """The app for a tour, with the fixed home or an empty one."""
    os.environ["TUNER_TUI_HOME"] = str(PLACE / "nothing" if tour == "empty" else PLACE)
    shutil.rmtree(PLACE / "config", ignore_errors=True)  # another tour's theme
    app = Watched(ChatScreen(TALK) if tour == "chat" else None)
    app.animation_level = "none"
    return app


async def walk(
    tour: str, size: tuple[int, int], runs: dict[str, RunFolder]
) -> AsyncIterator[tuple[str, str]]:
    """Each picture of a tour: its name and SVG."""
    app = app_of(tour)
    async with app.run_test(size=size) as pilot:
        await _ready(pilot, ("RTX 4070",) if tour != "chat" else ())
        for picture in TOURS[tour]:
            if size != SIZES[0] and picture.name in SMALL_ONLY:
                continue
            if picture.name == "light":
                app.theme = "tuner-light"
            await _press(pilot, picture, runs)
            app.clear_notifications()
            for field in app.screen.query("*"):
                if isinstance(field, Input | TextArea):
                    field.cursor_blink = False
                    field._cursor_visible = True
                    field.refresh()
            await _ready(pilot)
            yield picture.name, app.export_screenshot(title=f"tuner-tui: {picture.name}")


async def _press(pilot: Pilot[Any], picture: Stop, runs: dict[str, RunFolder]) -> None:
    if picture.run:
        assert isinstance(pilot.app, TunerApp)
        while len(pilot.app.screen_stack) > 1:
            await pilot.press("escape")
            await _ready(pilot)
        pilot.app.open_monitor(runs[picture.run])
        await _ready(pilot)
    for key in picture.keys:
        await pilot.press(key)
        await _ready(pilot)
    await _ready(pilot, picture.shows)


async def _ready(pilot: Pilot[Any], shows: tuple[str, ...] = ()) -> None:
    """Wait until nothing is drawn any more, no work is under way, and the parts are shown."""
    app, deadline = pilot.app, time.monotonic() + PATIENCE_SECONDS
    assert isinstance(app, Watched)
    await pilot.pause()
    while True:
        is_still = time.monotonic() - app.drawn_at >= STILL_SECONDS
        if is_still and (
            isinstance(app.screen, ModalScreen) or all(work.is_finished for work in app.workers)
        ):
            text = screen_text(app)
            if all(part in text for part in shows) and not any(word in text for word in UNREADY):
                return
            assert time.monotonic() < deadline, f"{shows} not in\n{text}"
            await asyncio.sleep(STILL_SECONDS)
        assert time.monotonic() < deadline + PATIENCE_SECONDS, f"not ready:\n{screen_text(app)}"
        await asyncio.sleep(0.02)


def main() -> int:
    """Write the pictures of the tours that were asked for, all without a name."""
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, fixed_host(patch) as runs:
        for tour in sys.argv[2:] or TOURS:
            for size in SIZES:
                started = time.process_time()
                asyncio.run(_write_tour(folder, tour, size, runs))
                print(f"{time.process_time() - started:5.1f} s  {tour} {size}", flush=True)
    return 0


async def _write_tour(folder: Path, tour: str, size: tuple[int, int], runs: dict[str, RunFolder]) -> None:
    async for name, svg in walk(tour, size, runs):
        _write(folder / f"{name}-{size[0]}x{size[1]}.svg", svg)


def _write(path: Path, svg: str) -> None:
    path.write_text(svg)
    if shutil.which("rsvg-convert"):  # it drops leading spaces and knows no web fonts
        svg = svg.replace("Fira Code", "DejaVu Sans Mono").replace("&#160;", " ")
        svg = svg.replace("<text ", '<text xml:space="preserve" ')
        subprocess.run(["rsvg-convert", "-o", path.with_suffix(".png")], input=svg.encode(), check=True)


if __name__ == "__main__":
    sys.exit(main())
