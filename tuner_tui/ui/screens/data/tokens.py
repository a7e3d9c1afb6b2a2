"""The token microscope: one row as the trainer gets it, made by the same code in a persistent worker."""

from __future__ import annotations

import threading
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
from tuner_tui.config.methods import own_options
from tuner_tui.data.recognition.reading import plain_rows
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
    """Shows one row; left and right change it."""

    BINDINGS = [  # noqa: RUF012
        Binding("left,p", "step(-1)", "Previous row", key_display="←", tooltip="Show the previous row"),
        Binding("right,n", "step(1)", "Next row", key_display="→", tooltip="Show the next row"),
        Binding("i", "toggle_ids", "Ids", tooltip="One token per line, with index and id; or running text"),
    ]
    help_text = (
        "Exactly the tokens that the trainer gets: underlined ones have loss, faint ones are from the template, "
        "struck-out ones are truncated at the length limit, and reversed ones are EOS."
    )

    class Looked(Message):
        """A row's tokens are ready."""

    row: reactive[int] = reactive(1)
    has_ids: reactive[bool] = reactive(False)

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._spec: RunSpec | None = None
        self._reading: Reading | None = None
        self.microscope = Microscope()
        """For all parts that show tokens; this one closes it."""
        self._reply: LookReply | None = None
        self._is_wanted = False
        self._is_readable = False
        """Whether rows can be read at all, which is known long before a worker has started."""

    def compose(self) -> ComposeResult:
        yield Static("", id="token-words", markup=False)

    def focus_first(self) -> None:
        self.screen.set_focus(self)

    def on_unmount(self) -> None:
        # No worker of this widget, which would be cancelled with it. It waits for the request under way.
        threading.Thread(target=self.microscope.close, name="close-microscope", daemon=True).start()

    def open(self, spec: RunSpec, reading: Reading) -> None:
        """Follow another spec; the row is loaded when the pane is visible."""
        self._spec, self._reading = spec, reading
        self._reply, self._is_readable = None, False
        if self._is_wanted:
            self.look()

    def refuse(self, error: TunerError) -> None:
        """The data cannot be read."""
        self._reply = LookReply(problem=str(error), hint=error.hint)
        self._show()

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
        """Load the row's tokens; the first time waits for a worker to start."""
        self._is_wanted = True
        spec, reading, row = self._spec, self._reading, self.row
        if spec is None or reading is None:
            return
        if spec.model.source == UNSET:
            self._say(literal("Choose a model first: its tokenizer makes the tokens.", "$faint"))
            return
        if self._reply is None:
            self._say(literal(f"Loading row {row:,}; the first time takes some seconds ...", "$faint"))
        try:
            if not self._is_readable:
                await in_background(plain_rows, reading, with_fixes=False)
                self._is_readable = True
            self._reply = await in_background(look_at, self.microscope, spec, reading, row)
        except TunerError as error:
            self._reply = LookReply(problem=str(error), hint=error.hint)
        except OSError as error:
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
            lines.append(Content.assemble(legend(), ("  i: one per line", "$faint")))
        lines += [literal(f"! {words}", "$warning") for words in reply.left_out]
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
    """Ask the worker for a row's tokens as a run of this spec would train on them. Raises TunerError."""
    changes = tuple(step for step in spec.data.fixes if not step.startswith("drop_"))
    method = spec.method
    request = request_for(
        replace(reading, fixes=changes),
        row,
        spec.model.source,
        method.kind,
        revision=spec.model.revision,
        loss_on=own_options.loss_on(method),
        packing=own_options.is_packed(method),
        max_length=spec.training.max_length,
        template=spec.data.template,
    )
    return microscope.look(request)


def legend() -> Content:
    """The legend of the styles."""
    return Content.assemble(
        ("with loss", LOSS), "  ", ("template", TEMPLATE), "  ", ("truncated", CUT), "  ", ("EOS token", END)
    )


def title(sequence: Sequence) -> Content:
    """A sequence's name, and how many of its tokens have loss."""
    dropped = ": dropped before training" if sequence.is_dropped else ""
    cut = len(sequence.tokens) - len(sequence.fed)
    text = f"{sequence.trained:,} of {len(sequence.fed):,} tokens with loss" + (
        f", {cut:,} truncated" if cut else ""
    )
    return Content.assemble(literal(f"{sequence.title}{dropped}", "bold"), (f"  {text}", "$secondary"))


def running_text(sequence: Sequence) -> Content:
    """The tokens one after the other, each in its style; line breaks stay visible."""
    parts: list[Content] = []
    for token in sequence.tokens:
        text = "⏎\n".join(map(plain, token.text.split("\n")))
        style = style_of(token)
        parts.append(Content.styled(text, style) if style else Content(text))
    return Content("").join(parts)


def token_table(sequence: Sequence) -> Content:
    """One token per line: index, id, whether it has loss, and its text."""
    lines = []
    for place, token in enumerate(sequence.tokens):
        text = Content.styled(plain(token.text), style_of(token) or "")
        lines.append(Content.assemble(f"{place:>6}{token.id:>8}  {token.mark:<5}{token.kind:<9}", text))
    return Content("\n").join(lines)


def style_of(token: Token) -> str:
    """Styles of tokens, distinguishable without colours."""
    if token.cut:
        return CUT
    styles = [END] if token.end else []
    if token.loss:
        styles.append(LOSS)
    elif token.template:
        styles.append(TEMPLATE)
    return " ".join(styles)
