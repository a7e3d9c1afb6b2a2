"""A group of a form's options under a title that opens and closes it; its fields are made when it is first opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual import events
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget

from tuner_tui.ui.widgets.literal import fit, literal
from tuner_tui.ui.widgets.option_field import OptionField

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from tuner_tui.config.options import Option


class FoldTitle(Widget, can_focus=True):
    """One line: the group's name, how many of its options are set, and their names."""

    DEFAULT_CSS = """
    FoldTitle { height: 1; padding: 0 1; }
    FoldTitle:focus { background: $cursor; text-style: bold; }
    """
    BINDINGS = [Binding("enter,space", "fold", "Open", key_display="enter", tooltip="Open or close")]  # noqa: RUF012

    def __init__(self, name: str, options: tuple[Option, ...]) -> None:
        super().__init__()
        self.words = name
        self.titles = ", ".join(option.title.lower() for option in options)
        self.is_open = False
        self.changed = self.problems = 0

    @property
    def help_text(self) -> str:
        """What is in the group."""
        return f"{self.words}: {self.titles}."

    def render(self) -> Content:
        mark = "▾" if self.is_open else "▸"
        changed = f" {self.changed} set" if self.changed else ""
        problems = f" ! {self.problems} to fix" if self.problems else ""
        head = f"{mark} {self.words:<12}"
        left = max(0, self.content_size.width - len(head) - len(changed) - len(problems) - 2)
        return Content.assemble(
            (head, "bold $accent"),
            (problems, "bold $error"),
            (changed, "$secondary"),
            "  ",
            literal(fit("" if self.is_open else self.titles, left).rstrip(), "$faint"),
        )

    async def action_fold(self) -> None:
        if isinstance(self.parent, OptionFold):
            await self.parent.toggle()

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        await self.action_fold()


class OptionFold(Vertical):
    """The title, and the fields once it was opened."""

    DEFAULT_CSS = """
    OptionFold { height: auto; }
    OptionFold.-closed OptionField { display: none; }
    """

    def __init__(
        self,
        section: str,
        options: tuple[Option, ...],
        text_of: Callable[[Option], str],
        *,
        is_open: bool = False,
    ) -> None:
        super().__init__(classes="" if is_open else "-closed")
        self.section = section
        self.options = options
        self._text_of = text_of
        self._title = FoldTitle(section.capitalize() if section else "Run", options)
        self._title.is_open = is_open

    @property
    def is_open(self) -> bool:
        return self._title.is_open

    def compose(self) -> ComposeResult:
        yield self._title
        if self.is_open:
            yield from self._fields()

    def _fields(self) -> list[OptionField]:
        return [OptionField(option, self._text_of(option)) for option in self.options]

    def show(self, changed: int, problems: int) -> None:
        """How many of the options are set, and how many are wrong."""
        if (changed, problems) != (self._title.changed, self._title.problems):
            self._title.changed, self._title.problems = changed, problems
            self._title.refresh()

    async def unfold(self) -> None:
        """Show the fields."""
        if not self.is_open:
            await self.toggle()

    async def toggle(self) -> None:
        """Show the fields, or hide them."""
        self._title.is_open = not self.is_open
        self.set_class(not self.is_open, "-closed")
        self._title.refresh()
        if self.is_open and not self.query(OptionField):
            await self.mount_all(self._fields())
