"""Downloads in the app, from the Hub's stand-in: fetched with progress, cancelled, gone on with, removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.ui.looking import footer_keys, screen_text, until, wait_for
from tuner_tui.models.hub_cache import cached_repos
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.modals.message import MessageModal
from tuner_tui.ui.screens.downloads import DownloadsScreen
from tuner_tui.ui.screens.home import Home

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": bytes(range(256)) * 20000,
}


async def test_fetched_cancelled_gone_on_with_and_removed(hub: Any, cache: Path) -> None:
    hub.add_repo("owner/base", FILES)
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Home))
        await pilot.press("h")
        await wait_for(pilot, "The Hub's cache is empty")
        screen = app.screen
        assert isinstance(screen, DownloadsScreen)
        assert "Cancel" not in footer_keys(app).values()

        hub.fail("delay", "download", seconds=60, after=4_000_000)
        await pilot.press("n", *"owner/base")
        await wait_for(pilot, "tuner-tui models download owner/base")
        await pilot.press("enter")
        await until(pilot, lambda: any(cache.rglob("*-partial")), lambda: screen_text(app))
        await pilot.press("x")
        await wait_for(pilot, "Cancelled", "unfinished")
        hub.faults.clear()
        await pilot.press("enter")
        await wait_for(pilot, "Downloaded owner/base: 3 files, 5.1 MB")
        await until(pilot, lambda: not any(repo.is_unfinished for repo in screen.repos))
        assert [note["range"] for note in hub.requests if note["operation"] == "download"][-1]

        await pilot.press("delete", "y")
        await wait_for(pilot, "Freed 5.1 MB")
        await until(pilot, lambda: not screen.repos)
        assert not cached_repos() and not list(cache.glob("models--*"))


async def test_a_gated_one_and_no_name_are_explained(hub: Any, cache: Path) -> None:
    hub.add_repo("owner/gated", FILES, gated="auto")
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Home))
        app.action_downloads()
        await until(pilot, lambda: isinstance(app.screen, DownloadsScreen))
        for name, words in (
            ("owner/gated", "Accept the terms at"),
            ("no name!", "is not a valid repository name"),
        ):
            await pilot.press("n", *name.replace(" ", "_"), "enter")
            await until(pilot, lambda: isinstance(app.screen, MessageModal))
            assert words in " ".join(screen_text(app).split()), screen_text(app)
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, DownloadsScreen))
            app.screen.query_one("#name").value = ""  # type: ignore[attr-defined]
