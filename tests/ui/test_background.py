"""Work in the background of a widget that is removed meanwhile."""

from __future__ import annotations

import threading
import time

from textual import work
from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.widgets import Static
from textual.worker import WorkerState

from tuner_tui.ui.background import in_background


class Waiting(Vertical):
    """Says what it waited for in its first child."""

    went_on = False

    def compose(self) -> ComposeResult:
        yield Static("", id="first")
        yield Static("", id="second")

    @work
    async def wait_for(self, event: threading.Event) -> None:
        await in_background(event.wait)
        Waiting.went_on = True
        self.query_one("#first", Static).update("done")


class Host(App[None]):
    def compose(self) -> ComposeResult:
        yield Waiting()


async def test_a_worker_of_a_removed_widget_ends_instead_of_looking_for_its_children() -> None:
    Waiting.went_on = False
    event = threading.Event()
    app = Host()
    async with app.run_test() as pilot:
        waiting = app.query_one(Waiting)
        worker = waiting.wait_for(event)
        await pilot.pause()
        removed = waiting.remove()
        event.set()
        time.sleep(0.1)  # the answer is there before the loop goes on with the removal
        await removed
        await pilot.pause()
        assert worker.state is WorkerState.CANCELLED
        assert not Waiting.went_on


async def test_a_worker_of_a_shown_widget_goes_on() -> None:
    event = threading.Event()
    app = Host()
    async with app.run_test() as pilot:
        worker = app.query_one(Waiting).wait_for(event)
        event.set()
        await worker.wait()
        await pilot.pause()
        assert str(app.query_one("#first", Static).content) == "done"
