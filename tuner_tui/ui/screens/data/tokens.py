"""The token microscope: what the trainer is fed of one row, made by the code that feeds it, in a worker kept warm."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from textual import work
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from tuner_tui.config.draft import UNSET
from tuner_tui.data.tokens.microscope import LookReply, Sequence, Token
from tuner_tui.errors import TunerError
from tuner_tui.keeper.microscope import Microscope, request_for
from tuner_tui.text import plain
from tuner_tui.ui.background import in_background
from tuner_tui.ui.widgets.literal import literal

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.data.recognition.reading import Reading

LOSS, TEMPLATE, CUT, END = "underline $success", "$faint", "strike $error", "reverse"


class TokensPane(VerticalScroll):
    """Follows a row; left and right go to the next one."""

    BINDINGS = [  # noqa: RUF012
        Binding("left,p", "step(-1)", "Row before", key_display="←", tooltip="The row before this one"),
        Binding("right,n", "step(1)", "Next row", key_display="→", tooltip="The row after this one"),
        Binding("i", "toggle_ids", "Ids", tooltip="One token a line, with its place and id; or running text"),
    ]
    help_text = (
        "Exactly what the trainer is fed: underlined tokens have loss, faint ones are the template's, struck ones are "
        "truncated at the length limit, and reversed ones are EOS tokens."
    )

    class Looked(Message):
        """A row was looked at."""

    row: reactive[int] = reactive(1)
    has_ids: reactive[bool] = reactive(False)

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._spec: RunSpec | None = None
        self._reading: Reading | None = None
        self._microscope = Microscope()
        self._reply: LookReply | None = None
        self._is_wanted = False

    def compose(self) -> ComposeResult:
        yield Static("", id="token-words", markup=False)

    def focus_first(self) -> None:
        self.screen.set_focus(self)

    def on_unmount(self) -> None:
        self._close()

    @work(thread=True, group="microscope", exit_on_error=False)
    def _close(self) -> None:
        self._microscope.close()

    def open(self, spec: RunSpec, reading: Reading) -> None:
        """Follow another spec; the row is looked at when the pane is in view."""
        self._spec, self._reading = spec, reading
        self._reply = None
        if self._is_wanted:
            self.look()

    def watch_row(self) -> None:
        if self._is_wanted:
            self.look()

    def watch_has_ids(self) -> None:
        self._show()

    def action_step(self, by: int) -> None:
        self.row = max(1, self.row + by)

    def action_toggle_ids(self) -> None:
        self.has_ids = not self.has_ids

    @work(exclusive=True, group="look")
    async def look(self) -> None:
        """Look at the row; the first look takes the seconds that a worker needs to start."""
        self._is_wanted = True
        spec, reading, row = self._spec, self._reading, self.row
        if spec is None or reading is None:
            return
        if spec.model.source == UNSET:
            self._say(literal("Pick a model first: the tokens are those of its tokenizer.", "$faint"))
            return
        if self._reply is None:
            self._say(literal(f"Looking at row {row:,}; the first look takes some seconds ...", "$faint"))
        try:
            self._reply = await in_background(look_at, self._microscope, spec, reading, row)
        except (TunerError, OSError) as error:
            self._reply = LookReply(problem=str(error))
        self.post_message(self.Looked())
        self._show()

    def _show(self) -> None:
        reply = self._reply
        if reply is None or not self.is_mounted:
            return
        lines = [literal(f"Row {self.row:,}", "bold")]
        if reply.problem:
            lines.append(literal(f"✗ {reply.problem} {reply.hint}", "$error"))
        else:
            lines.append(legend())
        for sequence in reply.sequences:
            lines += [Content(""), title(sequence)]
            lines.append(token_table(sequence) if self.has_ids else running_text(sequence))
            lines += [literal(f"! {note}", "$warning") for note in sequence.notes]
        self._say(Content("\n").join(lines))
        self.scroll_home(animate=False)

    def _say(self, words: Content) -> None:
        if self.query("#token-words"):
            self.query_one("#token-words", Static).update(words)


def look_at(microscope: Microscope, spec: RunSpec, reading: Reading, row: int) -> LookReply:
    """Ask the worker what a run of this spec would feed its trainer of a row. Raises TunerError."""
    changes = tuple(step for step in spec.data.fixes if not step.startswith("drop_"))
    method = spec.method
    request = request_for(
        replace(reading, fixes=changes),
        row,
        spec.model.source,
        method.kind,
        revision=spec.model.revision,
        loss_on=getattr(method, "loss_on", "answers"),
        packing=bool(getattr(method, "packing", False)),
        max_length=spec.training.max_length,
        template=spec.data.template,
    )
    return microscope.look(request)


def legend() -> Content:
    """What the styles mean."""
    return Content.assemble(
        ("with loss", LOSS), "  ", ("template", TEMPLATE), "  ", ("truncated", CUT), "  ", ("EOS token", END),
        ("  i: one a line", "$faint"),
    )  # fmt: skip


def title(sequence: Sequence) -> Content:
    """A sequence's name, and how much of it is learnt."""
    dropped = ": left out, the trainer never sees it" if sequence.is_dropped else ""
    cut = len(sequence.tokens) - len(sequence.fed)
    told = f"{sequence.trained:,} of {len(sequence.fed):,} tokens with loss" + (
        f", {cut:,} truncated" if cut else ""
    )
    return Content.assemble(literal(f"{sequence.title}{dropped}", "bold"), (f"  {told}", "$secondary"))


def running_text(sequence: Sequence) -> Content:
    """The tokens one after the other, each in its style; line breaks stay visible."""
    parts: list[Content] = []
    for token in sequence.tokens:
        text = plain(token.text).replace("\\x0a", "⏎\n")
        style = style_of(token)
        parts.append(Content.styled(text, style) if style else Content(text))
    return Content("").join(parts)


def token_table(sequence: Sequence) -> Content:
    """One token a line: place, id, whether it is learnt, and what it says."""
    lines = []
    for place, token in enumerate(sequence.tokens):
        text = Content.styled(plain(token.text), style_of(token) or "")
        lines.append(Content.assemble(f"{place:>6}{token.id:>8}  {token.mark:<5}{token.kind:<9}", text))
    return Content("\n").join(lines)


def style_of(token: Token) -> str:
    """Loss, template, cut and end, told apart also without colours."""
    if token.cut:
        return CUT
    styles = [END] if token.end else []
    if token.loss:
        styles.append(LOSS)
    elif token.template:
        styles.append(TEMPLATE)
    return " ".join(styles)
