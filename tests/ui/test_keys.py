"""Keys and typing: letters that are typed are text, a key means one thing, and nothing unsaved is lost by a key."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from textual import events
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import ModalScreen
from textual.widgets import Input

import tuner_tui.ui
from tests.ui.looking import until, wait_for
from tests.ui.new_run_host import new_run
from tuner_tui.config.unfinished import read_unfinished
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.modals.confirm import ConfirmModal
from tuner_tui.ui.modals.stop_run import StopModal
from tuner_tui.ui.screens.new_run import model
from tuner_tui.ui.screens.new_run.screen import NewRunScreen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.runs.folder import RunFolder


def all_bindings() -> Iterator[tuple[str, str, str]]:
    """(key, what it is called, class) of every binding of our screens and widgets."""
    for module in pkgutil.walk_packages(tuner_tui.ui.__path__, "tuner_tui.ui."):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if kind.__module__ == module.name and issubclass(kind, DOMNode):
                for binding in Binding.make_bindings(kind.__dict__.get("BINDINGS", ())):
                    yield binding.key, binding.description, kind.__name__


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("a", {"Chat"}),
        ("c", {"Copy command"}),
        ("f1", {"Help", "Close"}),
        ("r", {"Resume"}),
        ("s", {"Start"}),
        ("h", {"Downloads"}),
        ("E", {"Empty trash"}),
        ("F", {"Follow"}),
        ("H", {"Hold", "Release"}),  # the same key, by what it does now
        ("L", {"Log/events"}),
        ("N", {"Again"}),
        ("O", {"Export"}),
        ("R", {"Train"}),
        ("S", {"Sort"}),
        ("T", {"To front"}),
        ("X", {"Axis"}),
        ("Y", {"Curve"}),
        ("ctrl+e", {"Edit", "Edit note"}),
        ("delete", {"Delete", "Remove"}),
        ("ctrl+r", {"Again", "Check again"}),
        ("q", {"Quit", "No", "Keep running", "Close", "Back"}),
    ],
)
def test_a_key_means_one_thing_on_all_screens(key: str, names: set[str]) -> None:
    bound = {name for keys, name, _ in all_bindings() if key in keys.split(",")}
    assert bound
    assert bound <= names


RUN_SCREENS = (
    "Home",
    "RunsScreen",
    "Monitor",
    "RunsTable",
    "RunChart",
    "LogPane",
    "TimelinePane",
    "TunerApp",
)


def test_a_key_means_one_thing_where_runs_are() -> None:
    """From the list to a run and back, no key changes its meaning; numbers choose a part of the screen."""
    names: dict[str, set[str]] = {}
    for keys, name, kind in all_bindings():
        for key in keys.split(",") if kind in RUN_SCREENS else ():
            names.setdefault(key, set()).add(name)
    apart = {key: sorted(of) for key, of in names.items() if len(of) > 1 and not key.isdecimal()}
    assert apart == {"escape": ["All runs", "Back"]}


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder without files."""
    folder = home / "here"
    folder.mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.chdir(folder)
    return folder


async def test_a_models_name_is_typed_without_a_key_before_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "DEBOUNCE_SECONDS", 600.0)
    async with new_run() as walk:
        await walk.press("down", "enter")
        for text in ("qwen", "Qwen3-8B"):
            await walk.type(text)
            assert walk.step == "model"
            assert walk.screen.query_one("#model Input", Input).value == text
            await walk.press("ctrl+u")


async def test_a_path_and_enter_at_once_choose_it(
    here: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enter comes before the pause after which the text is looked up."""
    monkeypatch.setattr(model, "DEBOUNCE_SECONDS", 600.0)
    async with new_run() as walk:
        await walk.press("down", "enter")
        walk.screen.query_one("#model Input", Input).value = str(tiny_model)
        await walk.press("enter")
        await walk.until(lambda: walk.step == "data", "the next step")
        assert walk.spec.model.source == str(tiny_model)


async def test_a_path_that_is_not_there_is_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "DEBOUNCE_SECONDS", 600.0)
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.type("./nowhere")
        await walk.press("enter")
        await walk.until(
            lambda: "No such folder: ./nowhere does not exist. Give a folder, a GGUF file" in walk.text(),
            "the reason",
        )
        assert walk.step == "model"


async def test_arrows_move_the_list_while_typing(here: Path, tiny_model: Path) -> None:
    (here / "tiny").symlink_to(tiny_model)
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.until(lambda: "./tiny" in walk.text(), "the folder")
        await walk.press("down", "enter")
        assert walk.spec.model.source == "./tiny"


@pytest.mark.parametrize("keys", ["q", "ctrl+q"])
async def test_quitting_with_an_unsaved_new_run_asks_and_the_draft_comes_back(here: Path, keys: str) -> None:
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.settled()
        await walk.go_to("settings")
        await walk.find("rank")
        await walk.type("9")
        await walk.go_to("review")
        await walk.press(keys)
        await walk.until(lambda: '"unfinished"' in walk.text(), "the question")
        await walk.press("n")
        assert isinstance(walk.app.screen, NewRunScreen)
        await walk.press(keys)
        await walk.until(lambda: isinstance(walk.app.screen, ConfirmModal), "the question")
        await walk.press("y")
        await walk.until(lambda: not walk.app.is_running or walk.app._exit, "the end")
    kept = read_unfinished()
    assert kept is not None
    assert kept.spec.tuning.model_dump()["rank"] == 9
    async with new_run() as walk:
        assert "unfinished" in walk.text()
        await walk.press("enter")
        assert walk.spec.tuning.model_dump()["rank"] == 9
        assert walk.spec.data.train == "demo"


async def test_a_draft_without_data_comes_back_without(here: Path) -> None:
    async with new_run() as walk:
        await walk.press("end", "enter")
        await walk.go_to("settings")
        await walk.find("rank")
        await walk.type("9")
        await walk.press("escape", "y")
    kept = read_unfinished()
    assert kept is not None
    assert kept.missing == ("model.source", "data.train")


async def test_keys_faster_than_a_dialog_open_one_dialog(runs: dict[str, RunFolder]) -> None:
    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "octopus")
        for key in ("x", "x", "x"):
            app.post_message(events.Key(key, key))
        await until(pilot, lambda: isinstance(app.screen, StopModal))
        await pilot.pause()
        assert sum(isinstance(screen, ModalScreen) for screen in app.screen_stack) == 1
        await pilot.press("escape")
        for key in ("x", "n"):
            app.post_message(events.Key(key, key))
        await until(pilot, lambda: any(isinstance(screen, NewRunScreen) for screen in app.screen_stack))
        await pilot.pause()
        new = next(screen for screen in app.screen_stack if isinstance(screen, NewRunScreen))
        assert app.screen is new
