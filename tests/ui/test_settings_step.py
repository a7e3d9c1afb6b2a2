"""The Settings step: the basic options first, the rest folded and made when it is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from tests.ui.new_run_host import new_run
from tuner_tui.ui.screens.new_run.settings import BASIC
from tuner_tui.ui.widgets.option_field import OptionField
from tuner_tui.ui.widgets.option_fold import FoldTitle, OptionFold


@pytest.fixture(autouse=True)
def here(fresh_folder: Path) -> Path:
    return fresh_folder


async def test_the_basic_options_come_first_and_the_rest_is_made_when_opened() -> None:
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.go_to("settings")
        fields = [
            field.option.key for field in walk.screen.query("#settings OptionField").results(OptionField)
        ]
        assert fields == list(BASIC)
        await walk.press("down", *("down" for _ in BASIC))
        title = walk.screen.focused
        assert isinstance(title, FoldTitle)
        await walk.press("enter")
        fold = title.parent
        assert isinstance(fold, OptionFold)
        assert fold.is_open
        shown = {field.option.key for field in fold.query(OptionField)}
        assert shown == {option.key for option in fold.options}
        await walk.press("enter")
        assert fold.has_class("-closed")
        assert not any(field.display and field.region for field in fold.query(OptionField))


async def test_an_option_in_a_fold_is_found_and_gets_the_keys_that_follow() -> None:
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.go_to("settings")
        await walk.find("warmup")
        await walk.until(lambda: isinstance(walk.screen.focused, Input), "the field")
        await walk.type("0.5")
        assert walk.spec.training.warmup == 0.5
        fold = next(fold for fold in walk.screen.query(OptionFold) if fold.section == "training")
        assert fold.is_open


async def test_enter_on_the_last_basic_option_continues_to_review() -> None:
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.go_to("settings")
        await walk.press("down")
        for _ in BASIC:
            assert walk.step == "settings"
            await walk.press("enter")
        assert walk.step == "review"


async def test_the_command_names_a_file_that_is_there(here: Path) -> None:
    """Without a preset the command names run.toml: c writes it, and over no other file."""
    (here / "run.toml").write_text("precious")
    async with new_run() as walk:
        await walk.press("end", "enter")
        await walk.go_to("method")
        await walk.press("c")
        assert walk.app.clipboard == ""
        walk.screen._change("model.source", "demo")
        walk.screen._change("data.train", "demo")
        await walk.press("c")
        await walk.until(lambda: walk.app.clipboard == "tuner-tui train run-2.toml", "the command")
        assert (here / "run.toml").read_text() == "precious"
        assert 'source = "demo"' in (here / "run-2.toml").read_text()
        await walk.press("c")
        assert not (here / "run-3.toml").exists()


async def test_data_of_ones_own_get_held_out_rows_and_sample_prompts_that_stay_off_when_turned_off(
    here: Path,
) -> None:
    rows = [f'{{"prompt": "What is {n}?", "completion": "It is {n}."}}\n' for n in range(200)]
    (here / "own.jsonl").write_text("".join(rows))
    async with new_run() as walk:
        await walk.press("down", "enter")
        assert walk.spec.data.evaluation_share == 0
        await walk.go_to("data")
        await walk.type("own.jsonl")
        await walk.press("enter")
        await walk.until(lambda: walk.spec.data.evaluation_share == 0.1, "a share that is held out")
        assert walk.spec.data.hold_out_by == "prompt"
        assert len(walk.spec.samples.prompts) == 3
        assert all(prompt.startswith("What is ") for prompt in walk.spec.samples.prompts)
        assert "evaluation_share = 0.1" in walk.state.draft.toml()
        walk.screen._change("data.evaluation_share", "0")
        await walk.settled()
        assert walk.spec.data.evaluation_share == 0


async def test_other_data_drop_what_the_data_before_began_with_and_their_mapping(here: Path) -> None:
    rows = [f'{{"prompt": "What is {n}?", "completion": "It is {n}."}}\n' for n in range(200)]
    (here / "many.jsonl").write_text("".join(rows))
    odd = [f'{{"customer asks": "What is {n}?", "our reply": "It is {n}."}}\n' for n in range(12)]
    (here / "odd.jsonl").write_text("".join(odd))
    async with new_run() as walk:
        await walk.press("end", "enter")
        walk.screen._take_file("odd.jsonl")
        walk.screen._change("data.mapping", "user = {customer asks}\nassistant = {our reply}")
        await walk.until(lambda: walk.state.data and walk.state.data.problem is None, "the mapped rows")
        walk.screen._take_file("many.jsonl")
        await walk.until(lambda: walk.spec.data.evaluation_share == 0.1, "a share that is held out")
        walk.screen._change("training.epochs", "2")
        await walk.go_to("data")
        walk.screen._take_file("odd.jsonl")
        assert walk.spec.data.evaluation_share == 0
        assert walk.spec.samples.prompts == ()
        assert walk.spec.training.epochs == 2
        await walk.settled()
        walk.screen._take_file("many.jsonl")
        await walk.settled()
        await walk.type("odd.jsonl")
        await walk.until(lambda: "Unknown columns" in walk.text(), "the preview without the mapping")
