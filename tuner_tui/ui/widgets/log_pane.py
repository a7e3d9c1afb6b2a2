"""The end of a run's log, literal; draws only the lines in view, and stays at the end while it follows."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from textual.binding import Binding
from textual.geometry import Size
from textual.reactive import var
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tuner_tui.text import counted, plain, size
from tuner_tui.ui.run_watch import LOG_LINES, RunView
from tuner_tui.ui.widgets.following import FollowsEnd


class LogPane(FollowsEnd, ScrollView, can_focus=True):
    """What the libraries printed."""

    DEFAULT_CSS = """
    LogPane { height: 1fr; padding: 0 1; scrollbar-size-horizontal: 0; }
    LogPane > .log--note { color: $faint; }
    """
    COMPONENT_CLASSES = {"log--note"}  # noqa: RUF012
    BINDINGS = [Binding("F", "follow", "Follow", tooltip="Follow the end of the log, or stop following")]  # noqa: RUF012
    help_text = "The end of the run's log: what libraries printed. F follows its end, or stops following."

    view: var[RunView | None] = var(None)

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._source: tuple[str, ...] = ()

    def watch_view(self, view: RunView | None) -> None:
        if view is None or view.log is self._source:
            return
        self._source = view.log
        self._lines = [_note(view), *(plain(line.expandtabs(4)) for line in view.log)]
        width = max(map(cell_len, self._lines), default=0)
        self.virtual_size = Size(width, len(self._lines))
        self.refresh()
        if self.is_following:
            self.scroll_end(animate=False, force=True, x_axis=False)

    def watch_is_following(self, is_following: bool) -> None:
        if is_following and self.is_mounted:
            self.scroll_end(animate=False, force=True, x_axis=False)

    def on_resize(self) -> None:
        if self.is_following:
            self.scroll_end(animate=False, force=True, x_axis=False)

    def action_follow(self) -> None:
        self.is_following = not self.is_following
        self.notify(
            "Following the end of the log." if self.is_following else "Not following the log.", timeout=2
        )

    def render_line(self, y: int) -> Strip:
        left, top = self.scroll_offset
        index, width = y + top, self.size.width
        if index >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        style = self.rich_style
        if index == 0:
            style += self.get_component_rich_style("log--note", partial=True)
        return Strip([Segment(self._lines[index], style)]).crop_extend(left, left + width, self.rich_style)


def _note(view: RunView) -> str:
    """How much of the log is shown, and its path."""
    if not view.log:
        return f"The log is empty so far: {plain(str(view.folder.log))}"
    which = (
        f"the last {counted(len(view.log), 'line')}"
        if len(view.log) >= LOG_LINES or view.log_bytes > 5e5
        else "the log"
    )
    return f"{which} ({size(view.log_bytes)}): {plain(str(view.folder.log))}"
