"""Looking at a screen as a person does: by its text; and waiting for what is to come."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App
    from textual.pilot import Pilot

PATIENCE_SECONDS = 15.0


def screen_lines(app: App[Any]) -> list[str]:
    """What stands on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip) for strip in strips]


def screen_text(app: App[Any]) -> str:
    return "\n".join(screen_lines(app))


async def wait_for(pilot: Pilot[Any], *parts: str) -> str:
    """Wait until all parts are on the screen; gives its text."""

    def all_there() -> bool:
        text = screen_text(pilot.app)
        return all(part in text for part in parts)

    await until(pilot, all_there, lambda: f"{parts} not in\n{screen_text(pilot.app)}")
    return screen_text(pilot.app)


async def until(
    pilot: Pilot[Any],
    condition: Callable[[], bool],
    explain: Callable[[], str] = lambda: "it did not come true",
    *,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Wait until something is so; longer than usual for a process that loads PyTorch."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, explain()
        await pilot.pause()
        await asyncio.sleep(0.02)
    await pilot.pause()


def footer_keys(app: App[Any]) -> dict[str, str]:
    """What the footer offers: key and name."""
    from textual.widgets._footer import FooterKey

    return {key.key_display: key.description for key in app.screen.query(FooterKey)}
