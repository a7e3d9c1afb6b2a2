"""How long a judgement takes: the key press until the next answers are painted, and the store alone.

    python tests/benchmarks/judging.py [--judgements 20000] [--keys 40] [--against CHECKOUT]

`--against` names another checkout of this project, which is measured in turns with this one (each in processes of its
own, on a collection that it makes itself), and the ratio of the medians is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 3
TARGET_MS = 50.0


def make_collection(judgements: int, left: int) -> None:
    """A collection with so many judged items and some that are left, made in few transactions."""
    from tuner_tui.feedback.collections import annotator_name, open_or_create
    from tuner_tui.feedback.records import Annotation, Maker, NewAnswer
    from tuner_tui.feedback.store_rows import NewEntry, NewItem
    from tuner_tui.generation.messages import Turn

    def row(number: int):  # type: ignore[no-untyped-def]
        answers = [
            NewAnswer(
                text=f"Answer {side} to question {number}. " * 8,
                maker=Maker(kind="model", model=f"m{side}", seed=1),
            )
            for side in range(2)
        ]

        def judged(ids):  # type: ignore[no-untyped-def]
            return Annotation(
                verdict="choice", shown=tuple(ids), ranks=(1, 2), seconds=3.0, is_repeat=number % 6 == 5
            )

        entries = [NewEntry(annotator_name(), "person", judged)] if number < judgements else []
        return NewItem([Turn("user", f"Question {number}?")], "benchmark", answers, entries)

    with open_or_create("evening") as store:
        store.add_imported(row(number) for number in range(judgements + left))


def store_times(keys: int) -> list[float]:
    """Milliseconds from a choice to the next item with its counts, without a screen."""
    from tuner_tui.feedback.collections import annotator_name, open_collection
    from tuner_tui.feedback.session import Session

    times = []
    with open_collection("evening") as store:
        session = Session(store, annotator_name(), seed=1)
        shown = session.next()
        for _ in range(keys):
            started = time.perf_counter()
            assert shown is not None
            session.choose(shown, 0, seconds=1.0)
            shown = session.next()
            session.progress()
            times.append((time.perf_counter() - started) * 1000)
    return times


def keep_times(keys: int) -> list[float]:
    """Milliseconds from a choice to its acknowledgement: what the store itself takes."""
    from tuner_tui.feedback.collections import annotator_name, open_collection
    from tuner_tui.feedback.session import Session

    times = []
    with open_collection("evening") as store:
        session = Session(store, annotator_name(), seed=1)
        shown = session.next()
        assert shown is not None
        for _ in range(keys):
            started = time.perf_counter()
            session.choose(shown, 0, seconds=1.0)
            times.append((time.perf_counter() - started) * 1000)
    return times


async def screen_times(keys: int) -> list[float]:
    """Milliseconds from a key press to the screen that shows the next item's answers."""
    from tuner_tui.ui.app import TunerApp
    from tuner_tui.ui.screens.feedback import FeedbackScreen
    from tuner_tui.ui.screens.feedback_answers import AnswerPane

    screen = FeedbackScreen("evening")
    times = []
    async with TunerApp(screen).run_test(size=(100, 30)) as pilot:
        while screen.shown is None or not screen.query(AnswerPane):
            await asyncio.sleep(0.01)
        await pilot.pause()
        for _ in range(keys):
            before = screen.shown
            painted = asyncio.Event()
            started = time.perf_counter()
            pilot.app.post_message(_key("1", pilot.app))
            while screen.shown is before or screen.shown is None or not _is_shown(screen, AnswerPane):
                await asyncio.sleep(0.001)
            screen.call_after_refresh(painted.set)
            await painted.wait()
            times.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.05)
    return times


def _is_shown(screen, kind) -> bool:  # type: ignore[no-untyped-def]
    """Whether the panes that are laid out hold the answers of the item that is shown."""
    panes = list(screen.query(kind))
    ids = {answer.id for answer in screen.shown.answers}
    return {pane.answer.id for pane in panes} == ids and all(pane.size.height > 0 for pane in panes)


def _key(key: str, sender):  # type: ignore[no-untyped-def]
    from textual import events

    event = events.Key(key, key)
    event.set_sender(sender)
    return event


def measure(judgements: int, keys: int) -> dict[str, list[float]]:
    """All figures of the checkout that this process imports."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["TUNER_TUI_HOME"] = home
        make_collection(judgements, keys * 4)
        return {
            "keep": keep_times(keys),
            "keep and next": store_times(keys),
            "key to painted answer": asyncio.run(screen_times(keys)),
        }


def in_process(checkout: Path, judgements: int, keys: int) -> dict[str, list[float]]:
    """The figures of a checkout, measured in a process of its own."""
    script = checkout / "tests" / "benchmarks" / "judging.py"  # its own: names of functions differ
    command = [sys.executable, str(script), "--one", "--judgements", str(judgements)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [*command, "--keys", str(keys)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=checkout,
    )
    figures: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Print the medians, the slowest of twenty, and the ratio to another checkout if one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judgements", type=int, default=20_000)
    parser.add_argument("--keys", type=int, default=40)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(chosen.judgements, chosen.keys)))
        return
    here = Path(__file__).resolve().parents[2]
    checkouts = [here] + ([chosen.against.resolve()] if chosen.against else [])
    times: dict[Path, dict[str, list[float]]] = {checkout: {} for checkout in checkouts}
    for _ in range(ROUNDS):
        for checkout in checkouts:
            for name, measured in in_process(checkout, chosen.judgements, chosen.keys).items():
                times[checkout].setdefault(name, []).extend(measured)
    print(
        f"{chosen.judgements} annotations, {ROUNDS} rounds of {chosen.keys} keys; medians in ms (95th percentile)"
    )
    for name in times[here]:
        columns = []
        for checkout in checkouts:
            values = sorted(times[checkout][name])
            columns.append(f"{statistics.median(values):8.2f} ({values[int(len(values) * 0.95)]:.1f})")
        ratio = ""
        if chosen.against:
            before = statistics.median(times[checkouts[1]][name])
            ratio = f"   ratio {statistics.median(times[here][name]) / before:.2f}"
        print(f"{name:<24}{'   '.join(columns)}{ratio}")
    painted = statistics.median(times[here]["key to painted answer"])
    print(
        f"target: under {TARGET_MS:g} ms from key to painted answer: {'met' if painted < TARGET_MS else 'missed'}"
    )


if __name__ == "__main__":
    main()
