"""Step 4: all other options that apply, with help and defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Static

from tuner_tui.ui.modals.pick_option import PickOption
from tuner_tui.ui.screens.new_run.state import step_of
from tuner_tui.ui.widgets.literal import literal
from tuner_tui.ui.widgets.option_form import OptionForm

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.draft import Draft
    from tuner_tui.config.options import Option
    from tuner_tui.ui.screens.new_run.state import NewRunState

INVITATION = "The defaults suit most runs. Down goes to the fields; / or ctrl+f finds one by name."
BASIC = (
    "training.epochs",
    "training.learning_rate",
    "training.batch_size",
    "training.max_length",
    "tuning.rank",
)
"""What most runs are tuned by; all else is folded."""


class SettingsPane(Vertical):
    """The form, and below it the help of the focused option."""

    BINDINGS = [  # noqa: RUF012
        Binding("ctrl+f", "find", "Find", tooltip="Find an option by part of its name"),
        Binding("slash", "find", "Find", show=False),
        Binding("down", "first_field", "To the fields", show=False),
    ]

    class WentOn(Message):
        """The user continues to Review."""

    def __init__(self, draft: Draft, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._draft = draft

    def compose(self) -> ComposeResult:
        yield GoOn("Continue to Review", compact=True, id="go-on")
        yield Static(INVITATION, classes="pane-detail")

    def focus_first(self) -> None:
        self.screen.set_focus(self.query_one(GoOn))
        self.query_one(".pane-detail", Static).update(INVITATION)

    async def show(self, state: NewRunState) -> None:
        """Follow the draft; the form is created when first shown."""
        self._draft = state.draft
        for form in self.query(OptionForm):
            await form.show(state.draft)

    async def build(self) -> None:
        """Create the form, once, when it is first shown."""
        if not self.query(OptionForm):
            form = OptionForm(self._draft, is_setting, basic=BASIC)
            await self.mount(form, after="#go-on")
            await form.show(self._draft)

    async def focus_option(self, key: str) -> None:
        """Put the cursor on an option."""
        for form in self.query(OptionForm):
            if await form.focus_option(key):
                return
        self.focus_first()

    @on(OptionForm.FieldFocused)
    def explain(self, message: OptionForm.FieldFocused) -> None:
        option = message.option
        trade = f" {option.trade}" if option.trade else ""
        words = Content.assemble(
            (f"{option.title} ", "bold"), literal(f"({option.key}): {option.help}{trade}")
        )
        self.query_one(".pane-detail", Static).update(words)

    @on(OptionForm.FoldFocused)
    def explain_fold(self, message: OptionForm.FoldFocused) -> None:
        self.query_one(".pane-detail", Static).update(literal(message.words))

    @on(Button.Pressed, "#go-on")
    @on(OptionForm.Finished)
    def go_on(self) -> None:
        self.post_message(self.WentOn())

    def action_first_field(self) -> None:
        for form in self.query(OptionForm):
            form.focus_first()

    @work
    async def action_find(self) -> None:
        key = await self.app.push_screen_wait(PickOption(self._draft.spec, is_setting))
        if key is not None:
            await self.focus_option(key)


class GoOn(Button):
    """The button that continues with the defaults."""

    BINDINGS = [Binding("enter", "press", "Continue", show=True)]  # noqa: RUF012
    help_text = INVITATION


def is_setting(option: Option) -> bool:
    """Whether an option belongs to this step."""
    return step_of(option.key) == "settings"
