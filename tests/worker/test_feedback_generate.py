"""`feedback generate` with a real model: Ctrl-C keeps what is complete, and the same command continues."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tuner_tui.feedback.collections import open_collection, open_or_create

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROMPTS = 64


def answers() -> dict[int, str]:
    """The answers on disk, by their ids."""
    with open_collection("evening") as store:
        return {answer.id: answer.text for item in store.items() for answer in item.answers}


@pytest.fixture
def generate(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command; a test that fails leaves no process behind."""
    with contextlib.ExitStack() as commands:

        def start(*options: str) -> subprocess.Popen[str]:
            command = commands.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tuner_tui", "feedback", "generate", "evening", *options],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=os.environ | {"TUNER_TUI_HOME": str(home), "OMP_NUM_THREADS": "1"},
                )
            )
            commands.callback(command.kill)
            return command

        yield start


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_interruption_keeps_answers_and_the_command_continues(
    home: Path, tiny_model: Path, generate: Callable[..., subprocess.Popen[str]]
) -> None:
    questions = [option for number in range(PROMPTS) for option in ("--prompt", f"Why {number}?")]
    first = generate("--side", str(tiny_model), "--max-new-tokens", "400", *questions)
    deadline = time.monotonic() + 240
    path = home / "data" / "feedback" / "evening.sqlite3"
    while not (path.exists() and answers()) and time.monotonic() < deadline:
        assert first.poll() is None, first.communicate()
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    output, errors = first.communicate(timeout=60)
    assert first.returncode == 130 and not output
    assert "Stopped. Complete answers are kept." in errors
    assert "To resume: tuner-tui feedback generate evening" in errors and "\r" not in errors
    before = answers()
    assert 0 < len(before) < 2 * PROMPTS
    second = generate("--max-new-tokens", "4", "--json")
    output, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors
    report = json.loads(output)
    assert report["left"] == 0 and report["answered"] > 0
    after = answers()
    assert len(after) == 2 * PROMPTS and before.items() <= after.items()


def test_a_collection_without_models_says_how_to_set_one(
    home: Path, generate: Callable[..., subprocess.Popen[str]]
) -> None:
    open_or_create("evening").close()
    done = generate("--prompt", "Why?")
    _, errors = done.communicate(timeout=120)
    assert done.returncode == 2
    assert "No model is set" in errors and "tuner-tui feedback generate evening --side demo" in errors
