"""Monitor: one live or finished run; it sends requests and never changes the run itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Container, Horizontal, Vertical
from textual.message import Message
from textual.reactive import var
from textual.widgets import Static

from tuner_tui.text import PHASES, shell_command
from tuner_tui.ui import run_words
from tuner_tui.ui.feeders import start_feeder
from tuner_tui.ui.run_watch import RunView, RunViewed, RunWatch
from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.details_pane import DetailsPane
from tuner_tui.ui.widgets.ending_panel import EndingPanel
from tuner_tui.ui.widgets.literal import literal, show
from tuner_tui.ui.widgets.log_pane import LogPane
from tuner_tui.ui.widgets.profile_pane import ProfilePane
from tuner_tui.ui.widgets.progress_line import FiguresLine, ProgressLine
from tuner_tui.ui.widgets.run_chart import RunChart
from tuner_tui.ui.widgets.samples_pane import SamplesPane
from tuner_tui.ui.widgets.tab_line import TabLine
from tuner_tui.ui.widgets.telemetry_panel import TelemetryPanel
from tuner_tui.ui.widgets.timeline_pane import TimelinePane

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.runs.events import Request
    from tuner_tui.runs.folder import RunFolder

PARTS = ("Overview", "Samples", "Log", "Details", "Profile")
ASKED = {
    "stop": "Stop requested",
    "pause": "Pause requested",
    "save": "Checkpoint requested",
    "sample": "Samples requested",
    "profile": "Profile requested",
}
UNDONE: dict[Request, str] = {
    "save": "it saved the checkpoint that you asked for",
    "sample": "it answered the sample prompts",
    "profile": "its steps were measured",
}
"""What an ended run may not have got to; stop and pause are what ended it."""


class RequestLeft(Message):
    """A request was written to the run's folder; its answer has the same `id`."""

    def __init__(self, request: Request, id: str) -> None:  # noqa: A002  (the protocol's word)
        super().__init__()
        self.request: Request = request
        self.id = id


class Monitor(TunerScreen):
    """Widgets show one reactive view; keys send requests."""

    TITLE_WORDS = "Monitor"
    HELP_TEXT = (
        "One run. Leaving this screen, or the app, does not affect it; any number of apps may watch it."
    )
    CSS_PATH = "monitor.tcss"
    BINDINGS = [  # noqa: RUF012
        Binding(
            "escape",
            "app.pop_screen",
            "Back",
            key_display="esc",
            tooltip="Back to the list; the run continues",
        ),
        Binding("1", "show(0)", "Overview", show=False),
        Binding("2", "show(1)", "Samples", show=False),
        Binding("3", "show(2)", "Log", show=False),
        Binding("4", "show(3)", "Details", show=False),
        Binding("5", "show(4)", "Profile", show=False),
        Binding("tab", "turn", "Next part", show=False, priority=True),
        Binding("x", "stop", "Stop", tooltip="Save a checkpoint and stop, or stop at once"),
        Binding("p", "ask('pause')", "Pause", tooltip="Save and free its memory; resume it later"),
        Binding("v", "ask('save')", "Save", tooltip="Save a checkpoint now"),
        Binding("g", "ask('sample')", "Sample", tooltip="Answer the sample prompts now"),
        Binding("M", "ask('profile')", "Measure", tooltip="Measure where the time of the next steps goes"),
        Binding("r", "resume", "Resume", tooltip="Resume from the last checkpoint"),
        Binding("N", "same_again", "Again", tooltip="New run from these settings"),
        Binding("a", "chat", "Chat", tooltip="Ask this run's model and its base, side by side"),
        Binding("e", "share", "Share", tooltip="Export the result, or push it to the Hub"),
        Binding("L", "log", "Log/events", tooltip="Go to the raw log, or back to what happened"),
        Binding(
            "Y",
            "curve",
            "Curve",
            tooltip="Y axis: loss, learning rate, gradient norm and the method's metrics",
        ),
        Binding("X", "axis", "Axis", tooltip="X axis: steps, tokens or time"),
        Binding("z", "zoom", "Zoom", tooltip="Zoom: whole run, last half or last tenth"),
    ]

    view: var[RunView | None] = var(None)
    shown: var[int] = var(0)

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder
        self._watch = RunWatch(folder, self.post_message)
        self._unanswered: dict[str, Request] = {}
        self._told = ""
        """The id of the accepted request that the notice is about; empty when it is about something else."""

    @property
    def headless_command(self) -> str:
        if PARTS[self.shown] == "Profile":
            return shell_command("runs profile", self.folder.name)
        is_live = self.view is not None and self.view.is_live
        return shell_command("runs follow" if is_live else "runs show", self.folder.name)

    def compose_body(self) -> ComposeResult:
        yield ProgressLine().data_bind(Monitor.view)
        yield FiguresLine().data_bind(Monitor.view)
        yield TabLine(PARTS).data_bind(Monitor.shown)
        yield Static("", id="notice", markup=False)
        with Container(id="parts"):
            with Vertical(id="overview", classes="part"):
                yield EndingPanel().data_bind(Monitor.view)
                chart = RunChart().data_bind(Monitor.view)
                chart.id = "main-chart"
                yield chart
                with Horizontal(id="more-charts"):
                    yield RunChart("learning_rate").data_bind(Monitor.view)
                    yield RunChart("grad_norm").data_bind(Monitor.view)
                yield TelemetryPanel().data_bind(Monitor.view)
            yield SamplesPane().data_bind(Monitor.view).add_class("part")
            with Container(id="log-part", classes="part"):
                yield TimelinePane().data_bind(Monitor.view)
                yield LogPane().data_bind(Monitor.view)
            yield DetailsPane().data_bind(Monitor.view).add_class("part")
            yield ProfilePane().data_bind(Monitor.view).add_class("part")

    def on_mount(self) -> None:
        self.query_one(TitleBar).words = self.folder.name
        self.watch_shown()
        start_feeder(self.app, self._watch.run)

    def on_unmount(self) -> None:
        self._watch.end()

    def on_run_viewed(self, message: RunViewed) -> None:
        self.view = message.view

    def watch_view(self, before: RunView | None, view: RunView | None) -> None:
        if view is None:
            return
        if view.folder != self.folder:  # it was renamed
            self.folder = view.folder
            self.query_one(TitleBar).words = self.folder.name
        self.query_one(TitleBar).state = _state_words(view)
        self.set_class(view.run.last_step is not None, "-trains")
        if before is not None and (before.run.attempt != view.run.attempt or before.is_live < view.is_live):
            self._clear_notice()  # it was about the attempt before
        self._tell_answers(view)
        self._tell_warning(before, view)
        if before is None or before.status != view.status:
            self.refresh_command()
            self.refresh_bindings()

    def watch_shown(self) -> None:
        """Set the classes by which monitor.tcss shows parts for a size."""
        for index, name in enumerate(PARTS):
            self.set_class(index == self.shown, f"-{name.lower()}")
        focus = (None, SamplesPane, TimelinePane, DetailsPane, ProfilePane)[self.shown]
        self.set_focus(self.query_one(focus) if focus is not None else None)
        if self.view is not None:
            self.refresh_command()
        self.refresh_bindings()

    def _tell_answers(self, view: RunView) -> None:
        """Say when a request takes effect, until it has; and which ones an ended run did not get to."""
        for answer in view.run.requests:
            if self._unanswered.pop(answer.id, None) is not None:
                self._notice(answer.words)
                self._told = "" if answer.is_refused else answer.id
        pending = view.run.pending
        if self._told and self._told not in [accepted.id for accepted in pending]:
            self._clear_notice()  # it was carried out
        undone = dict.fromkeys(UNDONE[left.request] for left in pending if left.request in UNDONE)
        if not view.is_live and self._unanswered:
            self._unanswered.clear()
            self._notice("The run ended before the request.")
        elif not view.is_live and undone:
            self._notice(f"The run ended before {' and '.join(undone)}; ask again when it trains.")

    def _tell_warning(self, before: RunView | None, view: RunView) -> None:
        known = len(before.run.warnings) if before is not None else 0
        if view.is_live and len(view.run.warnings) > known:
            warning = view.run.warnings[-1]
            self._notice(f"! {warning.message} {warning.hint}".rstrip())

    def _notice(self, words: str) -> None:
        """Show the last event above the parts."""
        self._told = ""
        line = self.query_one("#notice", Static)
        show(line, literal(words))
        line.add_class("-said")

    def _clear_notice(self) -> None:
        self._told = ""
        self.query_one("#notice", Static).remove_class("-said")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys that are not available."""
        view = self.view
        match action:
            case "ask" if parameters == ("profile",) and PARTS[self.shown] != "Profile":
                return False
            case "stop" | "ask":
                return view is not None and view.is_live and (action == "stop" or view.status == "running")
            case "resume":
                return view is not None and view.can_resume
            case "same_again":
                return view is not None and not view.is_live
            case "share" | "chat":
                return view is not None and not view.is_live and view.run.adapter is not None
            case "axis" | "zoom" | "curve":
                return self.shown == 0
            case "log":
                return PARTS[self.shown] == "Log"
        return True

    def action_show(self, index: int) -> None:
        self.shown = index

    def action_turn(self) -> None:
        self.shown = (self.shown + 1) % len(PARTS)

    @on(TabLine.Chosen)
    def choose_part(self, event: TabLine.Chosen) -> None:
        self.shown = event.index

    def action_axis(self) -> None:
        for chart in self.query(RunChart):
            chart.turn_axis()

    def action_zoom(self) -> None:
        for chart in self.query(RunChart):
            chart.turn_zoom()

    def action_curve(self) -> None:
        self.query_one("#main-chart", RunChart).turn_measure()

    def action_log(self) -> None:
        """The other half of the Log part; a short screen shows only one of them."""
        self.set_class(not self.query_one(LogPane).has_focus, "-raw")
        self.set_focus(self.query_one(LogPane if self.has_class("-raw") else TimelinePane))

    @work
    async def action_stop(self) -> None:
        from tuner_tui.runs import queue
        from tuner_tui.ui.modals.stop_run import StopModal
        from tuner_tui.ui.run_actions import end_run_now

        way = await self.app.push_screen_wait(StopModal(self.folder))
        if way is None:
            return
        if way == "now":
            self.perform(lambda: end_run_now(self.folder))
        elif queue.withdraw(self.folder.name):
            self._notice("Removed from the queue.")
        else:
            self.action_ask("stop")

    def action_ask(self, request: Request) -> None:
        """Leave a request in the run's folder."""
        from tuner_tui.runs.control import leave_request

        self.report(lambda: RequestLeft(request, leave_request(self.folder, request)))

    def on_request_left(self, message: RequestLeft) -> None:
        self._unanswered[message.id] = message.request
        self._notice(f"{ASKED[message.request]}; waiting for the worker to read it ...")
        if self.view is not None:
            self._tell_answers(self.view)

    def action_resume(self) -> None:
        from tuner_tui.ui.run_actions import resume_run

        self.perform(lambda: resume_run(self.folder))

    def action_same_again(self) -> None:
        from tuner_tui.ui.run_actions import spec_of

        self.open_same_again(lambda: spec_of(self.folder))

    def action_chat(self) -> None:
        self.tuner.open_chat(self.folder)

    def action_share(self) -> None:
        self.tuner.open_share(self.folder)


def _state_words(view: RunView) -> str:
    """Status with its mark, and the phase of a live run."""
    mark, _ = run_words.MARKS[view.status]
    phase = view.run.phase
    doing = f": {PHASES[phase]}" if phase and view.status == "running" and phase != "training" else ""
    attempt = f", attempt {view.run.attempt}" if view.run.attempt > 1 else ""
    return f"{mark} {view.status}{doing}{attempt}"
