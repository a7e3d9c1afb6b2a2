"""Share, on a real run folder: what is offered, an export that is really made, and refusals in plain words."""

from __future__ import annotations

import tarfile
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from textual.widgets import Input

from tests.ui.looking import footer_keys, screen_text, until, wait_for
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.modals.message import MessageModal
from tuner_tui.ui.screens.home import Home
from tuner_tui.ui.screens.monitor import Monitor
from tuner_tui.ui.screens.share import ShareScreen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from textual.pilot import Pilot

    from tuner_tui.runs.folder import RunFolder


@asynccontextmanager
async def share(
    folder: RunFolder, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[ShareScreen, Pilot[Any]]]:
    app = TunerApp()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Home))
        app.open_share(folder)
        await until(pilot, lambda: isinstance(app.screen, ShareScreen))
        screen = app.screen
        assert isinstance(screen, ShareScreen)
        yield screen, pilot


async def test_all_forms_are_offered_with_the_command_that_does_it(runs: dict[str, RunFolder]) -> None:
    folder = runs["finished"]
    async with share(folder) as (screen, pilot):
        text = await wait_for(
            pilot, "adapter", "merged", "gguf", "ollama", "script", "archive", "Hub: private"
        )
        assert "--as adapter" in text
        assert {"Export", "Files"} <= set(footer_keys(screen.app).values())
        assert "Push" not in footer_keys(screen.app).values()
        await pilot.press("v")
        await wait_for(pilot, "Hub: public")
        await pilot.press("down")
        await wait_for(pilot, "--as merged", f"{folder.name}-merged")


async def test_an_archive_is_made_and_holds_the_run(runs: dict[str, RunFolder], tmp_path: Path) -> None:
    folder = runs["finished"]
    folder.adapter.mkdir(exist_ok=True)
    (folder.adapter / "adapter_config.json").write_text("{}")
    async with share(folder) as (screen, pilot):
        await pilot.press("end")
        screen.query_one("#out").value = str(tmp_path / "out" / "taken")  # type: ignore[attr-defined]
        await pilot.press("e")
        await until(
            pilot,
            lambda: any(line.startswith("Done") for line in screen.lines),
            lambda: screen_text(screen.app),
        )
    (packed,) = (tmp_path / "out" / "taken").glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        names = archive.getnames()
    assert f"{folder.name}/events.jsonl" in names and f"{folder.name}/adapter/adapter_config.json" in names
    assert not any(name.endswith("/lock") for name in names)


async def test_work_without_figures_counts_its_seconds(runs: dict[str, RunFolder]) -> None:
    """PyTorch loads for half a minute on a slow machine, under "starting ..."."""
    gate = threading.Event()

    def wait() -> None:
        assert gate.wait(30)

    async with share(runs["finished"]) as (screen, pilot):
        screen._begin(wait)
        await wait_for(pilot, "> starting ...", "working ... 2 s")
        gate.set()
        screen.is_busy = False
        await wait_for(pilot, "Hub: private")


async def test_a_refusal_says_what_to_do(runs: dict[str, RunFolder]) -> None:
    folder = runs["finished"]
    folder.adapter.mkdir(exist_ok=True)
    async with share(folder) as (screen, pilot):
        await pilot.press("w")
        await wait_for(pilot, "Type the repository's name: owner/name.")
        await pilot.press(*"noname", "enter", "w")
        await until(pilot, lambda: isinstance(screen.app.screen, MessageModal))
        assert "owner/name" in screen_text(screen.app)
        assert not screen.is_busy


async def test_the_monitor_leads_there(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Home))
        app.open_monitor(runs["finished"])
        await until(pilot, lambda: isinstance(app.screen, Monitor) and app.screen.view is not None)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, ShareScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Monitor))


async def test_what_samples_the_card_shows_is_chosen(runs: dict[str, RunFolder]) -> None:
    async with share(runs["finished"]) as (screen, pilot):
        screen.query_one("#repo").focus()
        await pilot.press("escape", "g")
        await wait_for(pilot, "Samples in the card: only those that do not repeat a training row")
        screen.query_one("#repo", Input).focus()
        await pilot.press(*"me/octopus")
        await until(pilot, lambda: "--to me/octopus" in screen.headless_command)
        assert "--samples unseen" in screen.headless_command
