"""Answers ahead: what is asked and saved, what a stop keeps, and the figures that are shown meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.scripted_models import ScriptedModels
from tuner_tui.errors import TunerError
from tuner_tui.feedback.answer_meter import AnswerMeter
from tuner_tui.feedback.answering import Prefetcher, missing_places
from tuner_tui.feedback.collections import open_or_create
from tuner_tui.feedback.records import CollectionSettings, Maker, NewAnswer
from tuner_tui.feedback.session import Session
from tuner_tui.generation.messages import Base, Candidate, Sampling, Turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner_tui.feedback.store import Store

SIDES = (Candidate(base=Base(source="demo")), Candidate(base=Base(source="demo"), system="Be brief."))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Five prompts without answers, for two sides."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    settings = CollectionSettings(candidates=SIDES, sampling=Sampling(max_new_tokens=40))
    with open_or_create("evening", settings) as opened:
        opened.add_items([((Turn("user", f"Why {number}?"),), "test", ()) for number in range(5)])
        yield opened


def prefetcher(
    store: Store, models: ScriptedModels, problems: list[TunerError], **more: int | None
) -> Prefetcher:
    return Prefetcher(Session(store, "ada"), models, lambda: None, problems.append, **more)


def test_the_figures_by_hand() -> None:
    times = iter([100.0, 102.0, 104.0, 110.0])
    meter = AnswerMeter(lambda: next(times))
    meter.plan(prompts_left=3, answers_left=6, longest=40)
    meter.grew("a", 4)  # at 100 s: loading the model before is not in the speed
    meter.grew("a", 12)
    meter.grew("b", 8)
    look = meter.look()  # at 102 s: 16 tokens in 2 s, and up to 6 x 40 - 20 are left
    assert (look.tokens_per_second, look.seconds_left, look.is_at_most) == (8.0, 220 / 8, True)
    assert look.words == "0 of 3 prompts answered, 8.0 tokens/s, at most 28 s left"
    meter.answered("a", 20)
    meter.answered("b", 20)
    meter.done_prompts += 1
    look = meter.look()  # at 104 s: 36 tokens in 4 s; 4 answers of 20 tokens are left
    assert look.words == "1 of 3 prompts answered, 9.0 tokens/s, 9 s left"
    meter.begin()
    assert meter.look().words == "0 of 0 prompts answered"


def test_an_estimate_that_is_over_says_so() -> None:
    times = iter([100.0, 110.0, 115.0, 120.0, 130.0])
    meter = AnswerMeter(lambda: next(times))
    meter.plan(prompts_left=3, answers_left=3, longest=40)
    meter.grew("a", 0)
    meter.answered("a", 20)
    meter.done_prompts += 1
    meter.grew("b", 30)  # longer than the usual 20: its end is unknown, and it shortens no other answer
    assert (
        meter.look().words == "1 of 3 prompts answered, 5.0 tokens/s, 4 s left"
    )  # at 110 s: 50 tokens; c has 20
    meter.grew("c", 25)
    assert meter.look().words == "1 of 3 prompts answered, 5.0 tokens/s, taking longer than estimated"
    meter.answered("b", 40)
    meter.answered("c", 40)
    meter.done_prompts += 2
    assert meter.look().words == "3 of 3 prompts answered, 5.0 tokens/s"  # at 120 s: 100 tokens


def test_a_stop_keeps_complete_answers_and_resuming_asks_for_the_others(store: Store) -> None:
    models, problems = ScriptedModels(), list[TunerError]()
    ahead = prefetcher(store, models, problems)
    ahead.fill()
    assert len(models.waiting) == 4  # two prompts, of two sides each
    second = list(models.waiting)[1]
    request, listener = models.waiting.pop(second)
    assert request.turns[0].content == "Be brief."
    models.waiting = {second: (request, listener), **models.waiting}
    models.answer()  # the second side's answer to the first prompt
    ahead.stop()
    assert len(models.cancelled) == 3 and not models.waiting
    assert ahead.idle.is_set() and ahead.in_making == 0
    first, *others = store.items()
    assert [answer.maker.system for answer in first.answers] == ["Be brief."]
    assert not any(item.answers for item in others)
    ahead.fill()
    assert not models.waiting, "a stop lasts until it is ended"
    ahead.resume()
    ahead.fill()
    asked = [
        request.turns[0].role for request, _ in models.waiting.values() if "0" in request.turns[-1].content
    ]
    assert asked == ["user"], "only the side without a system prompt is missing"
    models.answer(len(models.waiting))
    assert sorted(answer.maker.system for answer in store.items()[0].answers) == ["", "Be brief."]
    assert not problems


def test_leaving_keeps_complete_answers(store: Store) -> None:
    models, problems = ScriptedModels(), list[TunerError]()
    ahead = prefetcher(store, models, problems)
    ahead.fill()
    models.answer()
    assert not any(item.answers for item in store.items())
    ahead.close()
    assert len(store.items()[0].answers) == 1


def test_all_prompts_are_answered_and_counted(store: Store) -> None:
    models, problems = ScriptedModels(), list[TunerError]()
    ahead = prefetcher(store, models, problems, ahead=None)
    ahead.fill()
    assert len(models.waiting) == 10
    models.answer(4)
    assert ahead.progress().words.startswith("2 of 5 prompts answered")
    models.fail()
    models.answer(5)
    assert ahead.idle.is_set()
    assert [len(item.answers) for item in store.items()] == [2, 2, 1, 2, 2]
    assert [problem.title for problem in problems] == ["Out of memory"]


def test_when_nothing_can_be_answered_it_is_not_asked_for_ever(store: Store) -> None:
    models, problems = ScriptedModels(), list[TunerError]()
    ahead = prefetcher(store, models, problems)
    ahead.fill()
    for _ in range(4):
        models.fail()
    assert ahead.idle.is_set() and not models.waiting and len(problems) == 4


def test_answers_from_a_file_take_the_first_places(store: Store) -> None:
    settings = store.settings()
    store.add_item([Turn("user", "Who?")], "file", [NewAnswer(text="me", maker=Maker(kind="import"))])
    assert missing_places(store.items()[-1], settings) == [1]
    assert missing_places(store.items()[0], settings) == [0, 1]
