"""The New run screen from its first key to Start, in a real app without a terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from textual.widgets import Input, OptionList, Static

from tests.ui.new_run_host import Walk, new_run
from tuner_tui.config.presets import find_preset, preset_spec
from tuner_tui.config.spec import FullTuning, LoraTuning, RunSpec
from tuner_tui.errors import TunerError
from tuner_tui.models.listing import ModelListing
from tuner_tui.runs import queue
from tuner_tui.runs.folder import list_runs
from tuner_tui.ui.modals.confirm import ConfirmModal
from tuner_tui.ui.modals.memory_terms import MemoryTermsModal
from tuner_tui.ui.screens.data.screen import DataScreen
from tuner_tui.ui.screens.new_run import model
from tuner_tui.ui.screens.new_run.review import ReviewPane
from tuner_tui.ui.screens.new_run.screen import NewRunScreen
from tuner_tui.ui.screens.new_run.steps import StepMark
from tuner_tui.ui.widgets.memory_panel import MemoryPanel
from tuner_tui.ui.widgets.option_field import OptionField
from tuner_tui.ui.widgets.pick_list import PickList

ROW = '{"prompt": "Who are you?", "completion": "Inkwell."}\n'


@pytest.fixture(autouse=True)
def home(fresh_folder: Path) -> Path:
    """A fresh home, and a current folder with a good and a broken data file."""
    here = fresh_folder
    (here / "below").mkdir()
    (here / "good.jsonl").write_text(ROW * 12)
    (here / "below" / "broken.jsonl").write_text(ROW + '{"prompt": 3}\n')
    return here


async def pick_preset(walk: Walk, name: str) -> None:
    """Pick a preset by its row."""
    rows = walk.screen.query_one("#start-pane PickList", PickList)
    rows.highlighted = [row.key for row in rows.rows].index(name)
    await walk.press("enter")
    await walk.settled()


async def test_from_a_preset_to_a_queued_run_in_eight_keys(
    tiny_model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enter all the way from the first preset: model, data, method, tuning, settings, Start (and `n` on Home)."""
    (home / "tiny").symlink_to(tiny_model)
    monkeypatch.setattr("tuner_tui.keeper.start.ensure_keeper", lambda: None)
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.settled()
        for step in ("model", "data", "method"):
            assert walk.step == step
            await walk.press("enter")
        await walk.press("enter")
        assert walk.step == "settings"
        await walk.press("enter")
        assert walk.step == "review"
        await walk.press("enter")
        await walk.until(lambda: walk.app.opened, "the run")
        assert not any(isinstance(screen, NewRunScreen) for screen in walk.app.screen_stack)
    (folder,) = list_runs()
    assert walk.app.opened == [folder]
    assert queue.is_queued(folder.name)
    assert 'source = "demo"' in folder.spec.read_text()


async def test_a_local_model_and_file_are_picked_from_the_lists(tiny_model: Path, home: Path) -> None:
    (home / "tiny").symlink_to(tiny_model)
    async with new_run() as walk:
        await pick_preset(walk, "")
        assert walk.state.draft.missing == ("model.source", "data.train")
        models = walk.screen.query_one("#model PickList", PickList)
        await walk.until(lambda: len(models.rows) == 2, "the list of models")
        await walk.press("down", "enter")
        files = walk.screen.query_one("#data PickList", PickList)
        await walk.until(lambda: len(files.rows) == 3, "the list of files")
        await walk.press("down", "down", "enter")
        await walk.settled()
        assert (walk.spec.model.source, walk.spec.data.train) == ("./tiny", "good.jsonl")
        assert walk.state.problems == ()
        assert "12 rows" in walk.state.step("data").detail


async def test_a_broken_file_is_shown_with_its_line_and_is_no_data_to_train_on() -> None:
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.go_to("data")
        files = walk.screen.query_one("#data PickList", PickList)
        await walk.until(lambda: len(files.rows) == 3, "the list of files")
        await walk.press("down")
        await walk.until(lambda: "broken.jsonl:2" in walk.text(), "the broken line")
        assert "Enter shows its problems and what fixes them." in walk.text()
        await walk.press("enter")
        await walk.until(lambda: isinstance(walk.app.screen, DataScreen), "its problems")
        await walk.until(lambda: "broken.jsonl:2" in walk.text(), "the broken line")
        await walk.press("escape")
        await walk.settled()
        assert walk.step == "data"
        assert (walk.spec.data.train, walk.state.step("data").status) == ("below/broken.jsonl", "needs")


async def test_a_bad_row_is_fixed_from_the_typed_name_with_enter(home: Path) -> None:
    """The name of a file with one bad row is typed: Enter leads to the key that fixes it, and back with it."""
    rows = [{"question": f"What is {n}?", "answer": f"It is {n}." if n != 4 else None} for n in range(12)]
    (home / "bad.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.go_to("data")
        await walk.type("bad.jsonl")
        await walk.until(lambda: "Enter shows its problems" in walk.text(), "the way out")
        await walk.press("enter")
        await walk.until(lambda: isinstance(walk.app.screen, DataScreen), "its problems")
        await walk.until(lambda: "f: drop_broken" in walk.text(), "a key that fixes it")
        assert not re.search(r"(?<!\.)\.\.(?!\.)", walk.text())  # no sentence ends twice
        await walk.press("f", "escape")
        await walk.settled()
        assert (walk.spec.data.train, walk.spec.data.fixes) == ("bad.jsonl", ("drop_broken",))
        await walk.until(lambda: walk.state.step("data").status == "done", "usable data")


@pytest.mark.parametrize("key", ["enter", "ctrl+n"])
@pytest.mark.parametrize("size", [(80, 24), (140, 45)], ids=str)
async def test_a_wrong_path_stands_with_its_error(home: Path, key: str, size: tuple[int, int]) -> None:
    """The preset's data stayed chosen, so that the run would have been trained on them."""
    async with new_run(size=size) as walk:
        await walk.press("down", "enter")
        await walk.go_to("data")
        await walk.settled()
        assert walk.spec.data.train == "demo"
        await walk.type("none.jsonl")
        await walk.until(lambda: "! No such" in walk.text(), "what is wrong")
        assert "Enter shows" not in walk.text()
        await walk.press(key)
        await walk.until(lambda: walk.state.step("data").status == "needs", "the step to be open")
        assert walk.step == ("data" if key == "enter" else "method")
        assert walk.spec.data.train == "none.jsonl"
        await walk.go_to("review")
        assert [problem.key for problem in walk.state.problems] == ["data.train"]
        assert "none.jsonl" in walk.text() and "Not ready" in walk.text()
        await walk.go_to("data")
        assert "! No such data file: none.jsonl" in walk.text()


@pytest.mark.parametrize("key", ["enter", "ctrl+n"])
async def test_a_wrong_path_of_a_model_stands_with_its_error(home: Path, key: str) -> None:
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.settled()
        assert (walk.step, walk.spec.model.source) == ("model", "demo")
        await walk.type("./nowhere")
        await walk.press(key)
        await walk.until(lambda: walk.state.step("model").status == "needs", "the step to be open")
        assert walk.spec.model.source == "./nowhere"
        assert walk.step == ("model" if key == "enter" else "data")
        await walk.go_to("model")
        assert "! " in walk.text() and "./nowhere" in walk.text()


async def test_words_that_narrow_a_list_are_no_choice(home: Path) -> None:
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.settled()
        await walk.type("smol")
        await walk.press("ctrl+n")
        files = walk.screen.query_one("#data PickList", PickList)
        await walk.until(lambda: len(files.rows) == 3, "the list of files")
        await walk.type("goo")
        await walk.press("ctrl+n")
        assert walk.step == "method"
        assert (walk.spec.model.source, walk.spec.data.train) == ("demo", "demo")


async def test_an_error_about_columns_is_whole(home: Path) -> None:
    row = {f"a_column_with_a_name_{number}": 1 for number in range(5)}
    (home / "odd.jsonl").write_text(f"{json.dumps(row)}\n" * 3)
    (home / "many.jsonl").write_text(json.dumps({f"{'long_' * 12}{number}": 1 for number in range(9)}) + "\n")
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.go_to("data")
        await walk.type("odd.jsonl")
        await walk.until(lambda: "! Unknown columns" in walk.text(), "what is wrong")
        assert "with data.mapping." in " ".join(walk.text().split()), walk.text()
        await walk.press(*["backspace"] * 9)
        await walk.type("many.jsonl")
        await walk.until(lambda: "… f2 shows all of it." in walk.text(), "where the rest stands")
        await walk.press("f2")
        await walk.until(lambda: isinstance(walk.app.screen, DataScreen), "the data screen")
        await walk.until(lambda: "data.mapping." in walk.text(), "all of it")


async def test_a_missing_data_file_needs_you_and_leads_back_from_review() -> None:
    async with new_run() as walk:
        await pick_preset(walk, "cpu-only")
        await walk.until(lambda: walk.state.step("data").status == "needs", "the missing file")
        assert any(problem.key == "data.train" for problem in walk.state.problems)
        await walk.go_to("review")
        assert "to do" in walk.text()
        assert "train.jsonl" in walk.text()
        problems = walk.screen.query_one("#problems", PickList)
        keys = [problem.key for problem in walk.state.problems]
        problems.highlighted = keys.index("data.train")
        await walk.press("enter")
        assert walk.step == "data"


async def test_edits_of_each_kind_give_the_spec(home: Path) -> None:
    async with new_run() as walk:
        await pick_preset(walk, "first-try")
        await walk.go_to("settings")
        await walk.find("rank")
        await walk.type("32")
        await walk.find("learning rate")
        await walk.type("5e-5")
        await walk.find("targets")
        await walk.type("q_proj, v_proj")
        await walk.find("rslora")
        await walk.press("space")
        await walk.find("schedule")
        await walk.press("enter", "up", "enter")
        await walk.find("prompts")
        await walk.press("down", "down", "end", "enter")
        await walk.type("Hm")
        await walk.find("epochs")
        await walk.press("delete")
        tuning, training = walk.spec.tuning, walk.spec.training
        assert isinstance(tuning, LoraTuning)
        assert (tuning.rank, tuning.targets, tuning.rslora) == (32, ("q_proj", "v_proj"), True)
        assert (training.learning_rate, training.schedule, training.epochs) == (5e-5, "linear", 3.0)
        assert walk.spec.samples.prompts[-1] == "Hm"
        assert walk.state.problems == ()
        assert "--set tuning.rank=32" in walk.screen.headless_command


async def test_a_problem_stands_beside_its_field_until_it_is_mended() -> None:
    async with new_run() as walk:
        await pick_preset(walk, "first-try")
        await walk.go_to("settings")
        await walk.find("rank")
        await walk.type("0x")
        field = next(each for each in walk.screen.query(OptionField) if each.option.key == "tuning.rank")
        assert field.has_class("-problem")
        assert "must be a whole number" in walk.text()
        assert walk.state.step("settings").status == "needs"
        assert walk.state.step("review").words == "1 problem"
        await walk.press("ctrl+n")
        assert "must be a whole number" in walk.text()
        await walk.press("enter")
        await walk.pilot.pause()
        assert walk.screen.focused is field.control
        assert isinstance(field.control, Input)
        assert field.control.value == "0x"
        await walk.type("8")
        assert not field.has_class("-problem")
        assert walk.state.problems == ()


async def test_a_rule_is_a_problem_of_its_field() -> None:
    async with new_run() as walk:
        await pick_preset(walk, "first-try")
        await walk.go_to("settings")
        await walk.find("early stopping")
        await walk.type("2")
        (problem,) = walk.state.problems
        assert problem.key == "evaluation.early_stopping"
        assert "early stopping" in walk.text().lower()


async def test_only_what_applies_is_asked_for() -> None:
    async with new_run() as walk:
        await pick_preset(walk, "first-try")
        await walk.go_to("settings")
        assert "tuning.rank" in [field.option.key for field in walk.screen.query(OptionField)]
        await walk.go_to("method")
        await walk.press("enter", "down", "enter")
        assert isinstance(walk.spec.tuning, FullTuning)
        assert walk.step == "settings"
        keys = [field.option.key for field in walk.screen.query(OptionField)]
        assert "training.epochs" in keys
        assert not [key for key in keys if key.startswith("tuning.")]


async def test_weights_move_with_model_and_precision(tiny_model: Path, home: Path) -> None:
    (home / "tiny").symlink_to(tiny_model)
    async with new_run() as walk:
        await pick_preset(walk, "first-try")
        panel = walk.screen.query_one(MemoryPanel)
        await walk.until(lambda: panel.view.table is not None, "the panel")
        first = panel.view.table
        assert first is not None and (row := first.row("fp32")) is not None
        assert row.estimate.weights == 4 * 134_515_008
        assert "activations" in walk.text()
        await walk.go_to("settings")
        await walk.find("precision")
        await walk.press("enter", "end", "enter")
        assert walk.spec.model.precision == "nf4"
        await walk.until(lambda: bool(panel.view.table and panel.view.table.chosen == "nf4"), "the panel")
        assert "▸ 4-bit" in walk.text()
        before = panel.view.table
        await walk.find("rank")
        await walk.type("9")
        await walk.until(lambda: panel.view.table != before, "the panel")
        now = panel.view.table
        assert before and now and before.chosen_row and now.chosen_row
        assert now.chosen_row.estimate.states != before.chosen_row.estimate.states
        await walk.go_to("model")
        await walk.until(lambda: len(walk.screen.query_one("#model PickList", PickList).rows) == 2, "models")
        await walk.press("down", "enter")
        await walk.settled()
        await walk.until(lambda: bool(panel.view.rows and panel.view.rows != first.rows), "the other model")
        assert panel.view.rows[0].estimate.weights != 4 * 134_515_008


async def test_m_shows_every_term_and_the_formula() -> None:
    async with new_run() as walk:
        await pick_preset(walk, "first-try")
        await walk.go_to("method")
        await walk.until(lambda: bool(walk.screen.query_one(MemoryPanel).view.rows), "the panel")
        await walk.press("m")
        assert isinstance(walk.app.screen, MemoryTermsModal)
        text = walk.text()
        assert "sum: " in text and "GB allocated" in text and "weights" in text and "█" in text
        shown = " ".join(str(each.content) for each in walk.app.screen.query(Static))
        assert "tight: only the lower end" in shown and "micro-batch" in shown
        await walk.press("escape")
        assert not isinstance(walk.app.screen, MemoryTermsModal)


async def test_start_refused_is_told_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(spec: RunSpec, after: object = None) -> None:
        raise TunerError("The disk is too full", "[red]0.1 GB[/red] free.", "Free space there.")

    monkeypatch.setattr("tuner_tui.sharing.start_run.launch", refuse)
    async with new_run() as walk:
        await pick_preset(walk, "first-try")
        await walk.go_to("review")
        await walk.press("s")
        await walk.until(lambda: "The disk is too full" in walk.text(), "the refusal")
        assert "[red]0.1 GB[/red] free." in walk.text()
        assert walk.app.opened == []
        await walk.press("s")
        await walk.until(lambda: "The run did not start" in walk.text(), "the second refusal")


async def test_hub_search_offline_is_a_plain_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(text: str) -> list[ModelListing]:
        raise TunerError("The Hub cannot be searched now", "Cannot reach the Hub.", "Check the network.")

    monkeypatch.setattr(model, "search_hub", dead)
    async with new_run() as walk:
        await pick_preset(walk, "first-try")
        await walk.type("qwen")
        await walk.until(lambda: "The Hub cannot be searched now" in walk.text(), "the message")


async def test_hub_search_asks_once_the_typing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(text: str) -> list[ModelListing]:
        asked.append(text)
        return [
            ModelListing("Qwen/Qwen3-4B", "Qwen/Qwen3-4B", "hub", parameters=4_022_468_096, gated=False),
            ModelListing("evil/[red]m\x1b[2J", "evil/[red]m\x1b[2J", "hub", gated=True),
        ]

    monkeypatch.setattr(model, "search_hub", answer)
    monkeypatch.setattr(model, "DEBOUNCE_SECONDS", 3.0)  # longer than any machine takes between two letters
    monkeypatch.setattr(
        "tuner_tui.ui.screens.new_run.looks.look_at_model", lambda source, revision: new_run_look(source)
    )
    async with new_run() as walk:
        await pick_preset(walk, "first-try")
        await walk.type("qwen3")
        await walk.until(lambda: "Qwen/Qwen3-4B" in walk.text(), "the answer")
        assert asked == ["qwen3"]
        assert "gated" in walk.text()
        assert "evil/[red]m\\x1b[2J" in walk.text()
        rows = walk.screen.query_one("#model PickList", PickList)
        rows.highlighted = [row.key for row in rows.rows].index("Qwen/Qwen3-4B")
        await walk.press("enter")
        assert walk.spec.model.source == "Qwen/Qwen3-4B"
        await walk.settled()
        panel = walk.screen.query_one(MemoryPanel)
        await walk.until(lambda: panel.view.parameters is not None, "the panel")
        assert panel.view.rows == ()
        assert panel.view.parameters == 4_022_468_096
        assert "the weights alone take 8.0 GB in 16 bit" in walk.text()


def new_run_look(source: str) -> object:
    """A model that is on the Hub only."""
    from tuner_tui.models.listing import ModelLook
    from tuner_tui.models.source import ModelSource

    return ModelLook(ModelSource("hub", source, repo_id=source))


async def test_leaving_asks_only_when_something_would_be_lost() -> None:
    async with new_run() as walk:
        await pick_preset(walk, "first-try")
        await walk.press("escape")
        assert not any(isinstance(screen, NewRunScreen) for screen in walk.app.screen_stack)
    async with new_run() as walk:
        await pick_preset(walk, "first-try")
        await walk.go_to("settings")
        await walk.find("rank")
        await walk.type("9")
        await walk.press("escape")
        assert isinstance(walk.app.screen, ConfirmModal)
        await walk.press("n")
        assert isinstance(walk.app.screen, NewRunScreen)
        assert walk.spec.tuning == LoraTuning(rank=9)
        await walk.press("escape", "y")
        assert not any(isinstance(screen, NewRunScreen) for screen in walk.app.screen_stack)


async def test_same_again_keeps_values_and_true_comments() -> None:
    text = '# mine\n[model]\nsource = "demo" # small\n[data]\ntrain = "demo"\n[tuning]\nkind = "lora"\nrank = 4 # few\n'
    spec = RunSpec.model_validate(
        {"model": {"source": "demo"}, "data": {"train": "demo"}, "tuning": {"kind": "lora", "rank": 4}}
    )
    async with new_run(spec, text) as walk:
        await walk.settled()
        assert walk.step == "settings"
        await walk.find("rank")
        await walk.type("6")
        await walk.go_to("review")
        assert walk.state.draft.toml() == text.replace("rank = 4 # few", "rank = 6")


async def test_steps_by_number_by_click_and_not_while_typing() -> None:
    async with new_run() as walk:
        await pick_preset(walk, "first-try")
        await walk.go_to("method")
        await walk.press("5")
        assert walk.step == "review"
        await walk.pilot.click(next(mark for mark in walk.screen.query(StepMark) if mark.step == "model"))
        await walk.pilot.pause()
        assert walk.step == "model"
        await walk.press("3")
        assert walk.step == "model"
        assert walk.screen.query_one("#model Input", Input).value == "3"


SIZES = [
    (20, 5),
    (80, 24),
    *(pytest.param(size, marks=pytest.mark.slow) for size in ((40, 15), (120, 40), (200, 50))),
]


@pytest.mark.parametrize("size", SIZES)
async def test_every_step_stands_at_every_size(size: tuple[int, int]) -> None:
    async with new_run(size=size) as walk:
        await pick_preset(walk, "first-try")
        for step in ("model", "data", "method", "settings", "review"):
            await walk.go_to(step)
            assert walk.screen.focused is not None
        await walk.pilot.resize_terminal(20, 5)
        await walk.pilot.resize_terminal(*size)
        await walk.pilot.pause()
        assert walk.screen.query_one(ReviewPane).display


async def test_the_footer_is_true_on_each_step() -> None:
    async with new_run() as walk:
        assert "Next step" not in walk.text()
        await pick_preset(walk, "first-try")
        assert "^n Next step" in walk.text()
        assert "^o Back" not in walk.text()
        await walk.go_to("review")
        assert "s Start" in walk.text()
        assert "Discard text" not in walk.text()
        assert "^n" not in walk.text()


async def test_markup_in_data_is_literal(home: Path) -> None:
    (home / "good.jsonl").write_text('{"text": "[bold]x[/bold] \\u001b[31m \\u202e [link=http://a]b"}\n')
    async with new_run() as walk:
        await walk.press("down", "enter")
        await walk.go_to("data")
        await walk.until(
            lambda: len(walk.screen.query_one("#data PickList", PickList).rows) == 3, "the list of files"
        )
        walk.screen.query_one("#data OptionList", OptionList).highlighted = 2
        await walk.until(
            lambda: "[bold]x[/bold] \\x1b[31m \\u202e [link=http://a]b" in walk.text(), "the row"
        )


async def test_pairs_are_picked_first_and_their_method_afterwards(home: Path) -> None:
    pair = '{"prompt": "Who are you?", "chosen": "Inkwell, friend.", "rejected": "No."}\n'
    (home / "pairs.jsonl").write_text(pair * 6)
    async with new_run(preset_spec(find_preset("first-try"))) as walk:
        await walk.settled()
        await walk.go_to("data")
        await walk.press("down", "down", "down")
        await walk.until(lambda: "Use method dpo" in walk.text(), "what is wrong with pairs for sft")
        await walk.press("enter")
        await walk.settled()
        (problem,) = walk.state.problems
        assert problem.key == "method.kind"
        assert walk.state.step("method").status == "needs"
        await walk.go_to("method")
        await walk.press("down", "enter")
        await walk.settled()
        assert walk.spec.method.kind == "dpo"
        assert walk.state.problems == ()
        await walk.go_to("data")
        await walk.until(lambda: "chosen: Inkwell, friend." in walk.text(), "the pairs")
