"""`python assets/pictures.py`: the README's pictures, from the runs of this home (`tuner-tui demo` makes one)."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.runs.folder import list_runs
from tuner_tui.ui.app import TunerApp

if TYPE_CHECKING:
    from textual.pilot import Pilot

FOLDER = Path(__file__).resolve().parent / "pictures"
SIZE = (100, 30)
PICTURES: dict[str, tuple[str, ...]] = {
    "home": (),
    "new-run": ("n", "enter", "4", "down"),
    "monitor": ("enter",),
    "samples": ("enter", "2"),
}
"""The keys that lead from Home to each picture; Home's cursor stands on the newest run."""
SETTLE_SECONDS = 1.5
"""Time for lists and charts to be read and drawn."""


async def take(name: str, keys: tuple[str, ...]) -> None:
    """Press the keys as a person would, and write what is then on the screen."""
    app = TunerApp()
    async with app.run_test(size=SIZE) as pilot:
        await _settle(pilot)
        for key in keys:
            await pilot.press(key)
            await _settle(pilot)
        (FOLDER / f"{name}.svg").write_text(app.export_screenshot(title="tuner-tui"))


async def _settle(pilot: Pilot[None]) -> None:
    await pilot.pause(SETTLE_SECONDS)


def main() -> int:
    """Make all pictures; 1 when there is no run to show."""
    if not list_runs():
        sys.stderr.write("There is no run to show; `tuner-tui demo` makes one.\n")
        return 1
    FOLDER.mkdir(exist_ok=True)
    os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", HF_HUB_OFFLINE="1")
    for name, keys in PICTURES.items():
        asyncio.run(take(name, keys))
        sys.stdout.write(f"{FOLDER / name}.svg\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
