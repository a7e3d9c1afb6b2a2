"""Runs blocking work in a thread that the app does not wait for when it closes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from textual.worker import active_worker

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


async def in_background(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """The result of a blocking function; a dead network must not keep the app from closing.

    Limited child processes that it starts end when the waiting task is cancelled. A worker whose widget is being
    removed meanwhile ends here as cancelled: Textual 8.2 cancels it only once the widget's children are gone.
    """
    from tuner_tui.limited.process import Children

    loop = asyncio.get_running_loop()
    children = Children()
    future: asyncio.Future[T] = loop.create_future()

    def settle(setter: Callable[[Any], None], outcome: object) -> None:
        if not future.done():
            setter(outcome)

    def run() -> None:
        setter: Callable[[Any], None] = future.set_result
        outcome: object
        try:
            outcome = children.call(lambda: function(*arguments, **named))
        except Exception as error:  # handed to the waiting task
            setter, outcome = future.set_exception, error
        with contextlib.suppress(RuntimeError):  # the app has closed meanwhile
            loop.call_soon_threadsafe(settle, setter, outcome)

    threading.Thread(target=run, daemon=True).start()
    try:
        outcome = await future
        if _is_worker_of_removed():
            raise asyncio.CancelledError
        return outcome
    except asyncio.CancelledError:  # the waiting task is gone, such as when a screen is closed
        children.end()
        raise


def _is_worker_of_removed() -> bool:
    worker = active_worker.get(None)
    if worker is None or not worker.is_running:  # no worker, or the one that opened this task's screen
        return False
    return any(getattr(node, "_pruning", False) for node in worker.node.ancestors_with_self)
