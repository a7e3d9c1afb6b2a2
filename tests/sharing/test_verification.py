"""The verification of an export: its progress, how it is skipped, and that the result says so."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.sharing.test_push_run import made
from tests.ui.looking import footer_keys, screen_text, until
from tuner_tui.cli.progress import WorkTeller
from tuner_tui.runs.export_events import BytesWritten, Event, PromptsVerified, StepEntered
from tuner_tui.runs.folder import RunFolder
from tuner_tui.sharing.export import ExportOptions, export
from tuner_tui.sharing.push import PushOptions, prepare
from tuner_tui.sharing.run_facts import read_facts
from tuner_tui.sharing.verification import SKIPPED_WORDS
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.screens.home import Home
from tuner_tui.ui.screens.share import ShareScreen
from tuner_tui.worker.export.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["made"]


@pytest.fixture
def run(made: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("TUNER_TUI_HOME", str(made / "home"))
    return RunFolder(next((made / "home" / "data" / "runs").iterdir()))


@pytest.fixture
def tuner(made: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def tuner_now(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tuner_tui", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"TUNER_TUI_HOME": str(made / "home"), "HF_HUB_OFFLINE": "1"},
            cwd=tmp_path,
            timeout=300,
        )

    return tuner_now


def test_the_time_left_is_each_kinds_own_pace() -> None:
    """Two answers of 10 s, then comparisons of 1 s: by hand."""
    times: Iterator[float] = iter([0.0, 10.0, 20.0, 50.0, 51.0])
    events: list[Event] = []
    rounds = Rounds({"answers": 3, "comparisons": 4}, events.append, lambda: next(times))
    answered = rounds.begin("answers")
    answered()
    answered()
    compared = rounds.begin("comparisons")  # 30 s of loading between are nobody's pace
    compared()
    rounds.leave_out("comparisons", 2)
    assert [(event.done_prompts, event.total_prompts, event.seconds_left) for event in events] == [  # type: ignore[union-attr]
        (1, 7, 60.0),  # 2 answers and 4 comparisons, at 10 s each while nothing else is known
        (2, 7, 50.0),
        (3, 7, 13.0),  # 1 answer at 10 s, 3 comparisons at 1 s
    ]


@pytest.mark.slow
def test_every_prompt_is_counted_and_the_record_is_what_was_compared(run: RunFolder, tmp_path: Path) -> None:
    facts = read_facts(run)
    events: list[Event] = []
    exported = export(facts, ExportOptions("adapter", tmp_path / "out"), events.append)
    counts = [event for event in events if isinstance(event, PromptsVerified)]
    prompts = len(facts.prompts)
    total = prompts + min(6, prompts) + prompts  # the trained model, the base for the card, the export
    assert [(event.done_prompts, event.total_prompts) for event in counts] == [
        (done, total) for done in range(1, total + 1)
    ]
    assert counts[-1].seconds_left == 0
    assert exported.verification == "compared" and exported.checked is not None
    record = json.loads((tmp_path / "out" / "verification.json").read_text())
    assert record["verification"] == "compared"
    assert record["agreement"]["prompts"] == prompts == exported.checked.agreement.prompts
    assert "samples" not in record and facts.prompts[0] not in json.dumps(record)


@pytest.mark.slow
def test_skipping_under_way_ends_the_verification_only(run: RunFolder, tmp_path: Path) -> None:
    events: list[Event] = []

    def has_begun() -> bool:
        return any(isinstance(event, PromptsVerified) for event in events)

    options = ExportOptions("adapter", tmp_path / "out")
    exported = export(read_facts(run), options, events.append, is_skipping=has_begun)
    assert has_begun() and exported.verification == "skipped" and exported.checked is None
    names = {path.name for path in exported.files}
    assert {"adapter_model.safetensors", "adapter_config.json", "SHA256SUMS"} <= names
    record = json.loads((tmp_path / "out" / "verification.json").read_text())
    assert record == {"verification": "skipped", "meaning": SKIPPED_WORDS}


@pytest.mark.slow
def test_the_command_skips_by_name_and_says_so(tuner: Any, tmp_path: Path) -> None:
    done = tuner("export", "last", "--as", "adapter", "--out", "a", "--skip", "verification", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verification"] == "skipped" and report["checked"] is None
    done = tuner("export", "last", "--as", "merged", "--out", "b", "--skip", "verification")
    assert done.returncode == 0, done.stderr
    assert "It was not verified" in done.stdout
    assert "running the trained model" not in done.stderr
    assert "merging, tensor by tensor ..." in done.stderr and "\r" not in done.stderr
    assert json.loads((tmp_path / "b" / "verification.json").read_text())["verification"] == "skipped"


@pytest.mark.slow
def test_a_card_of_an_export_that_was_not_verified_says_so(run: RunFolder) -> None:
    facts = read_facts(run, "ada/base")
    wanted = PushOptions("ada/inkwell", is_verified=False)
    prepared = prepare(facts, wanted)
    assert prepared.verification == "skipped"
    assert SKIPPED_WORDS in prepared.card.read_text()
    assert any(SKIPPED_WORDS in remark for remark in prepared.remarks)
    assert "verification.json" not in {file.name for file in prepared.files}
    events: list[Any] = []
    prepared = prepare(facts, PushOptions("ada/inkwell"), events.append)
    assert any(isinstance(event, PromptsVerified) for event in events), "what was skipped is now verified"
    assert prepared.verification == "compared" and SKIPPED_WORDS not in prepared.card.read_text()
    prepared = prepare(facts, wanted)  # what was verified stays so
    assert prepared.verification == "compared"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_progress_is_one_moving_line_on_a_terminal_and_nothing_elsewhere(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = stream()
    monkeypatch.setattr(sys, "stderr", output)
    with pytest.raises(KeyboardInterrupt), WorkTeller(left="What arrived is kept.") as tell:
        tell(StepEntered(what="reading \x1b[31mit"))
        tell(PromptsVerified(done_prompts=3, total_prompts=26, seconds_left=65.4))
        tell(BytesWritten(done_bytes=1, total_bytes=10))  # too soon after the one before
        raise KeyboardInterrupt
    text = output.getvalue()
    assert "reading \\x1b[31mit ...\n" in text
    assert ("  3 of 26 prompts, 1 min 5 s left\r" in text) is (stream is Terminal)
    assert "1 B of 10 B" not in text
    assert "Stopped. What arrived is kept.\nTo resume: tuner-tui" in text


async def test_the_screen_shows_prompts_and_skips_by_a_key(run: RunFolder, tmp_path: Path) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Home))
        app.open_share(run)
        await until(pilot, lambda: isinstance(app.screen, ShareScreen))
        screen = app.screen
        assert isinstance(screen, ShareScreen)
        await pilot.press("right")
        assert "--skip verification" in screen.headless_command and "not verified" in screen_text(app)
        await pilot.press("right")
        assert "--skip verification" not in screen.headless_command
        assert "Skip check" in footer_keys(app).values()
        screen.query_one("#out").value = str(tmp_path / "out")  # type: ignore[attr-defined]
        await pilot.press("e")
        await until(pilot, lambda: "prompts, " in screen_text(app), lambda: screen_text(app), seconds=120)
        await pilot.press("right")
        await until(pilot, lambda: not screen.is_busy, lambda: screen_text(app), seconds=60)
        assert SKIPPED_WORDS in screen.lines
    assert json.loads((tmp_path / "out" / "verification.json").read_text())["verification"] == "skipped"
