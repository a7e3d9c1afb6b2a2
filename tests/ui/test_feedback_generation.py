"""Waiting for answers on the feedback screen: figures, a stop that keeps what is complete, and going on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.scripted_models import ScriptedModels
from tests.ui.looking import footer_keys, screen_text, until, wait_for
from tuner_tui.feedback.collections import open_or_create
from tuner_tui.feedback.records import CollectionSettings
from tuner_tui.generation.messages import Base, Candidate, Sampling, Turn
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.screens.feedback import FeedbackScreen

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("home")


def screen_of(models: ScriptedModels) -> FeedbackScreen:
    settings = CollectionSettings(
        candidates=(Candidate(base=Base(source="demo")),), sampling=Sampling(max_new_tokens=40)
    )
    with open_or_create("evening", settings) as store:
        store.add_items([((Turn("user", f"Why {number}?"),), "test", ()) for number in range(3)])
    return FeedbackScreen("evening", models)


async def test_progress_is_shown_and_a_stop_keeps_what_is_complete(home: Path) -> None:
    models = ScriptedModels()
    app = TunerApp(screen_of(models))
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "0 of 3 prompts answered", "x stops")
        models.tell("loading [bold]demo")
        await wait_for(pilot, "loading [bold]demo")
        models.grow(1)
        models.grow(9)
        await wait_for(pilot, "tokens/s, at most", "left")
        assert "Stop" in footer_keys(app).values()
        assert not {"Choose", "Tie", "Bad", "Edit", "Resume"} & set(footer_keys(app).values())
        models.answer()
        await pilot.press("x")
        await wait_for(pilot, "Stopped: 0 of 3 prompts answered", "r resumes")
        assert "Resume" in footer_keys(app).values() and "Stop" not in footer_keys(app).values()
        with open_or_create("evening") as store:
            assert [len(item.answers) for item in store.items()] == [1, 0, 0]
        await pilot.press("r")
        await until(pilot, lambda: len(models.waiting) == 5, lambda: screen_text(app))
        models.answer(1)
        await wait_for(pilot, "saved 0, 1 ready, 2 without answers")
        assert "Choose" in footer_keys(app).values()
        await pilot.press("1")
        await wait_for(pilot, "1 of 3 prompts answered")


async def test_a_failure_is_shown_and_r_tries_again(home: Path) -> None:
    models = ScriptedModels()
    app = TunerApp(screen_of(models))
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "0 of 3 prompts answered")
        while models.waiting:
            models.fail()
        await wait_for(pilot, "Out of memory", "Ask for shorter answers.")
        await until(pilot, lambda: "Resume" in footer_keys(app).values(), lambda: screen_text(app))
        await pilot.press("r")
        await wait_for(pilot, "0 of 3 prompts answered")
        assert len(models.waiting) == 4
