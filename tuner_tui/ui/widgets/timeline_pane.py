"""What happened in a run, with times: start, plan, OOM fallback steps, evaluations, checkpoints, pauses, end."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.runs.event_words import event_words
from tuner_tui.runs.events import (
    FallbackTaken,
    MemoryShort,
    RolledBack,
    RunFailed,
    RunFinished,
    RunStarted,
    StepSkipped,
    Warned,
)
from tuner_tui.runs.state import KEPT_TIMELINE
from tuner_tui.text import duration
from tuner_tui.ui.run_watch import RunView
from tuner_tui.ui.widgets.following import FollowsEnd
from tuner_tui.ui.widgets.literal import literal, literal_lines, show
from tuner_tui.ui.widgets.wrapped_entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from textual.app import ComposeResult

    from tuner_tui.runs.events import Event

TROUBLE = (Warned, MemoryShort, FallbackTaken, RolledBack, StepSkipped)


class TimelinePane(FollowsEnd, VerticalScroll, can_focus=True):
    """One entry for each event but the steps; it stays at the end unless it was scrolled up."""

    DEFAULT_CSS = "TimelinePane { height: 1fr; padding: 0 1; scrollbar-gutter: stable; }"
    help_text = "What happened in this run, with times. L goes to the raw log, and back."

    view: var[RunView | None] = var(None)

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[int, Event | None, int] = (0, None, 0)
        """How many events are shown, the last of them, and the width."""

    def compose(self) -> ComposeResult:
        yield Static("", id="timeline", markup=False)

    def watch_view(self, view: RunView | None) -> None:
        if view is None or not self.is_mounted or not self.region:
            return  # another part is shown; `on_show` comes back to it
        text = self.query_one("#timeline", Static)
        width = text.size.width or self.size.width
        shown = (len(view.timeline), view.timeline[-1] if view.timeline else None, width)
        if shown == self._shown:
            return
        self._shown = shown
        show(text, Content("\n").join([entry.wrapped(width) for entry in timeline_entries(view.timeline)]))
        if self.is_following:
            self.call_after_refresh(self.scroll_end, animate=False, force=True)

    def on_show(self) -> None:
        self.watch_view(self.view)

    def on_resize(self) -> None:
        self.watch_view(self.view)
        if self.is_following:
            self.call_after_refresh(self.scroll_end, animate=False, force=True)


def timeline_entries(events: Sequence[Event]) -> Iterator[Entry]:
    """Each event behind its time of day; the date where it changes, and how long a run lay between two attempts."""
    if not events:
        yield Entry(Content(""), literal("Nothing has happened yet.", "$secondary"))
        return
    if len(events) >= KEPT_TIMELINE:
        note = f"The last {KEPT_TIMELINE:,} events; events.jsonl has all."
        yield Entry(Content(""), literal(note, "$faint"))
    for before, event in pairwise((None, *events)):
        assert event is not None
        moment = time.localtime(event.at)
        if before is None or time.localtime(before.at)[:3] != moment[:3]:
            yield Entry(Content(""), literal(time.strftime("%a %d %b %Y", moment), "bold $primary"))
        if isinstance(event, RunStarted) and before is not None:
            gap = f"{duration(event.at - before.at)} between two attempts"
            yield Entry(Content(" " * 10), literal(gap, "$faint"))
        if (words := event_words(event)) is not None:
            label = Content.styled(time.strftime("%H:%M:%S  ", moment), "$faint")
            yield Entry(label, literal_lines(words[:1].upper() + words[1:], _style(event)))


def _style(event: Event) -> str:
    if isinstance(event, RunFailed):
        return "bold $error"
    if isinstance(event, RunFinished):
        return "$success"
    return "$warning" if isinstance(event, TROUBLE) else ""
