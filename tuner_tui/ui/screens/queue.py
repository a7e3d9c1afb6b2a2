"""Queue: the waiting runs, in starting order."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.message import Message
from textual.reactive import var
from textual.widgets import OptionList, Static

from tuner_tui.errors import TunerError
from tuner_tui.text import plain, size
from tuner_tui.ui.feeders import start_feeder
from tuner_tui.ui.screens.base import ActionDone, TunerScreen
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.literal import literal, show
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult

    from tuner_tui.keeper.waiting import Place
    from tuner_tui.runs.folder import RunFolder

LOOK_EVERY_SECONDS = 2.0


class LineLooked(Message):
    """The queue was read; `hold` says why nothing starts, if so."""

    def __init__(self, places: list[Place], hold: str) -> None:
        super().__init__()
        self.places = places
        self.hold = hold

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, LineLooked)


class QueueList(PickList):
    """The waiting runs."""

    BINDINGS = [Binding("enter", "select", "Open", tooltip="Watch this run")]  # noqa: RUF012


class QueueScreen(TunerScreen):
    """One list; each change is written at once and applies from the next start."""

    TITLE_WORDS = "Queue"
    HELP_TEXT = (
        "One run trains at a time; the next one starts when enough memory is free, also with the app closed and after "
        "a failed run. A run that waits for another run does not block those behind it. The queue survives a reboot; "
        "opening the app resumes it."
    )
    DEFAULT_CSS = """
    QueueScreen #queue-words { height: auto; max-height: 3; padding: 0 1; margin-bottom: 1; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "app.pop_screen", "Back", key_display="esc"),
        Binding("K,shift+up", "move(-1)", "Earlier", key_display="K", tooltip="Move up"),
        Binding("J,shift+down", "move(1)", "Later", key_display="J", tooltip="Move down"),
        Binding("T", "first", "To front", show=False, tooltip="Move it to the front of the queue"),
        Binding("s", "start", "Start", tooltip="Start it next, without waiting for memory"),
        Binding("x", "remove", "Remove", tooltip="Its folder stays; resume queues it again"),
        Binding("H", "hold", "Hold", tooltip="Start nothing until you release the queue"),
        Binding("H", "release", "Release", tooltip="Start the waiting runs again"),
    ]

    line: var[LineLooked | None] = var(None)

    def __init__(self) -> None:
        super().__init__()
        self._wake = threading.Event()
        self._has_left = False

    @property
    def headless_command(self) -> str:
        return "tuner-tui queue list"

    def compose_body(self) -> ComposeResult:
        yield Static("Loading ...", id="queue-words", markup=False)
        yield QueueList(id="queue-list", help_text="The waiting runs, the next one first. Enter opens one.")

    def on_mount(self) -> None:
        self.query_one(PickList).focus()
        start_feeder(self.app, self._look)

    def on_unmount(self) -> None:
        self._has_left = True
        self._wake.set()

    def _look(self) -> None:
        """In a thread: read the queue every few seconds, and at once after a change."""
        from tuner_tui.keeper.start import revive
        from tuner_tui.keeper.waiting import Line
        from tuner_tui.runs import queue

        line = Line()
        while not self._has_left:
            self._wake.clear()
            with contextlib.suppress(TunerError, OSError):  # without one the screen says so
                revive()
            self.post_message(
                LineLooked(line.places(), _hold_words(queue.held_for()) if queue.is_on_hold() else "")
            )
            self._wake.wait(LOOK_EVERY_SECONDS)

    def on_line_looked(self, message: LineLooked) -> None:
        self.line = message

    def watch_line(self, line: LineLooked | None) -> None:
        if line is None:
            return
        rows = tuple(
            PickRow(place.folder.name, f"{number}  {place.folder.name}", (_words(place),))
            for number, place in enumerate(line.places, 1)
        )
        self.query_one(PickList).show(rows)
        count = len(rows)
        self.query_one(TitleBar).state = f"{count} waiting" if count else "empty"
        self._explain()
        self.refresh_bindings()

    @on(OptionList.OptionHighlighted)
    def _explain(self) -> None:
        """Why nothing starts, or what the selected run waits for, in full."""
        line = self.line
        if line is None:
            return
        chosen = self._chosen()
        if not line.places:
            words = "The queue is empty. Runs started while another one trains wait here."
        elif line.hold or chosen is None:
            words = line.hold
        else:
            words = line.places[chosen[0]].reason or "Waiting for its turn."
        show(self.query_one("#queue-words", Static), literal(words, "$warning" if line.hold else "$faint"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        places = self.line.places if self.line else []
        match action:
            case "move" | "first":
                return len(places) > 1
            case "start" | "remove":
                return bool(places)
            case "hold":
                return not (self.line and self.line.hold)
            case "release":
                return bool(self.line and self.line.hold)
        return True

    def _chosen(self) -> tuple[int, RunFolder] | None:
        """The selected entry and its run."""
        key = self.query_one(PickList).picked_key
        for index, place in enumerate(self.line.places if self.line else []):
            if place.folder.name == key:
                return index, place.folder
        return None

    def action_move(self, by: int) -> None:
        from tuner_tui.keeper.start import move

        if (chosen := self._chosen()) is not None:
            index, folder = chosen
            self._change(lambda: move(folder, max(0, index + by)))

    def action_first(self) -> None:
        from tuner_tui.keeper.start import move

        if (chosen := self._chosen()) is not None:
            self._change(lambda: move(chosen[1], 0))

    def action_start(self) -> None:
        from tuner_tui.keeper.start import move

        if (chosen := self._chosen()) is not None:
            self._change(lambda: move(chosen[1], 0, regardless=True))

    @work
    async def action_remove(self) -> None:
        from tuner_tui.runs import queue
        from tuner_tui.ui.modals.run_questions import asks_to_remove

        chosen = self._chosen()
        if chosen is not None and await self.app.push_screen_wait(asks_to_remove(chosen[1])):
            self._change(lambda: queue.withdraw(chosen[1].name))

    def action_hold(self) -> None:
        from tuner_tui.keeper.start import hold_queue

        self._change(hold_queue)

    def action_release(self) -> None:
        from tuner_tui.keeper.start import release_queue

        self._change(release_queue)

    def _change(self, change: Callable[[], object]) -> None:
        def act() -> str:
            change()
            return ""

        self.perform(act)

    def on_action_done(self, message: ActionDone) -> None:
        self._wake.set()

    @on(OptionList.OptionSelected)
    def open_run(self) -> None:
        if (chosen := self._chosen()) is not None:
            self.tuner.open_monitor(chosen[1])


def _hold_words(paused: str) -> str:
    """Why nothing starts while the queue is on hold, and the key that releases it."""
    if paused:
        return f"The queue is on hold while {paused} is paused: resume that run, or release the queue with H."
    return "The queue is on hold: H releases it."


def _words(place: Place) -> str:
    if place.reason:
        return plain(place.reason)
    needs = place.entry.needs_bytes
    return f"needs {size(needs)} free" if needs else ""
