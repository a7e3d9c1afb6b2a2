"""Threads that feed a screen with messages; one that hangs (a driver, a dead disk) never holds up leaving the app."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Any

from textual.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App


class FeederFailed(Message):
    """A thread ended by a fault of ours; the app tells it and stays up."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def start_feeder(app: App[Any], feed: Callable[[], None]) -> None:
    """Run `feed` in a daemon thread.

    Textual's own thread workers are waited for at the end, which a broken driver would turn into a hang.
    """

    def run() -> None:
        try:
            context.run(feed)
        except Exception as error:
            if "loop is closed" not in str(error):  # the app has left meanwhile
                app.post_message(FeederFailed(error))

    context = contextvars.copy_context()
    threading.Thread(target=run, daemon=True).start()
