"""Judging reads what was added, never the whole collection, and nothing of it on the event loop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.ui.looking import wait_for
from tests.unit.feedback_rows import answer
from tuner_tui.feedback.collections import annotator_name, open_or_create
from tuner_tui.feedback.records import Annotation
from tuner_tui.feedback.session import Session
from tuner_tui.feedback.store import Store
from tuner_tui.feedback.store_rows import NewEntry, NewItem
from tuner_tui.generation.messages import Turn
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.screens.feedback import FeedbackScreen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

JUDGED, LEFT = 600, 30


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    with open_or_create("evening") as store:
        store.add_imported(
            NewItem(
                [Turn("user", f"Question {number}?")],
                "test",
                [answer("one"), answer("two", "tuned")],
                [
                    NewEntry(
                        annotator_name(),
                        "person",
                        lambda ids, number=number: Annotation(  # type: ignore[misc]
                            verdict="choice", shown=tuple(ids), ranks=(1, 2), is_repeat=number % 3 == 2
                        ),
                    )
                ]
                if number < JUDGED
                else [],
            )
            for number in range(JUDGED + LEFT)
        )


class Reads:
    """Counts the rows that the store reads, and in which threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        self.threads: set[int] = set()
        read = Store.rows

        def counted(store: Store, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            rows = read(store, query, values)
            self.rows += len(rows)
            self.threads.add(threading.get_ident())
            return rows

        monkeypatch.setattr(Store, "rows", counted)

    def begin(self) -> None:
        self.rows = 0
        self.threads.clear()


async def test_a_key_reads_only_what_was_added(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Reads(monkeypatch)
    async with TunerApp(FeedbackScreen("evening")).run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, f"{LEFT} ready")
        await pilot.pause()
        for key in ("1", "t", "right", "6"):
            reads.begin()
            await pilot.press(key)
            await wait_for(pilot, "saved")
            await pilot.pause()
            assert 0 < reads.rows < 60, key
            assert threading.get_ident() not in reads.threads, key
        reads.begin()
        await pilot.press("u")
        await wait_for(pilot, "undone")
        assert 0 < reads.rows < 60
        assert threading.get_ident() not in reads.threads


def test_the_counts_are_those_of_a_session_that_reads_everything() -> None:
    """Two apps judge, skip, flag and take back in turns; each knows at once what a new look at the file says."""
    with open_or_create("evening") as store, open_or_create("evening") as other_store:
        sessions = [Session(store, annotator_name(), seed=1), Session(other_store, "other", seed=2)]
        for number in range(60):
            session = sessions[number % 2]
            shown = session.next()
            assert shown is not None
            match number % 7:
                case 3:
                    session.keep(shown, "skip")
                case 4:
                    session.undo()
                case 5:
                    session.keep(shown, "flag")
                case 6:
                    session.keep(shown, "choice", written="mine", edited_from=shown.answers[0].id)
                case _:
                    session.choose(shown, number % 2)
            anew = Session(store, session.annotator, seed=session._seed)
            assert session.progress() == anew.progress()
            assert session.progress().saved == store.annotation_count()
            assert session.next() == anew.next()
            if number % 2:
                other_store.add_item([Turn("user", f"More {number}")], "test", [answer("a"), answer("b")])
