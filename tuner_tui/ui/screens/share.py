"""Share: a run's result in a form for others, into a folder or to the Hub, after showing all that goes."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.reactive import var
from textual.widgets import Input, Label, OptionList, Static

from tuner_tui.runs.exports import FORMS, Form
from tuner_tui.text import plain
from tuner_tui.ui.feeders import start_feeder
from tuner_tui.ui.screens.base import TunerScreen
from tuner_tui.ui.screens.share_work import Ended, Told, Visibility, Wish, Work
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.literal import literal_lines, show
from tuner_tui.ui.widgets.pick_list import PickList, PickRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.sharing.push import Prepared

FIRST_WORDS = (
    "e makes the chosen form in the folder and proves that it behaves like what was trained.\n"
    "w makes and shows what would go to the Hub, and looks for what must stay. Nothing is sent before p."
)


class ShareScreen(TunerScreen):
    """One run; what is done is told below, and can be cancelled."""

    TITLE_WORDS = "Share"
    HELP_TEXT = (
        "Export a run's result, or push it to the Hub: private unless you say otherwise, and never your rows."
    )
    CSS_PATH = "share.tcss"
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "leave", "Back", key_display="esc"),
        Binding("e", "export", "Export", tooltip="Make the form in the folder, and prove it"),
        Binding("w", "look", "What goes", tooltip="Show what would go to the Hub; nothing is sent"),
        Binding("k", "card", "Card", tooltip="Edit the model card"),
        Binding("v", "visibility", "Private/public", tooltip="Who would see it on the Hub"),
        Binding("p", "push", "Push", tooltip="Send what was shown"),
        Binding("x", "cancel", "Cancel", tooltip="Stop; begun again, it goes on where it can"),
    ]

    lines: var[tuple[str, ...]] = var(())
    visibility: var[Visibility] = var("private")
    is_busy: var[bool] = var(False)
    prepared: var[Prepared | None] = var(None)

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder
        self._cancel = threading.Event()
        self._card: Path | None = None

    @property
    def headless_command(self) -> str:
        if not self.is_mounted:
            return f"tuner-tui export {self.folder.name} --as adapter --out DIR"
        out = shlex.quote(self._input("#out").value or "DIR")
        return f"tuner-tui export {plain(self.folder.name)} --as {self._form} --out {plain(out)}"

    def compose_body(self) -> ComposeResult:
        yield PickList(id="forms", help_text="The form to export or push.")
        with Horizontal(classes="field"):
            yield Label("Folder")
            yield Input(str(Path.cwd() / f"{self.folder.name}-adapter"), id="out", compact=True)
        with Horizontal(classes="field"):
            yield Label("On the Hub")
            yield Input(placeholder="owner/name", id="repo", compact=True)
        with VerticalScroll(id="told", can_focus=False):
            yield Static("", id="lines", markup=False)

    def on_mount(self) -> None:
        rows = tuple(PickRow(form, form, (words,)) for form, words in FORMS.items())
        forms = self.query_one("#forms", PickList)
        forms.show(rows)
        forms.focus()
        self.query_one(TitleBar).words = f"Share {self.folder.name}"
        self.lines = tuple(FIRST_WORDS.splitlines())
        self._tell_state()

    def on_unmount(self) -> None:
        self._cancel.set()

    @property
    def _form(self) -> Form:
        return cast("Form", self.query_one("#forms", PickList).picked_key or "adapter")

    def _input(self, name: str) -> Input:
        return self.query_one(name, Input)

    @property
    def _wish(self) -> Wish:
        return Wish(
            self.folder,
            self._form,
            self._input("#out").value,
            self._input("#repo").value.strip(),
            self.visibility,
            self._card,
        )

    @on(OptionList.OptionHighlighted)
    def name_folder(self) -> None:
        """The folder that is offered follows the form, until the person writes one."""
        out = self._input("#out")
        ends = tuple(f"{self.folder.name}-{form}" for form in FORMS)
        if out.value.endswith(ends):
            out.value = str(Path(out.value).with_name(f"{self.folder.name}-{self._form}"))
        self.prepared = None
        self.refresh_command()

    @on(Input.Changed)
    def follow_typing(self, event: Input.Changed) -> None:
        if event.input.id == "repo":
            self.prepared = None
        self.refresh_command()

    @on(Input.Submitted)
    def back_to_forms(self) -> None:
        self.query_one("#forms").focus()

    def watch_lines(self, lines: tuple[str, ...]) -> None:
        if self.is_mounted:
            show(self.query_one("#lines", Static), literal_lines("\n".join(lines)))

    def watch_visibility(self) -> None:
        if self.is_mounted:
            self._tell_state()

    def watch_is_busy(self) -> None:
        if self.is_mounted:
            self._tell_state()

    def watch_prepared(self) -> None:
        self.refresh_bindings()

    def _tell_state(self) -> None:
        self.query_one(TitleBar).state = "at work ..." if self.is_busy else f"to the Hub: {self.visibility}"
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The footer shows what can be done now."""
        match action:
            case "cancel":
                return self.is_busy
            case "push" | "card":
                return not self.is_busy and self.prepared is not None
            case "export" | "look" | "visibility":
                return not self.is_busy
        return True

    def action_export(self) -> None:
        self._begin(Work(self._wish, self.post_message, self._fresh_cancel()).export)

    def action_look(self) -> None:
        self._begin(Work(self._wish, self.post_message, self._fresh_cancel()).prepare)

    def action_visibility(self) -> None:
        self.visibility = "public" if self.visibility == "private" else "private"
        self.prepared = None

    @work
    async def action_push(self) -> None:
        prepared = self.prepared
        if prepared is None:
            return
        from tuner_tui.ui.modals.confirm import ConfirmModal

        seen_by = "Everybody will see it." if self.visibility == "public" else "Only you will see it."
        question = f"Push to {prepared.repo_id}?"
        if await self.app.push_screen_wait(ConfirmModal(question, seen_by, "Push", "Not now")):
            asked = Work(self._wish, self.post_message, self._fresh_cancel())
            self._begin(lambda: asked.push(prepared))

    def action_card(self) -> None:
        """Edit a copy of the card; what goes is then looked through again."""
        prepared = self.prepared
        if prepared is None:
            return
        from tuner_tui.ui.editor import edit_text

        with self.app.suspend():
            text = edit_text(prepared.card.read_text(encoding="utf-8"), "README.md")
        self._card = prepared.folder.with_name(f"{prepared.folder.name}-card.md")
        self._card.write_text(text, encoding="utf-8")
        self.action_look()

    def action_cancel(self) -> None:
        self._cancel.set()

    def action_leave(self) -> None:
        if isinstance(self.focused, Input):
            self.query_one("#forms").focus()
            return
        self.app.pop_screen()

    def _fresh_cancel(self) -> threading.Event:
        self._cancel = threading.Event()
        return self._cancel

    def _begin(self, job: Callable[[], None]) -> None:
        self.is_busy, self.lines = True, ("Beginning ...",)
        start_feeder(self.app, job)

    def on_told(self, message: Told) -> None:
        self.lines = (message.line,)

    def on_ended(self, message: Ended) -> None:
        self.is_busy = False
        self.prepared = message.prepared
        self.lines = message.lines
        if message.error is not None:
            self.lines = (message.error.title, *message.error.message.splitlines(), message.error.hint)
            self.show_error(message.error)
