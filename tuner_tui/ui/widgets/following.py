"""What grows at its end and stays there, until a person scrolls up."""

from __future__ import annotations

from textual.reactive import var
from textual.widget import Widget


class FollowsEnd(Widget):
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
