"""Threads that post messages to a screen; one that hangs (a driver, a dead disk) never blocks closing the app."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Any

from textual.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App


class FeederFailed(Message):
    """A thread ended with an internal error; the app shows it and stays up."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def start_feeder(app: App[Any], feed: Callable[[], None]) -> None:
    """Run `feed` in a daemon thread.

    Textual waits for its own thread workers at exit, so a broken driver would hang the app.
    """

    def run() -> None:
        try:
            context.run(feed)
        except Exception as error:
            if "loop is closed" not in str(error):  # the app has closed meanwhile
                app.post_message(FeederFailed(error))

    context = contextvars.copy_context()
    threading.Thread(target=run, daemon=True).start()
