"""Data: inspecting one data set, for the model, method and length of a new run."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.binding import Binding
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import ContentSwitcher, Input, TextArea

from tuner_tui.config.draft import UNSET
from tuner_tui.config.methods import own_options
from tuner_tui.errors import TunerError
from tuner_tui.text import counted, shell_command
from tuner_tui.ui.background import in_background
from tuner_tui.ui.data_looks import reading_of
from tuner_tui.ui.modals.confirm import ConfirmModal
from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.screens.data.checks import ChecksPane
from tuner_tui.ui.screens.data.columns import ColumnsPane
from tuner_tui.ui.screens.data.lengths import LengthsPane
from tuner_tui.ui.screens.data.rows import RowsPane
from tuner_tui.ui.screens.data.tokens import TokensPane
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.tab_line import TabLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.data.recognition.reading import Reading

PARTS = ("checks", "lengths", "rows", "tokens", "columns")
Changes = dict[str, str]
"""Options of the spec by key, as they would be typed."""


class DataChanged(Message):
    """Something of the spec was changed here."""


class DataScreen(TunerScreen):
    """Five parts of one data set. Changes are passed to `on_close` when the screen is closed."""

    CSS_PATH = "screen.tcss"
    TITLE_WORDS = "Data"
    HELP_TEXT = (
        "1 to 5 show a part: problems, row lengths, the rows, the tokens of one row as the trainer gets them, and the "
        "columns, which are chosen from lists. Changes are stored in the run's spec; the file is not changed."
    )
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "leave", "Back", key_display="esc", tooltip="Back to the new run, with the changes"),
        *(
            Binding(str(number), f"show_part('{part}')", part.capitalize(), show=False)
            for number, part in enumerate(PARTS, 1)
        ),
    ]  # fmt: skip

    part: reactive[str] = reactive("checks", init=False)

    def __init__(self, spec: RunSpec, on_close: Callable[[Changes], None], part: str = "checks") -> None:
        super().__init__()
        self.set_reactive(DataScreen.part, part)
        self.spec = spec
        self.changes: Changes = {}
        self._on_close = on_close
        self._reading: Reading | None = None

    @property
    def headless_command(self) -> str:
        words: list[str] = []
        if self.spec.model.source != UNSET:
            words += ["--model", self.spec.model.source]
        words += self._words_of_training()
        data = self.spec.data
        words += ["--shape", data.shape] if data.shape != "auto" else []
        words += ["--split", data.split] if data.split else []
        words += ["--encoding", data.encoding] if data.encoding else []
        words += ["--chunk-bytes", str(data.chunk_bytes)] if data.chunk_bytes else []
        words += ["--evaluation", data.evaluation] if data.evaluation else []
        for line in self.spec.data.mapping:
            words += ["--map", line]
        for step in self.spec.data.fixes:
            words += ["--fix", step]
        return shell_command("data check", self.spec.data.train, options=words)

    def _words_of_training(self) -> list[str]:
        """Options of the command for how the rows are trained."""
        spec, loss_on = self.spec, own_options.loss_on(self.spec.method)
        words = ["--method", spec.method.kind, "--length", str(spec.training.max_length)]
        if spec.data.template is not None:
            words += ["--template", spec.data.template]
        return words if loss_on == "answers" else [*words, "--loss-on", loss_on]

    def compose_body(self) -> ComposeResult:
        yield TabLine(tuple(part.capitalize() for part in PARTS))
        with ContentSwitcher(initial=self.part, id="data-parts"):
            yield ChecksPane(id="checks")
            yield LengthsPane(id="lengths")
            yield RowsPane(id="rows")
            yield TokensPane(id="tokens")
            yield ColumnsPane(id="columns")

    def on_mount(self) -> None:
        self.query_one(TitleBar).words = f"Data  {self.spec.data.train}"
        self._open()

    @work(exclusive=True, group="open")
    async def _open(self) -> None:
        try:
            self._reading = await in_background(reading_of, self.spec)
        except (TunerError, OSError) as error:
            self._reading = None
            problem = (
                error if isinstance(error, TunerError) else TunerError("The data cannot be read", str(error))
            )
            self._refuse(problem)
            return
        if not self.query(ChecksPane):  # it was closed meanwhile
            return
        reading = self.unfixed
        self.query_one(ChecksPane).open(self.spec, reading)
        self.query_one(LengthsPane).open(self.spec)
        self.query_one(RowsPane).open(reading)
        tokens = self.query_one(TokensPane)
        tokens.open(self.spec, reading)
        self.query_one(ColumnsPane).open(self.spec, reading, tokens.microscope)
        self._show_part()

    def _refuse(self, problem: TunerError) -> None:
        """No part has anything to show, and each says why; so it does not look as if it were still reading."""
        if not self.query(ChecksPane):
            return
        self.query_one(ChecksPane).refuse(problem)
        self.query_one(LengthsPane).refuse()
        self.query_one(RowsPane).refuse(problem)
        self.query_one(TokensPane).refuse(problem)
        self.show_error(problem)

    @property
    def unfixed(self) -> Reading:
        """The rows before any fix, so that row numbers are those of the file."""
        assert self._reading is not None
        return replace(self._reading, fixes=(), leak=None, part="all", share=0.0)

    # Parts -------------------------------------------------------------------------------------------------

    def action_show_part(self, part: str) -> None:
        self.part = part

    @on(TabLine.Chosen)
    def choose_part(self, message: TabLine.Chosen) -> None:
        self.part = PARTS[message.index]

    def watch_part(self, before: str, _: str) -> None:
        if before == "columns":
            self._use_mapping()
        self._show_part()

    def _show_part(self) -> None:
        self.query_one(TabLine).shown = PARTS.index(self.part)
        self.query_one(ContentSwitcher).current = self.part
        pane = self.query_one(f"#{self.part}")
        if isinstance(pane, ChecksPane | LengthsPane | RowsPane | TokensPane):
            pane.focus_first()
        if isinstance(pane, ColumnsPane):
            pane.show()
        if isinstance(pane, TokensPane):
            pane.look()
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[Any, ...]) -> bool | None:
        is_typing = isinstance(self.focused, Input | TextArea)
        return not (action == "show_part" and is_typing)

    # Messages of the parts ------------------------------------------------------------------------------------

    @on(ChecksPane.Checked)
    def tell_checked(self, message: ChecksPane.Checked) -> None:
        report = message.report
        more = "more than " if report.is_partial else ""
        self.query_one(TitleBar).state = f"{more}{counted(report.rows, 'row')}, {report.layout.shape}"
        self.query_one(LengthsPane).measure(report)

    @on(ChecksPane.Refused)
    def tell_refused(self) -> None:
        self.query_one(LengthsPane).refuse()

    @on(TokensPane.Looked)
    def measure_again(self) -> None:
        """The first token view extracts a GGUF model's tokenizer, which lengths need."""
        self.query_one(LengthsPane).measure_if_due()

    @on(LengthsPane.Rendered)
    def show_look(self, message: LengthsPane.Rendered) -> None:
        self.query_one(ChecksPane).show_look(message.look)

    @on(LengthsPane.TokenizerLacks)
    def write_tokenizer(self) -> None:
        self.query_one(TokensPane).look()

    @on(ChecksPane.RowsAsked)
    def show_rows(self, message: ChecksPane.RowsAsked) -> None:
        self.query_one(RowsPane).go_to(message.place)
        self.part = "rows"

    @on(RowsPane.Picked)
    def show_tokens(self, message: RowsPane.Picked) -> None:
        self.query_one(TokensPane).row = message.place
        self.part = "tokens"

    @on(ChecksPane.FixToggled)
    def toggle_fix(self, message: ChecksPane.FixToggled) -> None:
        steps = set(self.spec.data.fixes) ^ {message.step}
        self._change_data("fixes", tuple(step for step in message.order if step in steps), ", ")
        self.query_one(ChecksPane).show_fixes(self.spec.data.fixes)

    @on(ColumnsPane.Mapped)
    def take_mapping(self, message: ColumnsPane.Mapped) -> None:
        self._map(message.lines)

    def _map(self, lines: tuple[str, ...]) -> None:
        """Read the rows by other mapping lines."""
        if lines == self.spec.data.mapping:
            return
        self._change_data("mapping", lines, "\n")
        if lines and self.spec.data.shape != "auto":
            self._change_data("shape", "auto", "")
        self._open()

    def _use_mapping(self) -> None:
        """Use the mapping that was chosen, when its part is left."""
        pane = self.query_one(ColumnsPane)
        if not self._has_other_mapping:
            return
        if pane.problem:
            words = f"The mapping was not applied: {pane.problem}."
            self.app.notify(words, severity="warning", markup=False)
            return
        self._map(pane.lines)

    @on(LengthsPane.LimitTaken)
    def take_limit(self, message: LengthsPane.LimitTaken) -> None:
        training = self.spec.training.model_copy(update={"max_length": message.limit})
        self.spec = self.spec.model_copy(update={"training": training})
        self.changes["training.max_length"] = str(message.limit)
        self.notify(f"The length limit is now {message.limit} tokens.", markup=False)
        self._open()

    def _change_data(self, name: str, value: Any, joint: str) -> None:
        data = self.spec.data.model_copy(update={name: value})
        self.spec = self.spec.model_copy(update={"data": data})
        self.changes[f"data.{name}"] = value if isinstance(value, str) else joint.join(value)
        self.refresh_command()

    def action_leave(self) -> None:
        if isinstance(self.focused, Input):
            self.query_one(RowsPane).focus_first()
            return
        if isinstance(self.focused, TextArea):
            self.query_one(ColumnsPane).leave_lines()
            return
        self._leave()

    @work(exclusive=True, group="leave")
    async def _leave(self) -> None:
        """With the changes; a mapping that cannot be used goes only when the person says so."""
        question = self.leaving
        if question is not None:
            if not await self.app.push_screen_wait(question):
                self.part = "columns"
                return
        elif self.part == "columns":
            self._use_mapping()
        changes = self.changes
        with contextlib.suppress(IndexError):
            self.dismiss(None)
            self._on_close(changes)

    @property
    def leaving(self) -> ConfirmModal | None:
        pane = self.query_one(ColumnsPane)
        if not self._has_other_mapping or not pane.problem:
            return None
        message = f"{pane.problem}.\n\nLeaving drops it, and the rows are read as before."
        return ConfirmModal("This mapping cannot be used", message, "Leave", "Stay")

    @property
    def _has_other_mapping(self) -> bool:
        """Whether the mapping that is shown is not the one that the rows are read by."""
        pane = self.query_one(ColumnsPane)
        return pane.is_ready and pane.lines != self.spec.data.mapping
