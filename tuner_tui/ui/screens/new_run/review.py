"""Step 5: the run: remaining problems, the plan for this machine, its run.toml, and Start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import on
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, OptionList, Static

from tuner_tui.config.spec_paths import resolve_paths
from tuner_tui.hardware.survival import why_it_ends
from tuner_tui.planning.plan import make_plan
from tuner_tui.planning.run_time import UNKNOWN, Outlook
from tuner_tui.ui.screens.new_run.state import problem_words
from tuner_tui.ui.widgets.literal import literal, literal_lines, show
from tuner_tui.ui.widgets.pick_list import PickList, PickRow
from tuner_tui.ui.widgets.probe_line import ProbeLine

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.rules import Problem
    from tuner_tui.errors import TunerError
    from tuner_tui.planning.planner import MemoryPlan
    from tuner_tui.ui.screens.new_run.state import NewRunState


class StartButton(Button):
    """Starts the run."""

    BINDINGS = [Binding("enter", "press", "Start", show=False)]  # noqa: RUF012
    help_text = "Starts the run. It continues when the app or the terminal is closed."


class ProblemList(PickList):
    """Problems that prevent the start."""

    BINDINGS = [Binding("enter", "select", "Go there", tooltip="Go to the field of this problem")]  # noqa: RUF012


class ReviewPane(Vertical):
    """Shows the run and offers what can be done with it; the screen does it."""

    BINDINGS = [  # noqa: RUF012
        Binding("s", "ask('start')", "Start"),
        Binding(
            "t", "ask('probe')", "Probe", tooltip="Run three steps on your longest rows and measure them"
        ),
        Binding("t", "ask('end probe')", "End probe", tooltip="Cancel the probe and discard its results"),
        Binding("e", "ask('edit')", "Edit run.toml", tooltip="Open run.toml in $VISUAL or $EDITOR"),
        Binding("w", "ask('write')", "Write", tooltip="Write run.toml to a file"),
        Binding("p", "ask('preset')", "Save preset", tooltip="Save these settings as your own preset"),
        Binding("x", "ask('drop')", "Discard text", tooltip="Discard the edited text that cannot be read"),
        *(
            Binding(key, f"scroll_text('{way}')", "Scroll", show=False)  # also while Start has the focus
            for key, way in (
                ("up", "up"),
                ("down", "down"),
                ("pageup", "page_up"),
                ("pagedown", "page_down"),
                ("home", "home"),
                ("end", "end"),
            )
        ),
    ]

    class Asked(Message):
        """An action on the run: start, probe, end probe, edit, write, preset, drop."""

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    class ProblemPicked(Message):
        """A problem was chosen, to go to the field that fixes it."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._state: NewRunState | None = None
        self._problems: tuple[Problem, ...] = ()
        self.probe = ProbeLine(id="probe")
        self._memory: MemoryPlan | None = None
        self._outlook = UNKNOWN
        self._doing = ""
        """What the screen said last of the start, until the draft changes."""

    def compose(self) -> ComposeResult:
        with Horizontal(id="start-line"):
            yield StartButton("Start", variant="primary", compact=True, id="start")
            yield Static(id="start-words")
        yield Static(id="start-error", classes="-problem")
        yield ProblemList(
            id="problems", help_text="Problems that prevent the start. Enter goes to the field."
        )
        yield Static(id="problem-words")
        yield self.probe
        with VerticalScroll(id="run-text", can_focus=True):
            yield Static(id="choices")
            yield Static(id="toml")

    def check_action(self, action: str, parameters: tuple[Any, ...]) -> bool | None:
        is_broken = self._state is not None and self._state.draft.broken is not None
        if action == "ask" and parameters:
            is_sound, is_probing = not self._problems, self.probe.is_at_work
            return {
                "drop": is_broken,
                "start": is_sound,
                "preset": is_sound,
                "probe": is_sound and not is_probing,
                "end probe": is_probing,
            }.get(parameters[0], True)
        return True

    def focus_first(self) -> None:
        """As it is first seen: from its top."""
        self.query_one("#run-text").scroll_home(animate=False)
        self.screen.set_focus(self.query_one("#problems" if self._problems else "#start"))

    def action_scroll_text(self, way: str) -> None:
        getattr(self.query_one("#run-text"), f"scroll_{way}")(animate=False)

    def show(self, state: NewRunState) -> None:
        """Follow the draft."""
        had_problems = bool(self._problems)
        if self._state is None or self._state.draft != state.draft:
            self.show_error(None)  # of the draft as it was
            self._doing = ""
        self._state = state
        self._problems = state.problems
        problems = self.query_one(ProblemList)
        problems.display = self.query_one("#problem-words").display = bool(self._problems)
        problems.show(tuple(_row(index, problem) for index, problem in enumerate(self._problems)))
        problems.styles.height = min(len(self._problems), 6)
        self.probe.display = self.probe.is_at_work or not self._problems
        self.probe.forget_settings(resolve_paths(state.draft.spec, Path.cwd()))
        self.query_one("#start", Button).disabled = bool(self._problems)
        self.query_one("#start-words", Static).update(literal(self._words(state)))
        self._show_choices()
        self.query_one("#toml", Static).update(literal_lines(state.draft.toml().rstrip("\n")))
        self.refresh_bindings()
        if self.display and had_problems != bool(self._problems) and self.screen.focused in (None, problems):
            self.focus_first()

    def show_plan(self, memory: MemoryPlan | None, outlook: Outlook) -> None:
        """Show the plan."""
        is_other = self._outlook != outlook
        self._memory, self._outlook = memory, outlook
        self._show_choices()
        if is_other and self._state is not None:
            self.query_one("#start-words", Static).update(literal(self._words(self._state)))

    def _show_choices(self) -> None:
        if self._state is not None:
            show(self.query_one("#choices", Static), _choices(self._state, self._memory, self._outlook))

    def show_error(self, error: TunerError | None) -> None:
        """Show why the start failed; None clears it."""
        line = self.query_one("#start-error", Static)
        line.display = error is not None
        if error is not None:
            words = "\n".join(part for part in (f"! {error.title}", error.message, error.hint) if part)
            line.update(literal_lines(words))

    def say(self, words: str) -> None:
        """Show beside the button what is being done, also while figures come in."""
        self._doing = words
        self.query_one("#start-words", Static).update(literal(words))

    def action_ask(self, what: str) -> None:
        self.post_message(self.Asked(what))

    @on(Button.Pressed, "#start")
    def start(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_ask("start")

    @on(OptionList.OptionHighlighted, "#problems")
    def explain(self, event: OptionList.OptionHighlighted) -> None:
        """Rows may be truncated; the selected one is shown in full."""
        event.stop()
        problem = self._problems[int(event.option_id or 0)]
        self.query_one("#problem-words", Static).update(literal(problem_words(problem)))

    @on(OptionList.OptionSelected, "#problems")
    def go_there(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        problem = self._problems[int(event.option_id or 0)]
        if self._state and self._state.draft.broken:
            self.action_ask("edit")
        else:
            self.post_message(self.ProblemPicked(problem.key))

    def _words(self, state: NewRunState) -> str:
        if self._doing:
            return self._doing
        if state.draft.broken is not None:
            return "The edited text cannot be used: e edits it again, x discards it."
        if self._problems:
            return "Not ready: Enter on a problem goes to its field."
        if self._outlook.is_slow:
            return f"It is slow here: {self._outlook.words or self._outlook.rough_words}."
        if why_it_ends():
            return "It continues without the app, but ends when you log out: see d on Home."
        return "It continues without the app and this terminal."


def _row(index: int, problem: Problem) -> PickRow:
    where = f"line {problem.line} {problem.key}" if problem.line else problem.key or "run.toml"
    return PickRow(str(index), f"! {where.strip()}", (problem_words(problem),))


def _choices(state: NewRunState, memory: MemoryPlan | None, outlook: Outlook) -> Content:
    """The plan for this machine with reasons, and suggestions where nothing fits."""
    if state.model is None or state.model.source is None or state.draft.broken is not None:
        return Content()
    lines = [Content.styled("Chosen for this machine", "bold")]
    for choice in make_plan(state.draft.spec, state.model.source, memory=memory).choices:
        lines.append(literal(f"  {choice.name}: {choice.value} ({choice.reason})"))
    if len(lines) == 1:
        lines.append(Content.styled("  nothing: everything is set", "$faint"))
    if state.data is not None:
        lines += [literal(f"  {line}", "$warning") for line in state.data.left_out]
    lines += [literal(f"  {line}", "$warning") for line in state.warnings]
    if outlook.words:
        lines.append(literal(f"  takes {outlook.words}, by the speed of earlier runs here"))
    elif outlook.rough_words:
        words = f"  takes {outlook.rough_words}: t runs three steps and measures it"
        lines.append(literal(words, "$warning" if outlook.is_slow else ""))
    if memory is not None and memory.suggestions:
        lines.append(Content.styled("It does not fit. Suggestions, the cheapest first", "bold $error"))
        lines += [literal(f"  {suggestion.words}") for suggestion in memory.suggestions]
    return Content("\n").join([*lines, Content(""), Content.styled("run.toml", "bold")])
