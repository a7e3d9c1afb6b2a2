"""What Review does with a run: the editor and back, writing it, and keeping it as a preset."""

from __future__ import annotations

import stat
from contextlib import nullcontext
from pathlib import Path

import pytest
from textual.widgets import Input

from tests.ui.new_run_host import Walk, new_run
from tuner_tui.config.presets import find_preset
from tuner_tui.config.spec import LoraTuning
from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import InputError
from tuner_tui.ui.modals.pick_path import PickPath
from tuner_tui.ui.modals.save_preset import SavePreset
from tuner_tui.ui.screens.new_run.review import StartButton
from tuner_tui.ui.screens.new_run.screen import LaunchRefused


@pytest.fixture(autouse=True)
def here(fresh_folder: Path) -> Path:
    return fresh_folder


def set_editor(monkeypatch: pytest.MonkeyPatch, walk: Walk, folder: Path, program: str) -> None:
    """An editor that is a script: its argument is the file. The headless driver cannot be suspended."""
    script = folder.parent / "editor.sh"
    script.write_text(f"#!/bin/sh\n{program}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{script} --wait")
    monkeypatch.setattr(walk.app, "suspend", nullcontext)


async def at_review(walk: Walk) -> None:
    await walk.press("down", "enter")
    await walk.settled()
    await walk.go_to("review")


async def test_the_page_scrolls_while_start_has_the_focus(here: Path) -> None:
    async with new_run() as walk:
        await at_review(walk)
        page = walk.screen.query_one("#run-text")
        assert page.max_scroll_y > 5
        seen = [page.scroll_offset.y]
        for key in ("down", "pagedown", "end", "up", "pageup", "home"):
            await walk.press(key)
            seen.append(page.scroll_offset.y)
            assert isinstance(walk.screen.focused, StartButton)
        assert seen[:3] == [0, 1, min(1 + page.size.height, page.max_scroll_y)]
        assert seen[3:5] == [page.max_scroll_y, page.max_scroll_y - 1]
        assert seen[6] == 0 <= seen[5] < seen[4]
        await walk.press("end")
        assert "What is the capital of France?" in walk.text()
        await walk.go_to("settings")
        await walk.go_to("review")
        assert page.scroll_offset.y == 0
        assert "Chosen for this machine" in walk.text()


async def test_an_edit_comes_back_with_its_comments(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with new_run() as walk:
        await at_review(walk)
        set_editor(monkeypatch, walk, here, 'sed -i "s/^rank = 16 .*/rank = 5  # five/" "$2"')
        await walk.press("e")
        assert isinstance(walk.spec.tuning, LoraTuning)
        assert walk.spec.tuning.rank == 5
        assert "rank = 5  # five" in walk.state.draft.toml()
        await walk.go_to("settings")
        await walk.find("rank")
        assert isinstance(walk.screen.focused, Input)
        assert walk.screen.focused.value == "5"
        await walk.type("7")
        assert "rank = 7\n" in walk.state.draft.toml()


async def test_broken_text_is_kept_told_by_line_and_edited_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with new_run() as walk:
        await at_review(walk)
        set_editor(monkeypatch, walk, here, 'echo "[training]\nepochs = many" > "$2"')
        await walk.press("e")
        broken = walk.broken()
        assert broken is not None
        assert "epochs = many" in broken.text
        assert "line 2" in walk.text()
        assert "Start" not in walk.text().splitlines()[-1]
        await walk.press("s")
        assert walk.app.opened == []
        # the next visit begins with the broken text, and mends it
        set_editor(monkeypatch, walk, here, 'grep -q many "$2" && sed -i "s/many/2/" "$2"')
        await walk.press("e")
        assert walk.broken() is not None  # model and data are still missing in it
        assert {problem.key for problem in walk.state.problems} == {"model.source", "data.train"}
        await walk.press("x")
        assert walk.broken() is None
        assert walk.spec.data.train == "demo"
        assert walk.state.problems == ()


@pytest.mark.parametrize(
    ("program", "words"), [("exit 3", "ended with 3"), ('printf "a\\000b" > "$2"', "Not a text file")]
)
async def test_a_failing_editor_changes_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    async with new_run() as walk:
        await at_review(walk)
        before = walk.state.draft
        set_editor(monkeypatch, walk, here, program)
        await walk.press("e")
        assert words in walk.text()
        await walk.press("escape")
        assert walk.state.draft == before


async def test_no_editor_and_no_suspending_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with new_run() as walk:
        await at_review(walk)
        await walk.press("e")
        assert "cannot be suspended for an editor" in walk.text()


async def test_write_asks_before_it_overwrites(here: Path) -> None:
    (here / "run.toml").write_text("precious")
    async with new_run() as walk:
        await at_review(walk)
        await walk.press("w", "enter")
        assert isinstance(walk.app.screen, PickPath)
        assert "exists" in walk.text()
        assert (here / "run.toml").read_text() == "precious"
        await walk.press("enter")
        await walk.until(lambda: (here / "run.toml").read_text() != "precious", "the file")
        assert read_spec(here / "run.toml") == walk.spec
        assert "# First try" in (here / "run.toml").read_text()


async def test_save_as_preset_and_overwrite_only_when_asked_again() -> None:
    async with new_run() as walk:
        await at_review(walk)
        await walk.press("p")
        await walk.type("first-try")
        await walk.press("enter")
        assert isinstance(walk.app.screen, SavePreset)
        assert "A shipped preset has this name" in " ".join(walk.text().split())
        await walk.press("ctrl+u")
        await walk.type("mine")
        await walk.press("enter")
        assert find_preset("mine").text.startswith("# First try")
        await walk.go_to("settings")
        await walk.find("rank")
        await walk.type("3")
        await walk.go_to("review")
        await walk.press("p")
        await walk.type("mine")
        await walk.press("enter")
        assert "Enter again overwrites it" in walk.text()
        assert "rank = 3" not in find_preset("mine").text
        await walk.press("enter")
        assert "rank = 3" in find_preset("mine").text
    async with new_run() as walk:
        await walk.press("end")
        assert "mine" in walk.text()


async def test_why_the_start_failed_goes_with_the_next_change(here: Path) -> None:
    async with new_run() as walk:
        await at_review(walk)
        walk.screen.post_message(LaunchRefused(InputError("The data file is empty", "a.jsonl has no rows.")))
        await walk.until(lambda: "! The data file is empty" in walk.text(), "the reason")
        assert "The run did not start." in walk.text()
        walk.screen._change("training.epochs", "2")
        await walk.until(lambda: "The data file is empty" not in walk.text(), "the page without the reason")
