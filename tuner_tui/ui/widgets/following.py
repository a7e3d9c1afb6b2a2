"""What grows at its end and stays there, until a person scrolls up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.reactive import var

if TYPE_CHECKING:
    from textual.widget import Widget as Scrolling
else:
    Scrolling = object
    """No widget: Textual takes a widget's styles from its first base alone, which must be the one that scrolls."""


class FollowsEnd(Scrolling):
    """To be mixed in before a widget that scrolls."""

    is_following: var[bool] = var(True)
    """Whether it stays at the end."""

    def action_scroll_up(self) -> None:
        self.is_following = False
        super().action_scroll_up()

    def action_page_up(self) -> None:
        self.is_following = False
        super().action_page_up()

    def action_scroll_home(self) -> None:
        self.is_following = False
        super().action_scroll_home()

    def action_scroll_end(self) -> None:
        self.is_following = True
        super().action_scroll_end()
