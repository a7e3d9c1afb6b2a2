"""What the tests of the New run screen share: a small app around it, and keys to what they lead to."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from textual.screen import Screen

from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.screens.new_run.screen import NewRunScreen
from tuner_tui.ui.screens.new_run.state import STEPS, NewRunState, Step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from textual.pilot import Pilot

    from tuner_tui.config.draft import BrokenText
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.runs.folder import RunFolder

PATIENCE_SECONDS = 20.0


class Host(TunerApp):
    """The app with an empty screen in place of Home; it remembers which run it was asked to show."""

    CSS_PATH = [Path(inspect.getfile(TunerApp)).with_name("app.tcss")]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[RunFolder] = []

    def get_default_screen(self) -> Screen[None]:
        return Screen()

    def open_monitor(self, folder: RunFolder) -> None:
        self.opened.append(folder)


class Walk:
    """A New run screen in use."""

    def __init__(self, app: Host, pilot: Pilot[Any]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def screen(self) -> NewRunScreen:
        return next(each for each in self.app.screen_stack if isinstance(each, NewRunScreen))

    @property
    def state(self) -> NewRunState:
        return cast("NewRunState", self.screen.state)

    @property
    def spec(self) -> RunSpec:
        return self.state.draft.spec

    @property
    def step(self) -> str | None:
        return str(self.screen.step) if self.screen.step else None

    def broken(self) -> BrokenText | None:
        """The edited text that cannot be read."""
        return self.state.draft.broken

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Type over what the focused field holds."""
        names = {" ": "space", "-": "minus", "_": "underscore", ".": "full_stop", "/": "slash", ",": "comma"}
        await self.press(*(names.get(letter, letter) for letter in text))

    async def until(self, condition: Any, what: str, patience: float = PATIENCE_SECONDS) -> None:
        """Wait for something to be so."""
        waited = 0.0
        while not condition():
            assert waited < patience, f"waited in vain for {what}\n{self.text()}"
            await self.pilot.pause(0.05)
            waited += 0.05

    async def settled(self) -> None:
        """Wait until model and data have been looked at."""
        await self.until(
            lambda: all(self.state.step(step).status != "waiting" for step in STEPS), "model and data"
        )

    async def go_to(self, step: Step) -> None:
        """Show a step, as a click on it would."""
        self.screen.step = step
        await self.pilot.pause()
        await self.pilot.pause()

    async def find(self, name: str) -> None:
        """Put the cursor on a setting by typing a part of its name."""
        await self.press("ctrl+f")
        await self.type(name)
        await self.press("enter")

    def text(self) -> str:
        """What is on the screen, as text."""
        lines = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in line).rstrip() for line in lines)


@asynccontextmanager
async def new_run(
    spec: RunSpec | None = None, text: str | None = None, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[Walk]:
    """The screen, open in a terminal of some size."""
    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.push_screen(NewRunScreen(spec, text))
        await pilot.pause()
        yield Walk(app, pilot)
