"""Annotator statistics recognise biased annotators, and give win rates with correct intervals."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.unit.feedback_rows import answer, make_store
from tuner_tui.feedback.intervals import chance, wilson
from tuner_tui.feedback.session import Session, Shown
from tuner_tui.feedback.statistics import AnnotatorStatistics, annotator_statistics
from tuner_tui.feedback.statistics_words import side_words
from tuner_tui.generation.messages import Turn

if TYPE_CHECKING:
    from pathlib import Path

Annotator = Callable[[Shown, random.Random], int]


def always_first(shown: Shown, _: random.Random) -> int:
    return 0


def always_longest(shown: Shown, _: random.Random) -> int:
    return max(range(len(shown.answers)), key=lambda place: len(shown.answers[place].text))


def at_random(shown: Shown, draw: random.Random) -> int:
    return draw.randrange(len(shown.answers))


def by_quality(shown: Shown, _: random.Random) -> int:
    """Quality is a hidden number, which has nothing to do with place or length."""
    return max(range(len(shown.answers)), key=lambda place: hash_of(shown.answers[place].text))


def hash_of(text: str) -> int:
    return random.Random(text).randrange(10**9)


def judged(path: Path, annotator: Annotator, seed: int, count: int = 100) -> AnnotatorStatistics:
    draw = random.Random(seed)
    store = make_store(path)
    for number in range(count):
        texts = ["x" * draw.randrange(5, 300) + str(number) for _ in range(2)]
        store.add_item([Turn("user", f"{number}?")], "test", [answer(texts[0]), answer(texts[1], "tuned")])
    session = Session(store, "me", seed=seed)
    for _ in range(count):
        shown = session.next()
        assert shown is not None
        session.choose(shown, annotator(shown, draw), seconds=3.0)
    return annotator_statistics(store.items(), store.entries())


@pytest.mark.parametrize("seed", range(3))
def test_each_kind_of_rater_is_recognised(tmp_path: Path, seed: int) -> None:
    first = judged(tmp_path / "first.sqlite3", always_first, seed)
    assert (first.position.verdict, first.position.share.share) == ("clear", 1.0)
    assert first.length.verdict != "clear"
    assert "first position" in first.remarks()[0]

    longest = judged(tmp_path / "longest.sqlite3", always_longest, seed)
    assert (longest.length.verdict, longest.length.share.share) == ("clear", 1.0)
    assert longest.position.verdict != "clear"
    assert longest.agreement.share == 1.0
    assert "longer" in longest.remarks()[0]

    chancy = judged(tmp_path / "random.sqlite3", at_random, seed)
    assert "clear" not in (chancy.position.verdict, chancy.length.verdict)
    assert chancy.agreement.total >= 8
    assert not chancy.agreement.excludes(0.5)
    assert any("random" in remark for remark in chancy.remarks())

    honest = judged(tmp_path / "honest.sqlite3", by_quality, seed)
    assert "clear" not in (honest.position.verdict, honest.length.verdict)
    assert honest.agreement.share == 1.0
    assert honest.agreement.excludes(0.5)
    assert honest.is_enough
    assert not any("random" in remark for remark in honest.remarks())


def test_figures(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a.sqlite3", 6)
    session = Session(store, "me", seed=1)
    for number in range(6):
        shown = session.next()
        assert shown is not None
        tuned = next(place for place in range(2) if shown.answers[place].maker.model == "tuned")
        if number < 3:
            session.choose(shown, tuned, seconds=2.0 + number)
        elif number == 3:
            session.keep(shown, "tie", ranks=[1, 1], seconds=4.0)
        elif number == 4:
            session.choose(shown, 1 - tuned, seconds=1000.0)
        else:
            session.keep(shown, "skip")
    session.undo()
    seen = annotator_statistics(store.items(), store.entries())
    assert (seen.annotations, seen.preferences, seen.ties, seen.undone, seen.set_aside) == (5, 4, 1, 1, 0)
    assert seen.seconds == 3.5
    assert seen.position.verdict == "too few"
    (rate,) = seen.win_rates
    assert (rate.side, rate.against, rate.wins, rate.losses, rate.ties) == ("base", "tuned", 1, 3, 1)
    assert rate.share.share == pytest.approx(0.3)
    assert rate.share.low < 0.3 < rate.share.high
    assert not seen.is_enough


def test_intervals_against_published_figures() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611
    share = wilson(81, 263)
    assert (round(share.low, 4), round(share.high, 4)) == (0.2553, 0.3662)
    assert round(wilson(0, 20).high, 4) == 0.1611
    assert wilson(0, 0).total == 0
    assert chance(5, 10) == 1.0
    assert chance(10, 10) == pytest.approx(2 / 1024)
    assert chance(60, 100) == pytest.approx(0.0569, abs=1e-4)


def test_sides_are_named_by_their_runs() -> None:
    assert (
        side_words("demo + /home/me/data/runs/2026-octopus/adapter + Be short.")
        == "demo + 2026-octopus + Be short."
    )
    assert side_words("demo + /models/adapter") == "demo + /models/adapter"
