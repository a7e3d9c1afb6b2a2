"""Chat from a run that has just ended, and what is kept of it on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.scripted_models import ScriptedModels
from tests.ui.looking import screen_text, until, wait_for
from tuner_tui.config.spec_file import read_spec
from tuner_tui.generation.conversation import Conversation
from tuner_tui.generation.messages import Base, Candidate
from tuner_tui.generation.transcripts import chats_dir
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.modals.pick_sides import PickSides
from tuner_tui.ui.screens.chat import ChatScreen
from tuner_tui.ui.screens.home import Home
from tuner_tui.ui.screens.monitor import Monitor

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder


async def test_a_finished_runs_monitor_leads_to_a_chat_with_it_and_its_base(
    runs: dict[str, RunFolder],
) -> None:
    folder = runs["finished"]
    folder.adapter.mkdir(exist_ok=True)
    (folder.adapter / "adapter_config.json").write_text("{}")
    (folder.adapter / "adapter_model.safetensors").write_bytes(b"")
    app = TunerApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Home))
        app.open_monitor(folder)
        await until(pilot, lambda: isinstance(app.screen, Monitor) and app.screen.view is not None)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, PickSides), lambda: screen_text(app))
        source = read_spec(folder.spec).model.source
        await wait_for(pilot, f"● {source}", f"● {source}+{folder.name}")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen), lambda: screen_text(app))
        assert isinstance(app.screen, ChatScreen)
        base, tuned = app.screen.talk.candidates
        assert base.adapter is None and tuned.adapter == str(folder.adapter.resolve())


def transcripts() -> list[list[dict[str, object]]]:
    """The chats on disk: a line for each model."""
    files = sorted(chats_dir().glob("*.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


async def test_what_is_said_is_kept_once_it_is_answered(home: Path) -> None:
    models = ScriptedModels()
    sides = (Candidate(base=Base(source="demo")), Candidate(base=Base(source="demo"), adapter="/a/adapter"))
    screen = ChatScreen(Conversation(candidates=sides), generators=models)
    app = TunerApp(screen)
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "Ask a question")
        await pilot.press(*"Why?", "enter")
        await until(pilot, lambda: len(models.waiting) == 2)
        assert transcripts() == []
        first, second = models.answer(2)
        await until(pilot, lambda: len(transcripts()) == 1)
        (lines,) = transcripts()
        question = {"role": "user", "content": "Why?"}
        assert lines == [
            {
                "model": "demo",
                "adapter": adapter,
                "messages": [question, {"role": "assistant", "content": f"answer {request.seed} {number}"}],
            }
            for number, (adapter, request) in enumerate(((None, first), ("/a/adapter", second)))
        ]
        await pilot.press(*"More", "enter")
        await until(pilot, lambda: len(models.waiting) == 2)
        models.answer(2)
        await until(pilot, lambda: [len(line["messages"]) for line in transcripts()[0]] == [4, 4])  # type: ignore[arg-type]
        assert len(transcripts()) == 1, "one chat is one file"
