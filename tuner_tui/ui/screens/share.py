"""Share: export a run's result to a folder, or push it to the Hub after showing all files."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual import on, work
from textual.app import SuspendNotSupported
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.reactive import var
from textual.widgets import Input, Label, OptionList, Static

from tuner_tui import guarded
from tuner_tui.errors import TunerError
from tuner_tui.guarded import Unreadable
from tuner_tui.runs.export_events import FORMS, WORKER_FORMS, Form
from tuner_tui.text import duration, plain, shell_command
from tuner_tui.ui.feeders import start_feeder
from tuner_tui.ui.hub_words import WorkProgress
from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.screens.share_work import (
    FIRST_WORDS,
    SAMPLE_CHOICES,
    SAMPLE_WORDS,
    VERIFIED_WORDS,
    Ended,
    FactsRead,
    Visibility,
    Wish,
    Work,
    error_lines,
    prepared_lines,
    read_run,
)
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.literal import literal_lines, show
from tuner_tui.ui.widgets.pick_list import CursorList, PickList, PickRow
from tuner_tui.ui.widgets.transfer_line import TransferLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.sharing.card import SampleChoice
    from tuner_tui.sharing.push import Prepared

NUMBER_TYPES: dict[Form, tuple[str, ...]] = {
    "gguf-adapter": ("f32", "f16"),
    "gguf": ("f16", "q8_0", "f32"),
    "ollama": ("f16", "q8_0", "f32"),
}
"""The default first; llama.cpp's own types need the command line."""

NAME_FIRST = "Type the repository's name: owner/name. Press enter; then w shows the files to push."


class ShareScreen(TunerScreen):
    """One run; progress is shown below, and can be cancelled."""

    TITLE_WORDS = "Share"
    HELP_TEXT = (
        "Export a run's result, or push it to the Hub: private by default, and never your rows. Base and "
        "licence are filled in where known, and are shown in the model card."
    )
    CSS_PATH = "share.tcss"
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "leave", "Back", key_display="esc"),
        Binding("e", "export", "Export", tooltip="Export to the folder, and verify it"),
        Binding("w", "look", "Files", tooltip="Show the files to push; nothing is sent"),
        Binding("n", "quant", "Numbers", tooltip="Data type of a GGUF file"),
        Binding("k", "card", "Card", tooltip="Edit the model card"),
        Binding(
            "g", "samples", "Samples", show=False, tooltip="Samples in the model card: all, unseen, none"
        ),
        Binding("v", "visibility", "Visibility", tooltip="Visibility on the Hub: private or public"),
        Binding("p", "push", "Push", tooltip="Push the files shown"),
        Binding(
            "right",
            "skip",
            "Skip check",
            key_display="→",
            priority=True,  # lists have the arrow too
            tooltip="Export without verifying, or with it again; an export under way skips it",
        ),
        Binding("x", "cancel", "Cancel", tooltip="Cancel; starting again resumes where possible"),
    ]

    lines: var[tuple[str, ...]] = var(())
    visibility: var[Visibility] = var("private")
    quant: var[str | None] = var(None)
    samples: var[SampleChoice] = var("all")
    is_verified: var[bool] = var(True)
    is_busy: var[bool] = var(False)
    prepared: var[Prepared | None] = var(None)

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder
        self._cancel, self._skip = threading.Event(), threading.Event()
        self._card: Path | None = None
        self._is_pushing = False
        self._began_at = 0.0

    @property
    def headless_command(self) -> str:
        if not self.is_mounted:
            out = f"{self.folder.name}-adapter"
            return shell_command("export", self.folder.name, options=["--as", "adapter", "--out", out])
        wish = self._wish
        is_for_hub = self.prepared is not None or getattr(self.focused, "id", None) == "repo"
        is_for_hub = is_for_hub and bool(wish.repo_id)
        return wish.command(is_for_hub=is_for_hub)

    def compose_body(self) -> ComposeResult:
        yield CursorList(id="forms", help_text="The form to export or push.")
        out = str(Path.cwd() / f"{self.folder.name}-adapter")
        for label, box in (
            ("Folder", Input(out, id="out", compact=True)),
            ("On the Hub", Input(placeholder="owner/name", id="repo", compact=True)),
            ("Base", Input(placeholder="the base's name on the Hub: owner/name", id="base", compact=True)),
            ("Licence", Input(placeholder="the base's, such as apache-2.0", id="licence", compact=True)),
        ):
            with Horizontal(classes="field"):
                yield Label(label)
                yield box
        with VerticalScroll(id="progress"):
            yield Static("", id="lines", markup=False)
        yield TransferLine()

    def on_mount(self) -> None:
        self._show_forms()
        self.set_interval(1.0, self._count)
        self.query_one("#forms").focus()
        self.query_one(TitleBar).words = f"Share {self.folder.name}"
        self.set_reactive(ShareScreen.lines, FIRST_WORDS)
        self._show_lines()
        self._tell_state()
        start_feeder(self.app, lambda: read_run(self.folder, self.post_message))

    def on_unmount(self) -> None:
        self._cancel.set()

    def _show_forms(self) -> None:
        rows = tuple(PickRow(form, form, (words,)) for form, words in FORMS.items())
        self.query_one("#forms", PickList).show(rows)

    @property
    def _form(self) -> Form:
        return cast("Form", self.query_one("#forms", PickList).picked_key or "adapter")

    def _text(self, name: str) -> str:
        return self.query_one(name, Input).value.strip()

    @property
    def _wish(self) -> Wish:
        return Wish(
            self.folder,
            self._form,
            self._text("#out"),
            self._text("#repo"),
            self.visibility,
            self._text("#base") or None,
            self._text("#licence") or None,
            self.quant,
            self._card,
            self.samples,
            self.is_verified,
        )

    def on_facts_read(self, message: FactsRead) -> None:
        """Fill in known values, without overwriting typed text."""
        if message.error is not None:
            self.lines = error_lines(message.error)
            return
        for name, known in (("#base", message.base), ("#licence", message.licence)):
            box = self.query_one(name, Input)
            if known and not box.value:
                with self.prevent(Input.Changed):
                    box.value = known

    @on(OptionList.OptionHighlighted)
    def follow_form(self) -> None:
        """The suggested folder follows the form until one is typed."""
        out = self.query_one("#out", Input)
        ends = tuple(f"{self.folder.name}-{form}" for form in FORMS)
        if out.value.endswith(ends):
            out.value = str(Path(out.value).with_name(f"{self.folder.name}-{self._form}"))
        self.quant = None
        self._forget_prepared()
        self._tell_state()

    @on(Input.Changed)
    def follow_typing(self, event: Input.Changed) -> None:
        if event.input.id != "out":
            self._forget_prepared()
        self.refresh_command()

    @on(Input.Submitted)
    def back_to_forms(self) -> None:
        self.query_one("#forms").focus()

    def on_descendant_focus(self) -> None:
        self.refresh_command()

    def _forget_prepared(self) -> None:
        """The files shown are no longer current."""
        if self.prepared is not None and not self.is_busy:
            self.prepared, self.lines = None, FIRST_WORDS
            if self._card is not None:
                self._card = None
                self.lines = (
                    *FIRST_WORDS,
                    "Your edits of the card are discarded: it is generated again.",
                )

    def watch_lines(self) -> None:
        if self.is_mounted:
            self._show_lines()

    def _show_lines(self) -> None:
        show(self.query_one("#lines", Static), literal_lines("\n".join(self.lines)))

    def watch_is_busy(self) -> None:
        self._began_at = time.monotonic()
        if self.is_mounted:
            self._tell_state()

    def _count(self) -> None:
        """A step without figures, such as loading PyTorch, is seen to go on by its seconds."""
        if self.is_busy:
            self.query_one(TitleBar).state = f"working ... {duration(time.monotonic() - self._began_at)}"

    def watch_prepared(self) -> None:
        if self.is_mounted:
            self._tell_state()

    def _tell_state(self) -> None:
        numbers = NUMBER_TYPES.get(self._form)
        quant = f"data type: {self.quant or numbers[0]}, " if numbers else ""
        verified = "" if self.is_verified else "not verified, "
        idle = f"{quant}{verified}Hub: {self.visibility}"
        self.query_one(TitleBar).state = "working ..." if self.is_busy else idle
        self.refresh_bindings()
        self.refresh_command()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show only the keys that are available."""
        match action:
            case "cancel":
                return self.is_busy
            case "skip":
                is_typing = not self.is_mounted or isinstance(self.focused, Input)
                return not (is_typing or (self.is_busy and self._is_pushing)) and self._form in WORKER_FORMS
            case "push" | "card":
                return not self.is_busy and self.prepared is not None
            case "quant":
                return not self.is_busy and self.is_mounted and self._form in NUMBER_TYPES
            case "export" | "look" | "visibility" | "samples":
                return not self.is_busy
        return True

    def action_export(self) -> None:
        self._begin(self._work().export)

    def action_look(self) -> None:
        if not self._text("#repo"):
            self.lines = (NAME_FIRST,)
            self.query_one("#repo").focus()
            return
        self._begin(self._work().prepare)

    def action_quant(self) -> None:
        """The next data type."""
        types = NUMBER_TYPES[self._form]
        self.quant = types[(types.index(self.quant or types[0]) + 1) % len(types)]
        self._forget_prepared()
        self._tell_state()

    def action_samples(self) -> None:
        """The next choice of what the card shows."""
        self.samples = SAMPLE_CHOICES[(SAMPLE_CHOICES.index(self.samples) + 1) % len(SAMPLE_CHOICES)]
        self._forget_prepared()
        self.lines = (*FIRST_WORDS, f"Samples in the card: {SAMPLE_WORDS[self.samples]}.")
        self._tell_state()

    def action_visibility(self) -> None:
        """Prepared files stay valid: visibility is applied when pushing."""
        self.visibility = "public" if self.visibility == "private" else "private"
        if self.prepared is not None:
            self.lines = tuple(prepared_lines(self.prepared, self.visibility))
        self._tell_state()

    @work
    async def action_push(self) -> None:
        prepared = self.prepared
        if prepared is None:
            return
        from tuner_tui.ui.modals.confirm import ConfirmModal

        owner = prepared.repo_id.partition("/")[0]
        seen_by = (
            "Everyone can see it."
            if self.visibility == "public"
            else f"Only you, or members of {plain(owner)}, can see it."
        )
        question = f"Push to {prepared.repo_id}?"
        if await self.app.push_screen_wait(ConfirmModal(question, seen_by, "Push", "Cancel")):
            upload = self._work()
            self._begin(lambda: upload.push(prepared), is_pushing=True)

    def action_card(self) -> None:
        """Edit a copy of the card; the files are then scanned again."""
        prepared = self.prepared
        if prepared is None:
            return
        from tuner_tui.ui.editor import edit_text

        try:
            with self.app.suspend():
                text = edit_text(guarded.read_text(prepared.card), "README.md")
        except Unreadable as error:
            self.show_error(
                TunerError("The card cannot be read", f"{error.path}: {error.problem}.", error.hint)
            )
            return
        except OSError as error:
            self.show_error(TunerError("The card cannot be edited", f"{prepared.card}: {error}."))
            return
        except SuspendNotSupported:
            hint = f"Edit {prepared.card}, and give a copy of it to tuner-tui push with --card."
            self.show_error(
                TunerError(
                    "The editor cannot be opened", "This terminal cannot be suspended for an editor.", hint
                )
            )
            return
        except TunerError as error:
            self.show_error(error)
            return
        card = prepared.folder.with_name(f"{prepared.folder.name}-card.md")
        try:
            card.write_text(text, encoding="utf-8")
        except OSError as error:
            self.show_error(TunerError("The card cannot be saved", f"{card}: {error.strerror}."))
            return
        self._card = card
        self.action_look()

    def action_skip(self) -> None:
        """Leave the verification out, or end the one that is under way."""
        if self.is_busy:
            self._skip.set()
            self.notify("The verification is skipped; the export says so.", markup=False)
        else:
            self.is_verified = not self.is_verified
            self._forget_prepared()
            self.lines = (*FIRST_WORDS, VERIFIED_WORDS[self.is_verified])
            self._tell_state()

    def action_cancel(self) -> None:
        self._cancel.set()

    def action_leave(self) -> None:
        if isinstance(self.focused, Input):
            self.query_one("#forms").focus()
            return
        self.app.pop_screen()

    def _work(self) -> Work:
        """The work by the current choices, which its keys can end."""
        self._cancel, self._skip = threading.Event(), threading.Event()
        return Work(self._wish, self.post_message, self._cancel, self._skip)

    def _begin(self, job: Callable[[], None], *, is_pushing: bool = False) -> None:
        self._is_pushing = is_pushing
        self.is_busy, self.lines = True, ("> starting ...",)

        def work_on() -> None:
            try:
                job()
            except Exception:  # the app shows it; the screen must not stay busy
                self.post_message(
                    Ended(("It failed with an internal error; see the log.",), is_cancelled=True)
                )
                raise

        start_feeder(self.app, work_on)

    def on_work_progress(self, message: WorkProgress) -> None:
        if self.is_busy:
            self.lines = message.steps
            self.query_one(TransferLine).transfer = message.transfer
            self.query_one("#progress", VerticalScroll).scroll_end(animate=False)

    def on_ended(self, message: Ended) -> None:
        self.is_busy = False
        self.query_one(TransferLine).transfer = None
        if not (self._is_pushing and message.is_unfinished):
            self.prepared = message.prepared
        self.lines = message.lines if message.error is None else error_lines(message.error)
        self.query_one("#progress", VerticalScroll).scroll_home(animate=False)
        if message.error is not None:
            self.show_error(message.error)
