"""The Data screen: problems fixed by a key, rows searched, tokens as the trainer is fed them, columns said by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from textual.widgets import TextArea

from tests.tiny_model import make_tiny_model
from tests.ui.looking import footer_keys, wait_for
from tests.ui.new_run_host import Walk, new_run
from tests.unit.feedback_rows import answer
from tuner_tui.config.methods.dpo import DpoMethod
from tuner_tui.config.spec import DataSpec, ModelSpec, RunSpec, TrainingSpec
from tuner_tui.ui.screens.data.screen import DataScreen
from tuner_tui.ui.screens.data.tokens import TokensPane


@pytest.fixture
def home(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return fresh_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("data-screen") / "tiny")


def write_rows(path: Path, count: int = 240) -> None:
    """Rows of which one has no answer, one hides characters, and two are equal."""
    rows = [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(count)]
    rows[3]["answer"] = " "
    rows[5]["answer"] = "[red]no[/red] \u001b[31m\u202ehidden"
    rows[7] = rows[6]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def spec_of(model: Path, data: str = "rows.jsonl", max_length: int = 64) -> RunSpec:
    return RunSpec(
        model=ModelSpec(source=str(model)),
        data=DataSpec(train=data),
        training=TrainingSpec(max_length=max_length),
    )


async def inspect(walk: Walk) -> DataScreen:
    await walk.go_to("data")
    await walk.settled()
    await walk.until(lambda: "f2" in footer_keys(walk.app), "the key")
    await walk.press("f2")
    await walk.until(lambda: isinstance(walk.app.screen, DataScreen), "the data screen")
    screen = walk.app.screen
    assert isinstance(screen, DataScreen)
    return screen


async def test_findings_are_mended_by_a_key_and_kept_in_the_spec(home: Path, model: Path) -> None:
    write_rows(home / "rows.jsonl")
    async with new_run(spec_of(model)) as walk:
        await inspect(walk)
        text = await wait_for(walk.pilot, "empty answers", "exact duplicates", "hidden characters")
        assert "240 rows, instruction" in text and "Rows 4." in text
        await walk.press("f")
        await wait_for(walk.pilot, "✓ drop_empty", "fixes while reading: drop_empty")
        await walk.press("enter")
        await wait_for(walk.pilot, "[3 Rows]", "What is 3?")
        await walk.press("escape")
        await walk.settled()
        assert walk.spec.data.fixes == ("drop_empty",)
        assert walk.state.data is not None and walk.state.data.rows == 239
    assert "drop_empty" not in (home / "rows.jsonl").read_text()


async def test_fields_that_are_not_used_are_listed(home: Path, model: Path) -> None:
    rows = [{"question": "q", "answer": f"a{n}", "[b]source": "x"} for n in range(3)]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    async with new_run(spec_of(model)) as walk:
        await inspect(walk)
        await wait_for(walk.pilot, "Fields not used: [b]source.", "No problems found")


async def test_what_the_template_leaves_out_is_listed_and_shown_for_a_row(home: Path, model: Path) -> None:
    cases = Path(__file__).parents[1] / "data" / "cases" / "rows"
    shutil.copy(cases / "tools_sft.jsonl", home)
    async with new_run(spec_of(model, "tools_sft.jsonl", max_length=200)) as walk:
        screen = await inspect(walk)
        text = await wait_for(walk.pilot, "✗ error   not rendered in full")
        assert "No problems found" not in text and "the assistant's tool calls and the tools" in text
        await walk.press("4")
        await walk.until(lambda: "! The chat template leaves out" in walk.text(), "the row", 60)
        assert screen.headless_command == (
            f"tuner-tui data check tools_sft.jsonl --model {model} --method sft --length 200"
        )


async def test_rows_that_cannot_be_read_say_so_in_tokens_without_a_worker(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It seemed to load a row, for as long as a worker takes to start."""

    def unwanted(*_: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr("tuner_tui.keeper.microscope.Microscope.look", unwanted)
    (home / "unknown.jsonl").write_text('{"foo": 1}\n' * 3)
    async with new_run(spec_of(model, "unknown.jsonl")) as walk:
        await inspect(walk)
        await wait_for(walk.pilot, "✗ Unknown columns")
        await walk.press("4")
        text = await wait_for(walk.pilot, "[4 Tokens]", "✗ Unknown columns: unknown.jsonl:1", "data.mapping")
        assert "Loading" not in text


async def test_data_that_are_gone_say_so_in_every_part(home: Path, model: Path) -> None:
    write_rows(home / "rows.jsonl", 10)
    async with new_run(spec_of(model)) as walk:
        await walk.go_to("data")
        await walk.settled()
        (home / "rows.jsonl").unlink()
        walk.app.push_screen(DataScreen(walk.spec, lambda _: None))
        await wait_for(walk.pilot, "No such data file", "rows.jsonl")
        await walk.press("escape")
        for part, words in (("1", "✗ "), ("2", "cannot be read"), ("3", "✗ "), ("4", "✗ ")):
            await walk.press(part)
            text = await wait_for(walk.pilot, words)
            assert "Loading" not in text and "Reading" not in text and "being read" not in text


async def test_rows_that_the_method_refuses_are_listed(home: Path, model: Path) -> None:
    asked, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    good = {"prompt": [asked], "chosen": [answer], "rejected": [{**answer, "content": "b"}]}
    bad = {**good, "chosen": [answer, {**asked, "content": "[b]more"}]}
    (home / "pairs.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(bad) + "\n")
    spec = spec_of(model, "pairs.jsonl").model_copy(update={"method": DpoMethod()})
    async with new_run(spec) as walk:
        await inspect(walk)
        await wait_for(walk.pilot, "✗ error   refused (a side is not an answer)", "Rows 2.")


async def test_rows_are_searched_and_shown_harmlessly(home: Path, model: Path) -> None:
    write_rows(home / "rows.jsonl")
    async with new_run(spec_of(model)) as walk:
        await inspect(walk)
        await walk.press("3")
        await wait_for(walk.pilot, "What is 0?")
        await walk.press("right_square_bracket")
        await wait_for(walk.pilot, "What is 100?")
        await walk.press("left_square_bracket", "slash")
        await walk.type("HIDDEN")
        await walk.press("enter")
        text = await wait_for(walk.pilot, "! contains control characters, hidden characters", "[red]no[/red]")
        assert "\x1b[31m" not in text and "\u202e" not in text and "What is 0?" not in text


async def test_tokens_are_those_of_the_worker(home: Path, model: Path) -> None:
    write_rows(home / "rows.jsonl")
    async with new_run(spec_of(model, max_length=24)) as walk:
        screen = await inspect(walk)
        await walk.press("4")
        await walk.until(lambda: "tokens with loss" in walk.text(), "the tokens", 60)
        pane = screen.query_one(TokensPane)
        reply = pane._reply
        assert reply is not None and reply.sequences[0].tokens[-1].cut
        assert "truncated" in walk.text()
        await walk.press("right", "i")
        await walk.until(lambda: "Row 2" in walk.text() and "template" in walk.text(), "row 2", 30)
        await walk.press("2")
        await wait_for(walk.pilot, "limit 24", "suggested limit: 64")
        await walk.press("l")
        await wait_for(walk.pilot, "over 64 tokens: 0")
        await walk.press("escape")
        assert walk.spec.training.max_length == 64


def write_odd_rows(path: Path) -> None:
    """Rows whose columns have names that nobody knows."""
    rows = [{"frage": f"Wer ist {n}?", "zusatz": "bitte", "antwort": f"Nummer {n}."} for n in range(5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


async def test_columns_are_chosen_from_lists_beside_a_preview(home: Path, model: Path) -> None:
    write_odd_rows(home / "odd.jsonl")
    async with new_run(spec_of(model, "odd.jsonl")) as walk:
        await walk.go_to("data")
        await walk.settled()
        await walk.until(lambda: "f3 maps its columns" in walk.text(), "the key's name")
        assert footer_keys(walk.app)["f3"] == "Columns"
        await walk.press("f3")
        await wait_for(
            walk.pilot, "[5 Columns]", "columns: frage, zusatz, antwort", "user         choose a column"
        )
        await walk.press("down", "enter")
        await wait_for(walk.pilot, "Column for user", "Wer ist 0?", "Nummer 0.")
        await walk.press("enter")
        await wait_for(walk.pilot, "user         {frage}", "instruction needs a column for")
        await walk.press("enter")
        await wait_for(walk.pilot, "Column for assistant", "used for user")
        await walk.type("antw")
        await walk.press("enter")
        await wait_for(walk.pilot, "assistant    {antwort}", "Wer ist 0?")
        await walk.until(lambda: "Row 1 as it is trained" in walk.text(), "the tokens", 60)
        assert "tokens with loss" in walk.text()
        await walk.press("right")
        await walk.until(
            lambda: "Row 2 as it is trained" in walk.text() and "Wer ist 1?" in walk.text(), "row 2", 30
        )
        await walk.press("escape")
        await walk.settled()
        assert walk.spec.data.mapping == ("user = {frage}", "assistant = {antwort}")
        assert not walk.state.problems


async def test_a_dataset_type_is_chosen_and_an_incomplete_mapping_is_told(home: Path, model: Path) -> None:
    write_odd_rows(home / "odd.jsonl")
    async with new_run(spec_of(model, "odd.jsonl")) as walk:
        screen = await inspect(walk)
        await walk.press("5")
        await wait_for(walk.pilot, "dataset type instruction")
        await walk.press("enter")
        await wait_for(walk.pilot, "a better and a worse answer")
        await walk.type("prompt-comp")
        await walk.press("enter")
        await wait_for(walk.pilot, "dataset type prompt-completion", "completion   choose a column")
        await walk.press("enter", "enter")
        await wait_for(walk.pilot, "prompt       {frage}")
        await walk.press("1")
        why = "The mapping was not applied: prompt-completion needs a column for completion."
        await walk.until(lambda: why in [told.message for told in walk.app._notifications], "the reason")
        assert screen.spec.data.mapping == ()


@pytest.mark.parametrize("part", ["5", "1"])
async def test_leaving_with_lines_that_cannot_be_used_asks(home: Path, model: Path, part: str) -> None:
    """They were dropped, and a toast over the next screen was all that said so."""
    write_odd_rows(home / "odd.jsonl")
    async with new_run(spec_of(model, "odd.jsonl")) as walk:
        screen = await inspect(walk)
        await walk.press("5")
        await wait_for(walk.pilot, "no dataset type detected")
        await walk.press("e")
        screen.query_one(TextArea).text = "user = {frage"
        await wait_for(walk.pilot, "✗ ")
        await walk.press("escape", part, "escape")
        await wait_for(walk.pilot, "This mapping cannot be used", "'user = {frage'", "y  Leave", "n  Stay")
        await walk.press("n")
        await wait_for(walk.pilot, "[5 Columns]", "user = {frage")
        assert walk.app.screen is screen
        await walk.press(
            *["escape"] * (1 if part == "5" else 2)
        )  # out of the lines first, where the cursor is then
        await wait_for(walk.pilot, "This mapping cannot be used")
        await walk.press("y")
        await walk.until(lambda: walk.app.screen_stack[-1] is walk.screen, "New run")
        assert walk.spec.data.mapping == ()


async def test_templates_are_written_as_lines(home: Path, model: Path) -> None:
    write_odd_rows(home / "odd.jsonl")
    async with new_run(spec_of(model, "odd.jsonl")) as walk:
        screen = await inspect(walk)
        await wait_for(walk.pilot, "Unknown columns", "  data.mapping.")
        await walk.press("2")
        await wait_for(walk.pilot, "The rows cannot be read: 1 shows why.")
        await walk.press("5")
        await wait_for(walk.pilot, "columns: frage, zusatz, antwort", "no dataset type detected")
        await walk.press("e")
        screen.query_one(TextArea).text = "user = {frage} {zusatz}\nassistant = {antwrt}"
        await wait_for(walk.pilot, "'antwrt'; there are")
        screen.query_one(TextArea).text = "system = {frage}"
        words = " ".join((await wait_for(walk.pilot, "The mapping is incomplete")).replace("│", " ").split())
        assert "data.mapping has system." in words and ".." not in words
        screen.query_one(TextArea).text = "user = {frage} {zusatz}\nassistant = {antwort}"
        await wait_for(walk.pilot, "Wer ist 0? bitte")
        await walk.press("f1")
        help_text = " ".join((await wait_for(walk.pilot, "PART = TEMPLATE")).replace("│", " ").split())
        assert "prompt = {question}\\n{context}" in help_text and "verdict = {column} < 4" in help_text
        await walk.press("escape", "ctrl+s", "escape", "1")
        await wait_for(walk.pilot, "5 rows, dataset type instruction: mapped manually")
        await walk.press("escape")
        await walk.settled()
        assert walk.spec.data.mapping == ("user = {frage} {zusatz}", "assistant = {antwort}")
        assert not walk.state.problems


async def test_a_detected_mapping_that_lines_cannot_say_is_shown_and_kept(home: Path, model: Path) -> None:
    cases = Path(__file__).parents[1] / "data" / "cases"
    shutil.copy(next(cases.rglob("arena55k.jsonl")), home)
    spec = spec_of(model, "arena55k.jsonl").model_copy(update={"method": DpoMethod()})
    async with new_run(spec) as walk:
        screen = await inspect(walk)
        await walk.press("5")
        await wait_for(walk.pilot, "dataset type as detected", "the other")
        await walk.press("escape")
        assert screen.changes == {} and walk.spec.data.mapping == ()


async def test_lengths_of_like_rows_have_bars_and_an_outlier_decides_nothing(home: Path, model: Path) -> None:
    rows = [{"question": f"Q{n}?", "answer": "word " * (20 + n % 16)} for n in range(60)]
    rows[7]["answer"] = "word " * 3000
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    async with new_run(spec_of(model, max_length=1024), size=(80, 45)) as walk:
        screen = await inspect(walk)
        await walk.press("2")
        text = await wait_for(walk.pilot, "suggested limit:", "█")
        bars = [line.split() for line in text.splitlines() if "█" in line]
        assert len(bars) >= 16 and sum(int(bar[-1]) for bar in bars) == 60
        assert "it truncates 1 of 60 sequences (1.7%)" in text
        limit = int(text.split("suggested limit: ")[1].split(";")[0])
        assert limit < 512
        await walk.press("l")
        await wait_for(walk.pilot, f"over {limit} tokens: 1")
        assert screen.changes["training.max_length"] == str(limit)
        await walk.press("u")
        await wait_for(walk.pilot, "over 1,024 tokens: 1")
        await walk.press("escape")
        assert walk.spec.training.max_length == 1024


async def test_a_collection_of_feedback_is_a_data_set(home: Path, model: Path) -> None:
    from tuner_tui.feedback.collections import open_or_create
    from tuner_tui.feedback.records import Annotation
    from tuner_tui.generation.messages import Turn

    with open_or_create("evening") as store:
        for number in range(4):
            item = store.add_item(
                (Turn("user", f"Why {number}?"),), "typed", (answer("short"), answer("long one"))
            )
            ids = tuple(each.id for each in store.item(item).answers)
            store.annotate(item, Annotation(verdict="choice", shown=ids, ranks=(1, 2)), "me")
    async with new_run(spec_of(model, "feedback:evening")) as walk:
        await walk.go_to("data")
        await walk.settled()
        assert "feedback:evening" in walk.text() and "your feedback" in walk.text()
        assert walk.state.data is not None and walk.state.data.is_for_other_method
        await walk.go_to("method")
        walk.screen._change("method.kind", "dpo")
        await walk.until(lambda: walk.state.data is not None and walk.state.data.rows == 4, "the pairs")
        assert not walk.state.problems
