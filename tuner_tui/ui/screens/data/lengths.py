"""Row lengths in the model's tokens, with the limit, and a suggested limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import work
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Static

from tuner_tui.config.draft import UNSET
from tuner_tui.config.methods import own_options
from tuner_tui.data.tokens.length_picture import length_bars, length_title, length_words
from tuner_tui.errors import TunerError
from tuner_tui.models.tokenizer_folder import NoTokenizer
from tuner_tui.ui.background import in_background
from tuner_tui.ui.widgets.literal import literal_lines

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.data.checking.report import DataReport
    from tuner_tui.data.checking.with_model import ModelLook
    from tuner_tui.data.tokens.lengths import LengthReport


class LengthsPane(VerticalScroll):
    """Measured on the sample of rows that the checks took."""

    BINDINGS = [  # noqa: RUF012
        Binding("l", "take_limit", "Use limit", tooltip="Set training.max_length to the suggested one"),
        Binding("u", "undo_limit", "Undo", tooltip="Restore the limit from before"),
    ]
    help_text = (
        "Histogram of sequence lengths in tokens, with the limit. l uses the suggested limit, u undoes it."
    )

    class LimitTaken(Message):
        """The suggested limit is to be used."""

        def __init__(self, limit: int) -> None:
            super().__init__()
            self.limit = limit

    class TokenizerLacks(Message):
        """The model's tokenizer has to be extracted first."""

    class Rendered(Message):
        """What the model makes of the rows, or why that cannot be told."""

        def __init__(self, look: ModelLook | TunerError) -> None:
            super().__init__()
            self.look = look

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._spec: RunSpec | None = None
        self._lengths: LengthReport | None = None
        self._report: DataReport | None = None
        self._has_asked = False
        self._limit_before: int | None = None
        """The limit that the suggested one replaced."""

    def compose(self) -> ComposeResult:
        yield Static("The rows are being read.", id="lengths-words", markup=False)

    def focus_first(self) -> None:
        self.screen.set_focus(self)

    def open(self, spec: RunSpec) -> None:
        """Follow another spec; lengths come with `measure`."""
        self._spec = spec
        self._lengths = self._report = None
        self.query_one("#lengths-words", Static).update("The rows are being read.")

    def refuse(self) -> None:
        """The rows cannot be read: there is nothing to measure."""
        self.query_one("#lengths-words", Static).update("The rows cannot be read: 1 shows why.")

    @work(exclusive=True, group="lengths")
    async def measure(self, report: DataReport) -> None:
        """Measure the sample."""
        spec = self._spec
        self._report = report
        if spec is None:
            return
        words = self.query_one("#lengths-words", Static)
        if spec.model.source == UNSET:
            words.update("Choose a model first: tokens are counted with its tokenizer.")
            return
        try:
            look = await in_background(_look, spec, report)
        except TunerError as error:
            if isinstance(error, NoTokenizer) and not self._has_asked:
                self._has_asked = True
                words.update("Extracting the model's tokenizer, once; this takes some seconds ...")
                self.post_message(self.TokenizerLacks())
                return
            words.update(literal_lines(f"{error.title}: {error.message}\n{error.hint}"))
            self.post_message(self.Rendered(error))
            return
        self.post_message(self.Rendered(look))
        self._lengths = look.lengths
        if self._lengths is None:
            refuses = "The model's chat template refuses these rows" if report.rows else "No row can be read"
            words.update(f"{refuses}; 1 shows why.")
            return
        room = max(20, min(100, (self.size.width or 78) - 22))
        lengths = self._lengths
        lines = [length_title(lengths), *length_words(lengths), "", *length_bars(lengths, room, "█")]
        words.update(literal_lines("\n".join(lines)))
        self.screen.refresh_bindings()

    def measure_if_due(self) -> None:
        """Measure again after the tokenizer was extracted."""
        if self._report is not None and self._lengths is None:
            self.measure(self._report)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "undo_limit":
            return self._limit_before is not None
        if action != "take_limit":
            return True
        return self._lengths is not None and self._lengths.usual_limit != self._lengths.limit

    def action_take_limit(self) -> None:
        if self._lengths is not None:
            self._limit_before = self._lengths.limit
            self.post_message(self.LimitTaken(self._lengths.usual_limit))

    def action_undo_limit(self) -> None:
        if self._limit_before is not None:
            limit, self._limit_before = self._limit_before, None
            self.post_message(self.LimitTaken(limit))


def _look(spec: RunSpec, report: DataReport) -> ModelLook:
    from tuner_tui.data.checking.with_model import look_with_model
    from tuner_tui.data.tokens.template import load_model_text
    from tuner_tui.models.tokenizer_folder import tokenizer_folder

    folder = tokenizer_folder(spec.model.source, spec.model.revision)
    with load_model_text(folder, spec.data.template) as text:
        return look_with_model(
            report,
            text,
            spec.training.max_length,
            loss_on=own_options.loss_on(spec.method),
            allowed=spec.data.allow,
        )
