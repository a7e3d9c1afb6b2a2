"""Where the time of a run's steps goes, and the change that would help most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.profiling import words
from tuner_tui.profiling.advice import best_advice
from tuner_tui.text import shell_command
from tuner_tui.ui.run_watch import RunView
from tuner_tui.ui.widgets.literal import literal, show
from tuner_tui.ui.widgets.wrapped_entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.profiling.profile import Profile


class ProfilePane(VerticalScroll, can_focus=True):
    """The change first, then the parts of a step, further figures, and the operators of each part."""

    DEFAULT_CSS = "ProfilePane { height: 1fr; padding: 0 1; scrollbar-gutter: stable; }"
    help_text = (
        "Where a step's time goes, measured with torch.profiler; M measures the next steps of a live run."
    )

    view: var[RunView | None] = var(None)

    def compose(self) -> ComposeResult:
        yield Static("", id="profile", markup=False)

    def watch_view(self, view: RunView | None) -> None:
        if view is not None and self.is_mounted and self.display:
            text = self.query_one("#profile", Static)
            width = text.size.width or self.size.width
            entries = no_profile(view) if view.profile is None else profile_entries(view.profile)
            show(text, Content("\n").join([entry.wrapped(width) for entry in entries]))

    def on_show(self) -> None:
        self.watch_view(self.view)

    def on_resize(self) -> None:
        self.watch_view(self.view)


def no_profile(view: RunView) -> Iterator[Entry]:
    """What to do for a profile."""
    if any(request.request == "profile" for request in view.run.pending):
        yield _entry("The steps are being measured ...", "$secondary")
    elif view.status == "running":
        yield _entry("M measures where the time of the next steps goes.", "$secondary")
        yield _entry("It slows those steps a little and changes no result.", "$faint")
    else:
        yield _entry(
            "This run's steps were not measured. To measure some with its settings:",
            "$secondary",
        )
        yield _entry(f"  {shell_command('profile', str(view.folder.spec))}")


def profile_entries(profile: Profile) -> Iterator[Entry]:
    """A profile's lines."""
    advice = best_advice(profile)
    change, *reason = words.advice_lines(advice)
    yield _entry(change, "bold $success" if advice is None else "bold $warning")
    for line in reason:
        yield _entry(line, indent="  ")
    yield _entry("")
    yield _entry(words.title_line(profile), "bold $primary")
    yield _entry(words.settings_line(profile), "$faint")
    for part in profile.parts:
        yield _entry(words.part_line(part))
    yield _entry("")
    for line in words.figures_lines(profile):
        yield _entry(line)
    yield _entry("")
    yield _entry(words.OPERATORS_TITLE, "bold $primary")
    for name, operators in words.operators_of(profile):
        yield Entry(Content.styled(f"{name:<{words.NAME_CELLS}}", "$faint"), literal(operators))


def _entry(text: str, style: str = "", indent: str = "") -> Entry:
    return Entry(Content(indent), literal(text, style))
