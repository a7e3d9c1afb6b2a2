"""Problems of the rows: each finding with its rows, what to do, and a key that fixes it."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static

from tuner_tui.config.draft import UNSET
from tuner_tui.config.methods import own_options
from tuner_tui.data.checking.checks import check
from tuner_tui.data.checking.problems import DataProblem
from tuner_tui.data.checking.report import DataReport, unused_words
from tuner_tui.data.recognition.fixes import FIXES
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.data.rows.unused import not_read_words
from tuner_tui.errors import TunerError
from tuner_tui.limited.process import ChildEnded, Children
from tuner_tui.text import counted
from tuner_tui.ui.data_looks import evaluation_of
from tuner_tui.ui.widgets.literal import literal
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.data.checking.with_model import ModelLook

SIGNS = {"error": "✗ error", "warning": "! warning", "note": "· note"}


class FindingList(PickList):
    """The problems; most have rows to show."""

    BINDINGS = [Binding("enter", "select", "Rows", tooltip="Show the rows that have this problem")]  # noqa: RUF012
    has_place = False
    """Whether the selected problem says where its rows are."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.has_place if action == "select" else True


class ChecksPane(Vertical):
    """Runs the checks in a thread, with progress; they can be stopped."""

    BINDINGS = [  # noqa: RUF012
        Binding("f", "toggle_fix", "Fix", tooltip="Apply the fix for this while reading, or remove it"),
        Binding("x", "stop", "Stop", tooltip="Stop checking, keep the findings so far"),
    ]  # fmt: skip

    class Checked(Message):
        """The rows were checked."""

        def __init__(self, report: DataReport) -> None:
            super().__init__()
            self.report = report

    class Progressed(Message):
        """The number of rows read so far."""

        def __init__(self, rows: int) -> None:
            super().__init__()
            self.rows = rows

    class Refused(Message):
        """The data could not be checked."""

        def __init__(self, error: TunerError) -> None:
            super().__init__()
            self.error = error

    class FixToggled(Message):
        """A fix is to be applied, or removed."""

        order = tuple(FIXES)

        def __init__(self, step: str) -> None:
            super().__init__()
            self.step = step

    class RowsAsked(Message):
        """A finding's rows are to be shown, from a position on."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._report: DataReport | None = None
        self._look: ModelLook | TunerError | None = None
        self._has_model = False
        self._fixes: tuple[str, ...] = ()
        self._is_stopped, self._children = threading.Event(), Children()
        self._is_checking = False

    def compose(self) -> ComposeResult:
        yield Static("Reading ...", id="checks-words", markup=False)
        yield FindingList(
            id="findings", help_text="Problems, the most serious first. Enter shows the rows, f fixes it."
        )
        yield Static("", id="finding-words", markup=False)

    def focus_first(self) -> None:
        self.screen.set_focus(self.query_one(PickList))

    def on_unmount(self) -> None:
        self._is_stopped.set()
        self._children.end()

    def open(self, spec: RunSpec, reading: Reading) -> None:
        """Check a data set again."""
        self._is_stopped.set()
        self._children.end()
        self._is_stopped, self._children = threading.Event(), Children()
        self._fixes = spec.data.fixes
        self._has_model, self._look = spec.model.source != UNSET, None
        self._is_checking = True
        self._say(literal("Checking ...", "$faint"))
        self._check(spec, reading, self._is_stopped, self._children)

    @work(thread=True, group="checks", exclusive=True, exit_on_error=False)
    def _check(
        self, spec: RunSpec, reading: Reading, is_stopped: threading.Event, children: Children
    ) -> None:
        try:
            held_out = evaluation_of(spec)
            report = children.call(
                lambda: check(
                    reading,
                    held_out if held_out is None else replace(held_out, fixes=()),
                    method=spec.method.kind,
                    loss_on=own_options.loss_on(spec.method),
                    on_progress=lambda rows: self._tell_progress(rows, is_stopped),
                    is_cancelled=is_stopped.is_set,
                )
            )
        except ChildEnded:  # the screen was closed, or a new check runs
            return
        except TunerError as error:
            self.post_message(self.Refused(error))
        except OSError as error:
            self.post_message(
                self.Refused(TunerError("The data cannot be read", f"{reading}: {error.strerror}."))
            )
        else:
            if is_stopped is self._is_stopped:
                self.post_message(self.Checked(report))

    def _tell_progress(self, rows: int, is_stopped: threading.Event) -> None:
        if is_stopped is self._is_stopped:
            self.post_message(self.Progressed(rows))

    def on_checks_pane_progressed(self, message: Progressed) -> None:
        message.stop()
        self._say(literal(f"Checking ... {counted(message.rows, 'row')} so far; x stops", "$faint"))

    def on_checks_pane_refused(self, message: Refused) -> None:
        self.refuse(message.error)

    def refuse(self, error: TunerError) -> None:
        """The data cannot be read: there is nothing to check."""
        self._is_checking = False
        self._say(literal(f"✗ {error.in_one_line}", "$error"))

    def on_checks_pane_checked(self, message: Checked) -> None:
        self._is_checking = False
        self._report = message.report
        self._show()
        self.screen.refresh_bindings()

    def show_look(self, look: ModelLook | TunerError) -> None:
        """Add what the model makes of the rows, or why that cannot be told."""
        self._look = look
        if self._report is not None and not isinstance(look, TunerError):
            self._report = look.added_to(self._report)
        self._show()
        self.screen.refresh_bindings()

    def show_fixes(self, fixes: tuple[str, ...]) -> None:
        """Mark the applied fixes."""
        self._fixes = fixes
        self._show()

    def _show(self) -> None:
        report = self._report
        if report is None or not self.query(PickList):
            return
        layout = report.layout
        lines = [
            literal(f"{counted(report.rows, 'row')}, dataset type {layout.shape}: {layout.variant}", "bold"),
            literal(f"because {layout.reason} (confidence {layout.confidence:.0%})", "$secondary"),
        ]
        if unused := unused_words(report):
            lines.append(literal(unused, "$warning"))
        if not_read := not_read_words(report.not_read, "data.split"):
            lines.append(literal(not_read, "$warning"))
        if report.is_partial:
            lines.append(literal("stopped before the end: there may be more problems", "$warning"))
        if self._has_model and self._look is None:
            lines.append(literal("Rendering rows with the model's chat template ...", "$faint"))
        elif isinstance(self._look, TunerError):
            why = f"{self._look.title[0].lower()}{self._look.title[1:]}"
            lines.append(literal(f"not checked with the model: {why}; see Lengths", "$warning"))
        elif not report.problems:
            lines.append(literal("No problems found.", "$success"))
        if self._fixes:
            lines.append(literal(f"fixes while reading: {', '.join(self._fixes)}", "$success"))
        self._say(Content("\n").join(lines))
        self.query_one(PickList).show(tuple(self._row(problem) for problem in report.problems))
        self._explain()

    def _row(self, problem: DataProblem) -> PickRow:
        rows = counted(problem.count, "row")
        fix = "" if problem.fix is None else f"f: {problem.fix}"
        if problem.fix in self._fixes:
            fix = f"✓ {problem.fix}"
        return PickRow(problem.kind, f"{SIGNS[problem.level]:<10}{problem.kind}", (rows, fix))

    @on(OptionList.OptionHighlighted, "#findings")
    def _explain(self) -> None:
        problem = self._picked()
        words = self.query_one("#finding-words", Static)
        self.query_one(FindingList).has_place = _first_place(problem) is not None
        if problem is None:
            words.update("")
            return
        parts = []
        if problem.message:
            parts.append(f"{problem.message.rstrip('.')}.")
        if problem.rows:
            more = ", ..." if problem.count > len(problem.rows) else ""
            parts.append(f"Rows {', '.join(problem.rows)}{more}.")
        parts.append(problem.advice)
        words.update(literal(" ".join(parts)))
        self.screen.refresh_bindings()

    @on(OptionList.OptionSelected, "#findings")
    def show_rows(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        place = _first_place(self._picked())
        if place is not None:
            self.post_message(self.RowsAsked(place))

    def _picked(self) -> DataProblem | None:
        key = self.query_one(PickList).picked_key
        problems = self._report.problems if self._report else ()
        return next((problem for problem in problems if problem.kind == key), None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "toggle_fix":
            problem = self._picked()
            return problem is not None and problem.fix is not None
        return action != "stop" or self._is_checking

    def action_toggle_fix(self) -> None:
        problem = self._picked()
        if problem is not None and problem.fix is not None:
            self.post_message(self.FixToggled(problem.fix))

    def action_stop(self) -> None:
        self._is_stopped.set()

    def _say(self, words: Content) -> None:
        if self.query("#checks-words"):  # the screen may be gone
            self.query_one("#checks-words", Static).update(words)


def _first_place(problem: DataProblem | None) -> int | None:
    """The position of a problem's first row; None where it names none."""
    first = problem.rows[0].partition("~")[0].rpartition(":")[2] if problem and problem.rows else ""
    return int(first) if first.isdigit() else None
