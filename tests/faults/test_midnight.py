"""A chat template that writes the date has no second day within a run, however that goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from transformers import AutoTokenizer

from tests.faults.home import Home, kill
from tests.faults.test_memory import FAIL_ABOVE
from tests.tiny_model import make_tiny_model
from tuner_tui.runs.control import leave_request
from tuner_tui.runs.events import CheckpointSaved, DataPrepared, MemoryShort, RunFinished, RunStopped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.home import WatchedRun

STEPS = 12
TEMPLATE = (
    "<|im_start|>system\nToday is {{ strftime_now('%d %b %Y, %H:%M') }}.<|im_end|>\n"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FAKE_CLOCK = """
import datetime, sys
from pathlib import Path

real = datetime.datetime

class FakeClock(real):
    @classmethod
    def now(cls, tz=None):
        return real.fromisoformat(Path({clock!r}).read_text())

if 'tuner_tui.worker' in sys.orig_argv:
    import in_worker
    import tuner_tui.worker.train
    tuner_tui.worker.train.datetime = FakeClock
if 'tuner_tui.data.tokens.text_child' in sys.orig_argv:
    import tuner_tui.data.tokens.chat_template
    tuner_tui.data.tokens.chat_template.datetime = FakeClock
"""
SLOW_STEPS = """
import time
from transformers import Trainer
begin = Trainer.training_step

def slow(self, *arguments, **named):
    time.sleep(0.3)
    return begin(self, *arguments, **named)

Trainer.training_step = slow
"""
MIDNIGHT_AT_FAILURE = """
from pathlib import Path
fail = Trainer.training_step

def past_midnight(self, *arguments, **named):
    if self.state.global_step >= 5:
        Path({clock!r}).write_text("2027-01-01T00:00:03")
    return fail(self, *arguments, **named)

Trainer.training_step = past_midnight
"""


@pytest.fixture
def clock(tmp_path: Path, do_in_worker: Path) -> Path:
    """What workers, and the children that render for them, take for the local time."""
    clock = tmp_path / "clock"
    clock.write_text("2026-12-31T23:59:58")
    do_in_worker.write_text("")
    do_in_worker.with_name("sitecustomize.py").write_text(FAKE_CLOCK.format(clock=str(clock)))
    return clock


@pytest.fixture
def dated_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home with a model whose template writes the date."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = make_tiny_model(tmp_path / "dated")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(model)
    home = Home(tmp_path / "home", model)
    yield home
    home.end_all()


def dated_run(home: Home, name: str) -> WatchedRun:
    tables: dict[str, Any] = {
        "training": {"max_steps": STEPS, "batch_size": 4, "max_length": 256},
        "guards": {"memory_rungs": ["micro_batch"]},
    }
    return home.make_run(name, save_every=3, **tables)


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=pytest.mark.slow) for how in ("kill", "pause", "memory")]
)
def test_a_run_goes_on_after_midnight(dated_home: Home, clock: Path, do_in_worker: Path, how: str) -> None:
    run = dated_run(dated_home, "over-midnight")
    if how == "memory":
        do_in_worker.write_text(
            FAIL_ABOVE.format(rows=2, step=5) + MIDNIGHT_AT_FAILURE.format(clock=str(clock))
        )
    else:
        do_in_worker.write_text(SLOW_STEPS)
    run.submit()
    if how == "pause":
        run.wait_for_step(4)
        leave_request(run.folder, "pause")
        ending = run.wait_for_end()
        assert isinstance(ending, RunStopped) and ending.is_pause and ending.step < STEPS
    elif how == "kill":
        run.wait_for_event(CheckpointSaved)
        pid = run.worker_pid()
        kill(pid)
        run.wait_for_end()
    if how != "memory":
        clock.write_text("2027-01-01T00:00:03")
        do_in_worker.write_text("")
        run.submit(resume=True)
    ending = run.wait_for_end()
    assert isinstance(ending, RunFinished), ending
    assert len(run.all(MemoryShort)) == (how == "memory")
    assert len(run.all(DataPrepared)) == 2
    assert set(run.losses()) == set(range(1, STEPS + 1))
    assert "2027" in clock.read_text()
