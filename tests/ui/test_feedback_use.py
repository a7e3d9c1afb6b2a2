"""A collection is trained on and exported by a key, and the models that answer are chosen from a list."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.ui.feedback_host import collection
from tests.ui.looking import footer_keys, screen_text, until, wait_for
from tuner_tui.cli.feedback import feedback
from tuner_tui.feedback.collections import annotator_name, open_collection
from tuner_tui.feedback.records import CollectionSettings
from tuner_tui.feedback.session import Session
from tuner_tui.feedback.to_train import training_spec
from tuner_tui.generation.messages import Base, Candidate
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.modals.pick_path import PickPath
from tuner_tui.ui.screens.collections import Collections
from tuner_tui.ui.screens.feedback import FeedbackScreen
from tuner_tui.ui.screens.new_run.screen import NewRunScreen

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

    from tuner_tui.feedback.records import Mode

pytestmark = pytest.mark.usefixtures("home")


def annotated(name: str, mode: Mode = "pairs", sides: tuple[str, ...] = ("demo",)) -> None:
    """A collection of three items, annotated in its mode."""
    candidates = tuple(Candidate(base=Base(source=side)) for side in sides)
    collection(name, [("one", "two")] * 3, CollectionSettings(mode=mode, candidates=candidates))
    with open_collection(name) as store:
        session = Session(store, annotator_name(), seed=1)
        for _ in range(3):
            shown = session.next()
            assert shown is not None
            match mode:
                case "pairs":
                    session.choose(shown, 0)
                case "thumbs":
                    session.keep(shown, "thumbs", scores=[1])
                case _:
                    session.keep(shown, "demonstration", written="my own")


def new_run(app: TunerApp) -> NewRunScreen:
    assert isinstance(app.screen, NewRunScreen)
    return app.screen


@pytest.mark.parametrize(("mode", "method"), [("pairs", "dpo"), ("thumbs", "kto"), ("demonstrations", "sft")])
def test_the_method_fits_what_is_held(mode: Mode, method: str) -> None:
    annotated("evening", mode)
    spec = training_spec("evening")
    assert (spec.model.source, spec.data.train, spec.method.kind) == ("demo", "feedback:evening", method)


async def test_t_opens_a_new_run_on_the_collection() -> None:
    annotated("evening")
    app = TunerApp(Collections())
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "3 annotated")
        assert {"Train", "Export"} <= set(footer_keys(app).values())
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen), lambda: screen_text(app))
        await until(pilot, lambda: new_run(app).step == "settings", lambda: screen_text(app))
        state = new_run(app).state
        assert state is not None
        assert state.draft.spec.data.train == "feedback:evening" and state.draft.spec.method.kind == "dpo"


async def test_without_one_base_the_new_run_asks_for_the_model() -> None:
    annotated("evening", sides=("demo", "other/model"))
    app = TunerApp(FeedbackScreen("evening"))
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "Everything is annotated: 3 saved", "R trains on it", "O exports it")
        assert {"Train", "Export"} <= set(footer_keys(app).values())
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, NewRunScreen), lambda: screen_text(app))
        await until(pilot, lambda: new_run(app).step == "model", lambda: screen_text(app))


async def test_nothing_annotated_is_told() -> None:
    collection("evening", [("one", "two")])
    app = TunerApp(Collections())
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "0 annotated")
        await pilot.press("R")
        await wait_for(pilot, "Nothing to export", "tuner-tui feedback collect evening")


async def _export(pilot: Pilot[Any], path: Path) -> None:
    await pilot.press("O")
    await wait_for(pilot, "Export evening to")
    assert isinstance(pilot.app.screen, PickPath)
    pilot.app.screen.query_one("Input").value = str(path)  # type: ignore[attr-defined]
    await pilot.press("enter")


async def test_e_writes_what_the_command_writes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    annotated("evening")
    monkeypatch.chdir(home)
    by_command = home / "by-command.jsonl"
    done = CliRunner().invoke(feedback, ["export", "evening", "--out", str(by_command)])
    assert done.exit_code == 0, done.output
    app = TunerApp(Collections())
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await wait_for(pilot, "3 annotated")
        (home / "out").mkdir()
        await _export(pilot, home / "out")
        await wait_for(pilot, "3 rows (pairs)")
    written = home / "out" / "evening.jsonl"
    assert written.read_bytes() == by_command.read_bytes()
    assert [set(json.loads(line)) >= {"prompt", "chosen", "rejected"} for line in written.open()] == [
        True
    ] * 3
    assert (home / "out" / "evening.card.md").is_file()


async def test_models_of_a_new_collection_are_chosen_from_a_list(home: Path) -> None:
    app = TunerApp(Collections())
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "No collections yet")
        await pilot.press("n")
        await wait_for(pilot, "New collection", "demo")
        await pilot.press(*"evening", "enter", "space")
        await wait_for(pilot, "Models that answer", "● demo")
        await pilot.press("enter")
        await wait_for(pilot, "New collection")
        await pilot.press("enter", "enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, FeedbackScreen), lambda: screen_text(app))
    with open_collection("evening") as store:
        assert [side.base.source for side in store.settings().candidates] == ["demo"]
