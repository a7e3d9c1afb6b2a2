"""A download that a new run needs: its figures in Review, a key that cancels it, and the start that resumes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.ui.new_run_host import new_run
from tuner_tui.errors import TunerError
from tuner_tui.planning.run_time import Outlook
from tuner_tui.sharing import start_run
from tuner_tui.sharing.hub_protocol import Moved, Stepped
from tuner_tui.sharing.worker_job import Cancelled
from tuner_tui.ui.screens.new_run.review import ReviewPane

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)


async def test_a_download_is_cancelled_and_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    fetches: list[str] = []

    def fetch_needed(spec: Any, tell: Callable[[Any], None], is_cancelled: Callable[[], bool]) -> None:
        """A Hub process that never ends by itself."""
        fetches.append(spec.model.source)
        tell(Stepped(what="downloading 3 files"))
        tell(Moved(done_bytes=12_000_000, total_bytes=40_000_000))
        for _ in range(3000):
            if is_cancelled():
                raise Cancelled
            threading.Event().wait(0.02)
        raise TunerError("The download was not cancelled")  # or a real run would start

    monkeypatch.setattr(start_run, "fetch_needed", fetch_needed)
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.settled()
        await walk.go_to("review")
        assert not walk.screen.check_action("cancel_download", ())
        for count in (1, 2):
            await walk.press("s")
            await walk.until(lambda: "12.0 MB of 40.0 MB; x cancels" in walk.text(), "the download's figures")
            await walk.press("x")
            await walk.until(
                lambda: "Cancelled. The partial download is kept" in walk.text(), "it is cancelled"
            )
            assert not walk.screen.check_action("cancel_download", ())
            assert len(fetches) == count
        assert not walk.app.opened


async def test_a_start_is_said_until_it_is_made_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures that came in meanwhile took the words away, and nothing seemed to happen."""
    gate = threading.Event()

    def refuse_late(*_: object, **__: object) -> None:
        assert gate.wait(30)
        raise TunerError("The disk is full", "0.1 GB free.")

    monkeypatch.setattr(start_run, "start_run", refuse_late)
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.settled()
        await walk.go_to("review")
        await walk.press("s")
        await walk.until(lambda: "Starting ... its Monitor opens" in walk.text(), "words")
        pane = walk.screen.query_one(ReviewPane)
        pane.show(walk.state)
        pane.show_plan(None, Outlook(seconds=60.0))
        await walk.pilot.pause()
        assert "Starting ... its Monitor opens" in walk.text()
        assert "… starting the run" in walk.text()
        gate.set()
        await walk.until(lambda: "The run did not start." in walk.text(), "the refusal")
        assert "The disk is full" in walk.text() and "starting the run" not in walk.text()
        walk.screen._change("training.epochs", "5")
        await walk.until(lambda: "It continues without the app" in walk.text(), "another draft")
