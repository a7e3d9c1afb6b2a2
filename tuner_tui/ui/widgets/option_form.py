"""A form made from a run's options: the basic ones, or all, and the rest folded under the headings of run.toml."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING

from textual import events, on
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from tuner_tui.config.options import Option, as_text, options_of, value_of
from tuner_tui.ui.widgets.option_field import OptionField
from tuner_tui.ui.widgets.option_fold import FoldTitle, OptionFold

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.draft import Draft


class OptionForm(VerticalScroll):
    """The fields of those options that `wanted` lets through; it follows the draft it is shown.

    With `basic`, only these have a field at first, in this order; the others get theirs when their fold is opened,
    since a field costs more than all else on a screen.
    """

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

    class FoldFocused(Message):
        """The cursor is on the title of a fold."""

        def __init__(self, words: str) -> None:
            super().__init__()
            self.words = words

    class Finished(Message):
        """Enter was pressed on the last field."""

    def __init__(
        self,
        draft: Draft,
        wanted: Callable[[Option], bool],
        *,
        basic: tuple[str, ...] = (),
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(id=id)
        self._draft = draft
        self._wanted = wanted
        self._basic = basic
        self._options = self._choose(draft)
        self._open: set[str] = set()
        """Sections whose folds are open, also when other options apply."""

    def compose(self) -> ComposeResult:
        if not self._basic:
            for option in self._options:
                yield OptionField(option, self._text(option))
            return
        by_key = {option.key: option for option in self._options}
        basic = [by_key[key] for key in self._basic if key in by_key]
        for option in basic:
            yield OptionField(option, self._text(option))
        rest = [option for option in self._options if option not in basic]
        yield Static("More options: Enter opens a group", classes="option-section")
        for section, options in groupby(rest, key=lambda option: option.section):
            yield OptionFold(section, tuple(options), self._text, is_open=section in self._open)

    async def show(self, draft: Draft) -> None:
        """Follow a draft: other fields when other options apply, else other values and problems."""
        self._draft = draft
        options = self._choose(draft)
        if options != self._options:
            self._options = options
            self._open = {fold.section for fold in self.query(OptionFold) if fold.is_open}
            await self.recompose()
        problems: dict[str, str] = {}
        for problem in draft.problems:
            problems.setdefault(problem.key, " - ".join(filter(None, (problem.message, problem.hint))))
        for field in self.query(OptionField):
            field.show(self._text(field.option), problems.get(field.option.key, ""))
        for fold in self.query(OptionFold):
            changed = [o for o in fold.options if value_of(draft.spec, o.key) != o.default]
            fold.show(len(changed), sum(option.key in problems for option in fold.options))

    def focus_first(self) -> None:
        """Put the cursor on the first option."""
        for field in self.query(OptionField):
            self.screen.set_focus(field.control)
            return

    async def focus_option(self, key: str) -> bool:
        """Put the cursor on an option, whose fold is opened; whether it is here."""
        for fold in self.query(OptionFold):
            if key in [option.key for option in fold.options]:
                await fold.unfold()
        for field in self.query(OptionField):
            if field.option.key == key:
                self.screen.set_focus(field.control)
                return True
        return False

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        field = _field_of(event.widget)
        if field is not None:
            self.post_message(self.FieldFocused(field.option, field.help_text))
        elif isinstance(event.widget, FoldTitle):
            self.post_message(self.FoldFocused(event.widget.help_text))

    @on(Input.Submitted)
    def next_or_finish(self, event: Input.Submitted) -> None:
        event.stop()
        self._move(1, enters_folds=False)

    def action_previous_field(self) -> None:
        self._move(-1)

    def action_next_field(self) -> None:
        self._move(1)

    def _move(self, by: int, *, enters_folds: bool = True) -> None:
        """To the field or title before or after; Enter on the last field before a fold finishes the form."""
        places = self._places()
        focused = self.screen.focused
        here = _place_of(focused) if focused else None
        if here not in places:
            return
        index = places.index(here) + by
        if 0 <= index < len(places) and (enters_folds or isinstance(places[index], OptionField)):
            place = places[index]
            self.screen.set_focus(place.control if isinstance(place, OptionField) else place)
        elif by > 0:
            self.post_message(self.Finished())
        else:
            self.screen.focus_previous()

    def _places(self) -> list[Widget]:
        """The fields that are shown and the titles of folds, from top to bottom."""
        return [
            widget
            for widget in self.query("OptionField, FoldTitle")
            if not (isinstance(widget.parent, OptionFold) and isinstance(widget, OptionField))
            or widget.parent.is_open
        ]

    def _choose(self, draft: Draft) -> tuple[Option, ...]:
        return tuple(filter(self._wanted, options_of(draft.spec)))

    def _text(self, option: Option) -> str:
        typed = self._draft.typed(option.key)
        return as_text(option, value_of(self._draft.spec, option.key)) if typed is None else typed


def _place_of(widget: Widget) -> Widget | None:
    return widget if isinstance(widget, FoldTitle) else _field_of(widget)


def _field_of(widget: Widget) -> OptionField | None:
    return next(
        (ancestor for ancestor in widget.ancestors_with_self if isinstance(ancestor, OptionField)), None
    )
