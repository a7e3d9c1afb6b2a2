"""One option of a run as a field: title, a control for its type, and its problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual import on
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Select, Static, Switch, TextArea

from tuner_tui.config.options import Option, as_text
from tuner_tui.ui.widgets.literal import literal

if TYPE_CHECKING:
    from textual.app import ComposeResult


class ChoiceSelect(Select[str]):
    """A select that leaves up and down to the form."""

    BINDINGS = [Binding("enter,space", "show_overlay", "Choose", show=True)]  # noqa: RUF012
    _inherit_bindings = False


class OptionField(Vertical):
    """Reports each change of its control as text, and shows the text and problem that it is given."""

    DEFAULT_CSS = """
    OptionField {
        height: auto;
        & > Horizontal { height: auto; }
        & .option-title { width: 25; height: 1; padding: 0 1; color: $foreground; }
        & .option-problem { height: auto; padding-left: 25; color: $error; display: none; }
        &.-problem .option-problem { display: block; }
        & Input { width: 1fr; max-width: 60; background: $panel; }
        & Select { width: 1fr; max-width: 34; height: 1; }
        & Select > SelectCurrent { background: $panel; }
        & Switch { border: none; height: 1; padding: 0; background: $panel; }
        & Switch:focus { border: none; background: $cursor; }
        & TextArea { width: 1fr; max-width: 76; height: 4; background: $panel; }
        & .switch-word { width: 6; padding-left: 1; }
        &.-focused .option-title { background: $cursor; text-style: bold; }
    }
    """

    class Changed(Message):
        """An option was changed."""

        def __init__(self, key: str, text: str) -> None:
            super().__init__()
            self.key = key
            self.text = text

    def __init__(self, option: Option, text: str) -> None:
        super().__init__(classes="option-field")
        self.option = option
        self._text = text
        self._problem = ""

    @property
    def help_text(self) -> str:
        """The option's help and trade-off, for the help line and `?`."""
        option = self.option
        default = f"Default: {as_text(option, option.default)}." if option.default not in (None, ()) else ""
        return " ".join(part for part in (option.help, option.trade, default) if part)

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(literal(self.option.title), classes="option-title")
            yield from self._control()
        yield Static(classes="option-problem")

    @property
    def control(self) -> Widget:
        """What takes the focus."""
        return self.query("Input, Select, Switch, TextArea").first()

    def show(self, text: str, problem: str) -> None:
        """Show a value that was changed elsewhere, and what is wrong with it."""
        if text != self._text:
            self._text = text
            with self.prevent(Input.Changed, Select.Changed, Switch.Changed, TextArea.Changed):
                self._put(text)
        if problem == self._problem:
            return
        self._problem = problem
        line = self.query_one(".option-problem", Static)
        self.set_class(bool(problem), "-problem")
        line.update(literal(f"! {problem}" if problem else ""))

    def _control(self) -> ComposeResult:
        option = self.option
        match option.kind:
            case "switch":
                yield Switch(self._text == "true", animate=False)
                yield Static("on" if self._text == "true" else "off", classes="switch-word")
            case "choice":
                choices = [(literal(word), word) for word in option.choices]
                yield ChoiceSelect(choices, value=self._text, allow_blank=False, compact=True)
            case "lines":
                yield TextArea(self._text, compact=True, tab_behavior="focus", show_line_numbers=False)
            case _:
                yield Input(self._text, placeholder=self._placeholder(), compact=True)

    def _placeholder(self) -> str:
        option = self.option
        if option.default is not None:
            return as_text(option, option.default)
        return "auto" if option.kind == "number" else "none"

    def _put(self, text: str) -> None:
        match self.control:
            case Switch() as switch:
                switch.value = text == "true"
                self._say_switch(switch.value)
            case TextArea() as area:
                area.text = text
            case Input() | Select() as control:
                control.value = text

    @on(Input.Changed)
    @on(Select.Changed)
    @on(Switch.Changed)
    @on(TextArea.Changed)
    def report(self, event: Any) -> None:
        event.stop()
        if isinstance(event, TextArea.Changed):
            text = event.text_area.text
        elif isinstance(event, Switch.Changed):
            text = "true" if event.value else "false"
            self._say_switch(event.value)
        else:
            text = str(event.value)
        if text != self._text:
            self._text = text
            self.post_message(self.Changed(self.option.key, text))

    def on_descendant_focus(self) -> None:
        self.add_class("-focused")

    def on_descendant_blur(self) -> None:
        self.remove_class("-focused")

    def _say_switch(self, is_on: bool) -> None:
        self.query_one(".switch-word", Static).update("on" if is_on else "off")
