"""What should I pick?: from a goal to Start, what a goal shows, and Chat with a system prompt first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from textual.widgets import Static, TextArea

from tests.pdf_file import write_pdf
from tests.ui.new_run_host import new_run
from tuner_tui.config.goals import find_goal
from tuner_tui.hardware.free_memory import FreeMemory
from tuner_tui.models.open_models import own_table_file
from tuner_tui.runs.folder import list_runs
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.modals.write_text import WriteText
from tuner_tui.ui.screens.chat import ChatScreen
from tuner_tui.ui.screens.new_run.screen import NewRunScreen
from tuner_tui.ui.screens.pick import PickScreen
from tuner_tui.ui.widgets.pick_list import PickList

if TYPE_CHECKING:
    from tests.ui.new_run_host import Walk

GPU = FreeMemory(True, "RTX 4070", 10_300_000_000, 12_282_000_000)
MOST_KEYS = 8
PATIENCE = 120.0


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home, an empty cache of the Hub, and a GPU of 12 GB."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for place in ("tuner_tui.runs.proposal_basis", "tuner_tui.ui.screens.new_run.memory"):
        monkeypatch.setattr(f"{place}.read_free_memory", lambda *_, **__: GPU)
    monkeypatch.setattr("tuner_tui.keeper.start.ensure_keeper", lambda: None)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def pick_screen(walk: Walk) -> PickScreen:
    """The screen in front."""
    assert isinstance(walk.app.screen, PickScreen)
    return walk.app.screen


async def at_goals(walk: Walk) -> PickScreen:
    """Open the screen from New run, and wait for the proposals."""
    await walk.press("enter")
    screen = pick_screen(walk)
    await walk.until(lambda: screen.proposals is not None, "proposals", PATIENCE)
    return screen


async def test_from_a_goal_to_start_on_the_demos_model_in_eight_keys() -> None:
    """With `n` on Home: goal, style, the demo's model at the end, its data, Start."""
    keys = ["n"]
    async with new_run(size=(80, 24)) as walk:

        async def press(key: str) -> None:
            keys.append(key)
            await walk.press(key)

        await press("enter")
        screen = pick_screen(walk)
        await walk.until(lambda: screen.proposals is not None, "proposals", PATIENCE)
        await press("enter")
        await press("end")
        assert "demo: SmolLM2-135M" in walk.text()
        await press("enter")
        assert walk.step == "data"
        await walk.until(lambda: "96 rows" in walk.text(), "the demo's data", PATIENCE)
        await press("enter")
        assert walk.step == "review"
        await walk.settled()
        assert walk.state.problems == ()
        await press("enter")
        await walk.until(lambda: walk.app.opened, "the run", PATIENCE)
    assert len(keys) <= MOST_KEYS
    (folder,) = list_runs()
    assert 'source = "demo"' in folder.spec.read_text()
    assert not any(isinstance(screen, NewRunScreen | PickScreen) for screen in walk.app.screen_stack)


async def test_each_goal_shows_its_proposals_and_when_it_is_not_fine_tuning() -> None:
    async with new_run(size=(140, 45)) as walk:
        screen = await at_goals(walk)
        assert "as of 20" in walk.text() and "RTX 4070" in walk.text()
        for name in ("style", "facts", "format", "ratings"):
            goal = find_goal(name)
            await walk.until(
                lambda goal=goal: screen.proposals is not None and screen.proposals.goal == goal,
                name,
                PATIENCE,
            )
            assert goal.instead in str(screen.query_one("#instead", Static).content)
            rows = screen.query_one("#proposals", PickList).rows
            assert rows[0].cells[0].startswith("fits, ")
            reasons = str(screen.query_one("#reasons Static", Static).content)
            assert goal.recipes[0].method_why.split(",")[0][:20] in " ".join(reasons.split())
            assert screen.headless_command == f"tuner-tui pick --goal {name}"
            await walk.press("down")


async def test_documents_are_offered_for_facts(here: Path) -> None:
    (here / "manual").mkdir()
    (here / "manual" / "one.md").write_text("\n\n".join(f"Room {n} opens at {n}." for n in range(900)))
    write_pdf(here / "manual" / "two.pdf", [["A page of notes."]])
    (here / "rows.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    async with new_run() as walk:
        screen = await at_goals(walk)
        await walk.press("down")
        await walk.until(
            lambda: screen.proposals and screen.proposals.goal.name == "facts", "facts", PATIENCE
        )
        await walk.press("enter", "enter")
        files = walk.screen.query_one("#data PickList", PickList)
        await walk.until(lambda: len(files.rows) == 3, "the documents", PATIENCE)
        assert [row.key for row in files.rows] == ["./manual", "manual/one.md", "manual/two.pdf"]
        assert files.rows[0].cells[1] == "2 documents in that folder"
        await walk.press("enter")
        await walk.until(lambda: walk.state.data is not None, "the rows", PATIENCE)
        assert walk.state.data is not None and walk.state.data.problem is None
        assert walk.state.data.shape == "text"
        assert 5 <= walk.state.data.rows <= 12  # some 20 kB in chunks of 3 kB
        assert walk.spec.data.chunk_bytes == 3072


async def test_one_key_opens_chat_with_a_system_prompt_first() -> None:
    async with new_run() as walk:
        screen = await at_goals(walk)
        await walk.press("p")
        await walk.until(lambda: isinstance(walk.app.screen, WriteText), "the system prompt", PATIENCE)
        assert isinstance(walk.app.screen_stack[-2], ChatScreen)
        assert walk.app.screen.query_one(TextArea).text == find_goal("style").system_prompt
        await walk.press("ctrl+s")
        chat = walk.app.screen
        assert isinstance(chat, ChatScreen)
        await walk.until(lambda: len(chat.talk.candidates) == 2, "two columns", PATIENCE)
        assert [bool(candidate.system) for candidate in chat.talk.candidates] == [False, True]
        assert chat.talk.candidates[0].base.source == "demo"
        await walk.press("escape")
        assert walk.app.screen is screen


async def test_escape_leads_back_to_the_presets_which_say_what_fits() -> None:
    async with new_run(size=(140, 45)) as walk:
        await at_goals(walk)
        await walk.press("escape")
        assert isinstance(walk.app.screen, NewRunScreen)
        presets = walk.screen.query_one("#start-pane PickList", PickList)
        await walk.until(lambda: any(row.cells[0] for row in presets.rows), "what fits", PATIENCE)
        fits = {row.key: row.cells[0] for row in presets.rows}
        assert fits["first-try"] == "fits here"
        assert fits["lora-24gb"] == "too big here"
        assert fits["qlora-8gb"] == "fits here"


async def test_a_bad_table_is_named_where_it_would_be_used() -> None:
    own_table_file().parent.mkdir(parents=True)
    own_table_file().write_text("date = 2026-01-01\nmodels = []\n")
    async with new_run(size=(140, 45)) as walk:
        await walk.press("enter")
        await walk.until(lambda: "! The table of models" in walk.text(), "the problem", PATIENCE)
        beside = (line.partition("│")[2].strip() for line in walk.text().splitlines())
        assert "models.toml" in "".join(beside)  # a long path is folded


async def test_every_key_is_in_the_footer() -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(PickScreen(lambda _: None))
        await pilot.pause()
        footer = "".join(str(widget.render()) for widget in app.screen.query("FooterKey"))
        for words in ("Chat first", "Back", "Help"):
            assert words in footer
        assert json.dumps(app.screen.headless_command)  # type: ignore[attr-defined]
