"""`python -m tests.ui.pictures FOLDER [NAME ...]`: all screens as SVG at 80x24, 120x40 and 200x50, to look at.

With rsvg-convert on the machine it makes PNG files too. The app reads real run folders, cut from a recorded run.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.ui.recorded_runs import every_status, gpu_telemetry, held
from tuner_tui.ui.app import TunerApp

SIZES = ((80, 24), (120, 40), (200, 50))
STATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "home": ("", ()),
    "home-empty": ("empty", ()),
    "home-filter": ("", ("slash", *"failed")),
    "help": ("", ("question_mark",)),
    "palette": ("", ("ctrl+p",)),
    "stop": ("running", ("x",)),
    "delete": ("", ("end", "delete")),
    "running": ("running", ()),
    "running-tenth": ("running", ("a", "z", "z")),
    "finished": ("finished", ()),
    "failed": ("failed", ()),
    "nan": ("nan", ()),
    "queued": ("queued", ()),
    "interrupted": ("interrupted", ()),
    "evil": ("evil", ("2",)),
    "samples": ("finished", ("2",)),
    "log": ("finished", ("3",)),
    "details": ("finished", ("4",)),
    "doctor": ("", ("d",)),
    "share": ("finished", ("e",)),
    "light": ("running", ("light",)),
    "runs-curves": ("", ("m", "space", "down", "down", "space", "down", "space")),
    "runs-settings": ("", ("m", "space", "down", "down", "space", "down", "space", "2")),
    "runs-family": ("", ("m", "down", "down", "3")),
    "runs-note": ("", ("m", "down", "down", "e")),
    "runs-disk": ("", ("m", "down", "down", "5")),
    "queue": ("", ("w",)),
    "downloads": ("", ("h",)),
    "settings": ("", ("o",)),
    "settings-edit": ("", ("o", "down", "down", "down", "enter")),
    "new-start": ("", ("n",)),
    "new-model": ("", ("n", "enter")),
    "new-data": ("", ("n", "enter", "2")),
    "new-inspect": ("", ("n", "enter", "2", "i")),
    "new-columns": ("", ("n", "enter", "2", "i", "5")),
    "new-method": ("", ("n", "enter", "3")),
    "new-settings": ("", ("n", "enter", "4")),
    "new-review": ("", ("n", "enter", "5")),
    "new-terms": ("", ("n", "enter", "5", "m")),
}
"""By name: the run to open (none for Home), and the keys to press."""


async def picture(home: Path, state: str, size: tuple[int, int]) -> str:
    """One screen as SVG."""
    run, keys = STATES[state]
    os.environ["TUNER_TUI_HOME"] = str(home / "nothing" if run == "empty" else home)
    app = TunerApp()
    async with app.run_test(size=size) as pilot:
        await pilot.pause(0.6)
        if run and run != "empty":
            runs = {folder.name: folder for folder in app.screen.folders}  # type: ignore[attr-defined]
            app.open_monitor(runs[NAMES[run]])
            await pilot.pause(0.8)
        if keys == ("light",):
            app.theme = "tuner-light"
        else:
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.5 if state.startswith(("new", "runs")) else 0)
        await pilot.pause({"doctor": 12, "new": 2}.get(state.partition("-")[0], 0.8))
        return app.export_screenshot(title=f"tuner-tui: {state}")


NAMES: dict[str, str] = {}


def main() -> int:
    """Write the pictures that were asked for, all without a name."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", HF_HUB_OFFLINE="1")
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        runs = every_status(home)
        gpu_telemetry(runs["running"])
        NAMES.update({state: run.name for state, run in runs.items()})
        with held(home, runs["running"]):
            for state in sys.argv[2:] or STATES:
                for size in SIZES:
                    _write(
                        folder / f"{state}-{size[0]}x{size[1]}.svg", asyncio.run(picture(home, state, size))
                    )
    return 0


def _write(path: Path, svg: str) -> None:
    path.write_text(svg)
    if shutil.which("rsvg-convert"):  # it drops leading spaces and knows no web fonts
        svg = svg.replace("Fira Code", "DejaVu Sans Mono").replace("&#160;", " ")
        svg = svg.replace("<text ", '<text xml:space="preserve" ')
        subprocess.run(["rsvg-convert", "-o", path.with_suffix(".png")], input=svg.encode(), check=True)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
