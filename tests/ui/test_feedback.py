"""The feedback screen as a person uses it: keys in, text out, and every annotation checked on disk."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from textual.widgets import Input, TextArea

from tests.ui.feedback_host import HARD_TEXTS, LONG, collection
from tests.ui.looking import screen_lines, screen_text, until, wait_for
from tuner_tui.feedback import store_errors
from tuner_tui.feedback.collections import collection_path, open_collection
from tuner_tui.feedback.integrity import copy_path
from tuner_tui.feedback.records import Annotation, CollectionSettings, Entry
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.screens.feedback import FeedbackScreen
from tuner_tui.ui.screens.feedback_answers import AnswerPane

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

pytestmark = pytest.mark.usefixtures("home")


def app(name: str) -> TunerApp:
    return TunerApp(FeedbackScreen(name))


def on_disk(name: str) -> list[Entry]:
    with open_collection(name) as store:
        return store.entries()


def last(name: str) -> Annotation:
    annotation = on_disk(name)[-1].annotation
    assert annotation is not None
    return annotation


def shown_texts(pilot: Pilot[Any]) -> list[str]:
    return [pane.answer.text for pane in pilot.app.screen.query(AnswerPane)]


async def press(pilot: Pilot[Any], key: str, words: str) -> None:
    await pilot.press(key)
    await wait_for(pilot, words)


async def test_keys_save_annotations() -> None:
    collection("evening", [("an alpha", "a beta")] * 9)
    async with app("evening").run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "saved 0, 9 ready", "alpha", "beta")
        best = shown_texts(pilot)[1]
        await press(pilot, "2", "saved 1, 8 ready")
        annotation = last("evening")
        with open_collection("evening") as store:
            chosen = next(each for each in store.item(1).answers if each.id == annotation.best())
        assert (chosen.text, annotation.strength) == (best, "clear")
        await press(pilot, "5", "saved 2")
        assert (last("evening").strength, last("evening").ranks) == ("slight", (1, 2))
        await press(pilot, "t", "saved 3")
        assert last("evening").verdict == "tie"
        await press(pilot, "b", "saved 4")
        assert last("evening").verdict == "both_bad"
        await press(pilot, "right", "skipped; saved 4")
        await press(pilot, "f", "flagged; saved 4")
        await press(pilot, "u", "undone")
        await press(pilot, "1", "saved 5")
        await pilot.press("3", "4", "9", "7")  # no such answers
        await pilot.pause()
        assert len(on_disk("evening")) == 8
        await press(pilot, "m", "Your annotator statistics")


async def test_editing_writing_and_notes() -> None:
    collection("evening", [("first \x1b[31m", "second")] * 3)
    async with app("evening").run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "saved 0")
        await press(pilot, "e", "Which answer?")
        await press(pilot, "1", "Edit answer 1")
        area = pilot.app.screen.query_one(TextArea)
        assert "\x1b" not in area.text
        area.text = "An edited answer."
        await press(pilot, "ctrl+s", "saved 1")
        with open_collection("evening") as store:
            assert store.item(1).answers[-1].text == "An edited answer."
            assert last("evening").best() == store.item(1).answers[-1].id
        await press(pilot, "w", "Your own answer")
        pilot.app.screen.query_one(TextArea).text = "Mine."
        await press(pilot, "ctrl+s", "saved 2")
        assert last("evening").verdict == "demonstration"
        await press(pilot, "n", "A note about")
        pilot.app.screen.query_one(TextArea).text = "strange"
        await press(pilot, "ctrl+s", "note saved")
        assert on_disk("evening")[-1].note == "strange"
        await press(pilot, "e", "Which answer?")
        await pilot.press("escape")
        await wait_for(pilot, "saved 2")
        assert len(on_disk("evening")) == 3


async def test_ranking_thumbs_and_scores() -> None:
    collection("ranks", [("one", "two", "three", "four")], CollectionSettings(mode="ranking"))
    async with app("ranks").run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "saved 0", "Best first")
        await press(pilot, "3", "3: rank 1")
        await pilot.press("backspace")
        await pilot.pause()
        await pilot.press("2", "1")
        await press(pilot, "4", "saved 1")
        assert last("ranks").ranks == (2, 1, 4, 3)
    collection("thumbs", [("one", "two")], CollectionSettings(mode="thumbs"))
    async with app("thumbs").run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "saved 0, 2 ready")
        await press(pilot, "1", "saved 1, 1 ready")
        await press(pilot, "2", "Everything is annotated")
        assert [entry.annotation.scores for entry in on_disk("thumbs") if entry.annotation] == [(1,), (0,)]
    collection("scores", [("one",)], CollectionSettings(mode="scores"))
    async with app("scores").run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "saved 0, 1 ready")
        await press(pilot, "5", "Everything is annotated")
        assert last("scores").scores == (5,)


@pytest.mark.parametrize("kind", HARD_TEXTS)
async def test_answers_of_every_kind_fit_a_small_terminal(kind: str) -> None:
    collection(kind, [HARD_TEXTS[kind]] * 2)
    async with app(kind).run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "saved 0, 2 ready")
        await pilot.press("d")
        await pilot.pause()
        from rich.cells import cell_len

        lines = screen_lines(pilot.app)
        assert len(lines) == 24
        assert {cell_len(line) for line in lines} == {80}
        assert not set("".join(lines)) & {chr(code) for code in (*range(0x20), 0x7F, 0x9B)}
        for words in {
            "code": ["[bold]not", "\\x1b[31m"],
            "nothing": ["whitespace", "\\x1b[2J"],
        }.get(kind, []):
            assert words in screen_text(pilot.app)
        await press(pilot, "1", "saved 1")


async def test_long_answers_scroll_together_and_differences_show() -> None:
    collection("long", [(LONG, LONG.replace("little", "lot"))])
    async with app("long").run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "Sentence number 0")
        await pilot.press("pagedown", "down")
        panes = list(pilot.app.screen.query(AnswerPane))
        await until(pilot, lambda: all(pane.scroll_offset.y == 11 for pane in panes))
        await pilot.press("d")
        await pilot.pause()
        strips = pilot.app.screen._compositor.render_strips()
        bold = {segment.text for strip in strips for segment in strip if segment.style and segment.style.bold}
        assert {"little", "lot"} <= {text.strip() for text in bold}


async def test_a_prompt_of_100000_characters() -> None:
    collection("huge", [("x" * 100_000, "short")] * 2, prompt="word " * 20_000)
    async with app("huge").run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "saved 0, 2 ready", "short")
        await press(pilot, "1", "saved 1")


async def test_a_locked_store_is_told_and_the_item_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_errors, "PATIENCE_SECONDS", 0.2)
    collection("evening", [("one", "two")] * 2)
    async with app("evening").run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "saved 0, 2 ready")
        other = sqlite3.connect(collection_path("evening"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await press(pilot, "1", "The collection is locked")
        other.execute("ROLLBACK")
        await pilot.press("escape")
        await wait_for(pilot, "saved 0, 2 ready")
        await press(pilot, "1", "saved 1, 1 ready")


async def test_a_damaged_store_offers_its_last_good_copy() -> None:
    collection("evening", [("one", "two")] * 3)
    async with app("evening").run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "saved 0")
        await press(pilot, "1", "saved 1")
    path = collection_path("evening")
    assert copy_path(path).exists()  # made when the screen was left
    path.write_bytes(b"rubbish" * 1000)
    async with app("evening").run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "The collection is damaged", "last good copy")
        await press(pilot, "y", "saved 1, 2 ready")


async def test_a_store_of_a_newer_version_is_told() -> None:
    collection("evening", [("one", "two")])
    newer = sqlite3.connect(collection_path("evening"))
    newer.execute("PRAGMA user_version=99")
    newer.commit()
    newer.close()
    async with app("evening").run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "newer tuner-tui", "Upgrade")


async def test_two_screens_on_one_collection() -> None:
    collection("evening", [("one", "two")] * 6)
    async with (
        app("evening").run_test(size=(80, 24)) as pilot,
        app("evening").run_test(size=(80, 24)) as other,
    ):
        await wait_for(pilot, "saved 0, 6 ready")
        await wait_for(other, "saved 0, 6 ready")
        await press(pilot, "1", "saved 1")
        await press(other, "2", "saved 2")
        await press(pilot, "1", "saved 3")
        await press(other, "1", "saved 4")
    with open_collection("evening") as store:
        assert store.annotation_count() == 4


async def test_an_empty_collection_says_what_to_do(home: Path) -> None:
    collection("evening", [])
    async with app("evening").run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "Nothing to annotate yet", "tuner-tui feedback import evening FILE")
        await pilot.press("1", "t", "e", "u", "m")
        await wait_for(pilot, "Your annotator statistics")


async def test_a_collection_is_made_and_opened_from_the_palette(home: Path) -> None:
    (home / "rows.jsonl").write_text('{"prompt": "Why?", "answers": ["one", "two"]}\n')
    starting = TunerApp()
    async with starting.run_test(size=(80, 24)) as pilot:
        starting.action_feedback()
        await wait_for(pilot, "No collections yet")
        await press(pilot, "n", "New collection")
        await pilot.press(*"evening", "enter")
        for _ in "demo":
            await pilot.press("backspace")
        await pilot.press("enter")
        pilot.app.screen.query_one("#file", Input).value = str(home / "nothing.jsonl")
        await pilot.press("enter")
        await press(pilot, "enter", "No such")
        pilot.app.screen.query_one("#file", Input).value = str(home / "rows.jsonl")
        await press(pilot, "enter", "saved 0, 1 ready")
        await press(pilot, "1", "Everything is annotated")
        await press(pilot, "escape", "1 annotated")
        await press(pilot, "enter", "Everything is annotated")
        await press(pilot, "escape", "1 annotated")
        await press(pilot, "D", "Delete this collection?")
        await press(pilot, "y", "No collections yet")


async def test_what_an_import_keeps_and_leaves_out_is_told(home: Path) -> None:
    rows = [
        {"prompt": "Why?", "response_a": "one", "response_b": "two", "winner": winner}
        for winner in ("tie", "a", "nobody knows")
    ]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    starting = TunerApp()
    async with starting.run_test(size=(120, 40), notifications=True) as pilot:
        starting.action_feedback()
        await wait_for(pilot, "No collections yet")
        await press(pilot, "n", "New collection")
        await pilot.press(*"evening", "enter", "enter")
        pilot.app.screen.query_one("#file", Input).value = str(home / "rows.jsonl")
        await pilot.press("enter")
        await press(pilot, "enter", "`winner` is 'nobody knows'")
        (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
        await press(pilot, "enter", "without a winner: 1 tie")


async def test_a_chat_is_begun_from_the_palette() -> None:
    starting = TunerApp()
    async with starting.run_test(size=(80, 24)) as pilot:
        starting.action_chat()
        await wait_for(pilot, "Models to chat with", "demo")
        await press(pilot, "enter", "Ask a question")


async def test_home_has_a_key_for_feedback_and_one_for_chat() -> None:
    starting = TunerApp()
    async with starting.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "Home")
        await press(pilot, "f", "No collections yet")
        await pilot.press("a")
        await press(pilot, "escape", "Home")
        await press(pilot, "a", "Models to chat with")
