"""The chat screen with a real worker and a tiny real model: columns, turns, and answers that go to a collection."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from textual.widgets import Input, TextArea

from tests.scripted_models import ScriptedModels
from tests.ui.looking import footer_keys, screen_text, until, wait_for
from tuner_tui.errors import InputError
from tuner_tui.feedback.collections import open_collection
from tuner_tui.feedback.from_chat import keep_better, keep_prompts
from tuner_tui.generation.candidates import candidate_of
from tuner_tui.generation.conversation import Conversation, Reply, parse_sampling, sampling_text
from tuner_tui.generation.messages import Answered, Base, Candidate, Sampling, Turn
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.screens.chat import ChatScreen
from tuner_tui.ui.widgets.chat_column import ChatColumn

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

SHORT = Sampling(max_new_tokens=12, temperature=1.0)


def answered(screen: ChatScreen) -> bool:
    return bool(screen.talk.replies) and not screen.talk.is_waiting


async def wait_until_answered(pilot: Pilot[Any], screen: ChatScreen) -> None:
    deadline = time.monotonic() + 90  # the worker loads torch first
    while not answered(screen):
        assert time.monotonic() < deadline, screen_text(pilot.app)
        await pilot.pause(0.05)


async def test_a_talk_with_two_sides(home: Path, tiny_model: Path) -> None:
    base = Base(source=str(tiny_model), precision="fp32", device="cpu")
    talk = Conversation(candidates=(Candidate(base=base),), sampling=SHORT)
    screen = ChatScreen(talk, "evening")
    async with TunerApp(screen).run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "1 tiny-llama", "Ask a question")
        await pilot.press("tab", "p")
        await wait_for(pilot, "A system prompt")
        pilot.app.screen.query_one(TextArea).text = "Be short."
        await pilot.press("ctrl+s")
        await wait_for(pilot, "2 tiny-llama + system prompt")
        await pilot.press(*"Hi", "enter")
        await wait_until_answered(pilot, screen)
        await wait_for(pilot, "> Hi", "tokens/s")
        assert screen.query_one(Input).value == ""
        first = screen.talk.replies[0]
        assert all(reply.text and not reply.problem for reply in first)
        await pilot.press("ctrl+r")
        await wait_until_answered(pilot, screen)
        assert len(screen.talk.questions) == 1
        assert screen.talk.replies[0][0].seed != first[0].seed
        await pilot.press(*"More", "enter")
        await wait_until_answered(pilot, screen)
        assert [turn.role for turn in screen.talk.turns(1)] == ["system", "user", "assistant", "user"]
        await pilot.press("tab")
        await until(pilot, lambda: isinstance(pilot.app.screen.focused, ChatColumn))
        await pilot.press("g")
        await wait_for(pilot, "Good; saved to evening (1 in total)")
        await pilot.press("2")
        await wait_for(pilot, "2 is better; saved to evening (2 in total)")
    with open_collection("evening") as store:
        thumb, choice = (entry.annotation for entry in store.entries())
        assert thumb is not None
        assert choice is not None
        assert (thumb.verdict, thumb.scores) == ("thumbs", (1,))
        assert choice.ranks == (2, 1)
        maker = store.items()[1].answers[1].maker
        assert (maker.system, maker.model, maker.sampling) == ("Be short.", str(tiny_model), SHORT)


@pytest.mark.slow
def test_headless_chat(tmp_path: Path, tiny_model: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tuner_tui",
        "chat",
        str(tiny_model),
        "--seed",
        "3",
        "--max-new-tokens",
        "8",
        "--json",
    ]
    done = subprocess.run(
        command,
        env=os.environ | {"TUNER_TUI_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        input="Hi\nMore\n",
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["prompt"], row["seed"]) for row in rows] == [("Hi", 3), ("More", 3)]


BASE = Base(source="small")
TWO = (Candidate(base=BASE), Candidate(base=BASE, adapter="/a/adapter"))


def talked() -> Conversation:
    talk = Conversation(candidates=TWO).asking("one")
    talk = talk.replying(0, 0, Reply(text="first", is_done=True, is_finished=True))
    return talk.replying(0, 1, Reply(text="second", is_done=True))


def test_each_side_sees_its_own_answers() -> None:
    talk = talked().asking("two")
    assert [turn.content for turn in talk.turns(0)] == ["one", "first", "two"]
    assert [turn.content for turn in talk.turns(1)] == ["one", "second", "two"]
    assert talk.is_waiting
    assert not talked().is_waiting
    newcomer = Candidate(base=BASE, system="x")
    changed = talked().with_candidates((TWO[1], newcomer)).asking("two")
    assert changed.turns(0) == (Turn("user", "one"), Turn("assistant", "second"), Turn("user", "two"))
    assert changed.turns(1) == (Turn("system", "x"), Turn("user", "one\n\ntwo"))


def test_a_chat_becomes_feedback(home: Path) -> None:
    assert keep_better("evening", talked(), 0) == 1
    assert keep_prompts("prompts", talked().asking("two")) == 2
    assert keep_prompts("prompts", talked()) == 0
    with open_collection("evening") as store:
        (item,) = store.items()
        assert [answer.is_finished for answer in item.answers] == [True, False]


def test_sampling_is_typed() -> None:
    assert parse_sampling("temperature=0 max_new_tokens=9", Sampling()) == Sampling(
        temperature=0.0, max_new_tokens=9
    )
    assert parse_sampling(sampling_text(SHORT), Sampling()) == SHORT
    for text in (
        "temprature=1",
        "temperature",
        "temperature=x",
        "top_p=2",
        "max_new_tokens=0",
        "max_new_tokens=1.5",
    ):
        with pytest.raises(ValueError, match=r"known|number|expected"):
            parse_sampling(text, Sampling())


def test_sides_are_named(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert candidate_of(str(tiny_model)).base.source == str(tiny_model)
    for text, words in (
        ("", "Not a model"),
        ("demo+", "Not a model"),
        ("demo+nothing", "nothing"),
        ("/nowhere", "nowhere"),
    ):
        with pytest.raises(InputError, match=words):
            candidate_of(text)
    with pytest.raises(InputError, match="adapter_config"):
        candidate_of(f"{tiny_model}+{tmp_path}")


class LimitedModels(ScriptedModels):
    """Answers stop at a number of tokens, as the generation worker's do at the token limit or a full context."""

    def stop_at(self, tokens: int) -> None:
        for identity in list(self.waiting):
            request, listener = self.waiting.pop(identity)
            listener(
                Answered(
                    id=identity,
                    text="The sea is",
                    is_finished=False,
                    tokens=tokens,
                    seconds=1.0,
                    batch_size=1,
                    seed=request.seed,
                    template="",
                )
            )


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (12, "The sea is [stopped at 12 new tokens; tab, then o: max_new_tokens]"),
        (5, "The sea is [stopped at 5 new tokens: the context is full]"),
    ],
)
async def test_an_answer_that_stops_in_a_sentence_says_why(tokens: int, words: str) -> None:
    models = LimitedModels()
    talk = Conversation(candidates=(Candidate(base=BASE),), sampling=SHORT)
    async with TunerApp(ChatScreen(talk, generators=models)).run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "Ask a question")
        await pilot.press("h", "i", "enter")
        await until(pilot, lambda: bool(models.waiting))
        models.tell("loading [bold]small")
        await wait_for(pilot, "> hi", "…", "loading [bold]small ... 1 s")
        models.stop_at(tokens)
        await wait_for(pilot, words)
        await pilot.press("tab", "o")
        await wait_for(pilot, "Sampling settings", "max_new_tokens=12")


@pytest.mark.usefixtures("home")
async def test_an_answer_that_was_stopped_says_so() -> None:
    models = ScriptedModels()
    talk = Conversation(candidates=(Candidate(base=BASE),), sampling=SHORT)
    async with TunerApp(ChatScreen(talk, generators=models)).run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "Ask a question")
        await pilot.press("h", "i", "enter")
        await until(pilot, lambda: bool(models.waiting))
        await until(pilot, lambda: "Stop" in footer_keys(pilot.app).values())
        await pilot.press("ctrl+x")
        await wait_for(pilot, "unfin [stopped on request]")
        assert "Stop" not in footer_keys(pilot.app).values()


@pytest.mark.usefixtures("home")
async def test_settings_that_cannot_be_used_stay_to_be_corrected() -> None:
    screen = ChatScreen(
        Conversation(candidates=(Candidate(base=BASE),), sampling=SHORT), generators=ScriptedModels()
    )
    async with TunerApp(screen).run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "Ask a question")
        await pilot.press("tab", "o")
        await wait_for(pilot, "Sampling settings", "max_new_tokens=12")
        pilot.app.screen.query_one(TextArea).text = "max_new_tokens=many [b]"
        await pilot.press("ctrl+s")
        await wait_for(pilot, "max_new_tokens must be a number, not 'many'", "max_new_tokens=many [b]")
        pilot.app.screen.query_one(TextArea).text = "max_new_tokens=40"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: screen.talk.sampling.max_new_tokens == 40)
