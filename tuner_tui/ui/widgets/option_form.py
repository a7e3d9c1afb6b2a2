"""A form made from a run's options: one field each, under the headings of run.toml."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual import events, on
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from tuner_tui.config.options import Option, as_text, options_of, value_of
from tuner_tui.ui.widgets.literal import literal
from tuner_tui.ui.widgets.option_field import OptionField

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.draft import Draft


class OptionForm(VerticalScroll):
    """The fields of those options that `wanted` lets through; it follows the draft it is shown."""

    DEFAULT_CSS = """
    OptionForm { height: 1fr; }
    OptionForm .option-section { color: $accent; text-style: bold; padding: 0 1; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("up", "previous_field", "Field above", show=False),
        Binding("down", "next_field", "Field below", show=False),
    ]
    can_focus = False

    class FieldFocused(Message):
        """The cursor is on another option."""

        def __init__(self, option: Option, help_text: str) -> None:
            super().__init__()
            self.option = option
            self.help_text = help_text

    class Finished(Message):
        """Enter was pressed on the last field."""

    def __init__(
        self,
        draft: Draft,
        wanted: Callable[[Option], bool],
        *,
        has_headings: bool = True,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(id=id)
        self._draft = draft
        self._wanted = wanted
        self._has_headings = has_headings
        self._options = self._choose(draft)

    def compose(self) -> ComposeResult:
        section = None
        for option in self._options:
            if self._has_headings and option.section != section:
                section = option.section
                yield Static(literal(_heading(section)), classes="option-section")
            yield OptionField(option, self._text(option))

    async def show(self, draft: Draft) -> None:
        """Follow a draft: other fields when other options apply, else other values and problems."""
        self._draft = draft
        options = self._choose(draft)
        if options != self._options:
            self._options = options
            await self.recompose()
        problems: dict[str, str] = {}
        for problem in draft.problems:
            problems.setdefault(problem.key, " - ".join(filter(None, (problem.message, problem.hint))))
        for field in self.query(OptionField):
            field.show(self._text(field.option), problems.get(field.option.key, ""))

    def focus_first(self) -> None:
        """Put the cursor on the first option."""
        for field in self.query(OptionField):
            self.screen.set_focus(field.control)
            return

    def focus_option(self, key: str) -> bool:
        """Put the cursor on an option; whether it is here."""
        for field in self.query(OptionField):
            if field.option.key == key:
                self.screen.set_focus(field.control)
                return True
        return False

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        field = _field_of(event.widget)
        if field is not None:
            self.post_message(self.FieldFocused(field.option, field.help_text))

    @on(Input.Submitted)
    def next_or_finish(self, event: Input.Submitted) -> None:
        event.stop()
        self._move(1)

    def action_previous_field(self) -> None:
        self._move(-1)

    def action_next_field(self) -> None:
        self._move(1)

    def _move(self, by: int) -> None:
        fields = list(self.query(OptionField))
        here = _field_of(self.screen.focused) if self.screen.focused else None
        if here not in fields:
            return
        index = fields.index(here) + by
        if 0 <= index < len(fields):
            self.screen.set_focus(fields[index].control)
        elif by > 0:
            self.post_message(self.Finished())
        else:
            self.screen.focus_previous()

    def _choose(self, draft: Draft) -> tuple[Option, ...]:
        return tuple(filter(self._wanted, options_of(draft.spec)))

    def _text(self, option: Option) -> str:
        typed = self._draft.typed(option.key)
        return as_text(option, value_of(self._draft.spec, option.key)) if typed is None else typed


def _heading(section: str) -> str:
    return section.capitalize() if section else "Run"


def _field_of(widget: Widget) -> OptionField | None:
    return next(
        (ancestor for ancestor in widget.ancestors_with_self if isinstance(ancestor, OptionField)), None
    )
