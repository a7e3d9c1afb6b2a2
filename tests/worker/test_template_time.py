"""A run's chat templates write the time of its start; anything else writes the present."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.worker.runs import write_rows
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.runs.events import PhaseEntered, WorkerStarted
from tuner_tui.runs.journal import append_event
from tuner_tui.worker.text import rendering, template_time, token_cache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = datetime(2026, 12, 31, 23, 59, 58)
TURNS = [{"role": "user", "content": "Hi."}]
TEMPLATES = {
    "Llama 3.2": "{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}"
    "{%- set date_string = '26 Jul 2024' %}{%- endif %}Today Date: {{ date_string }}",
    "Mistral": '{%- set today = strftime_now("%Y-%m-%d") %}The current date is {{ today }}.',
    "gpt-oss": "{%- macro head() %}Current date: {{ strftime_now('%Y-%m-%d') }}{% endmacro %}{{ head() }}",
    "format in a variable": "{% set format = '%H:%M' %}{{ strftime_now(format) }}",
    "none": "{{ messages[0].content }}",
}
WRITTEN = {
    "Llama 3.2": "Today Date: 31 Dec 2026",
    "Mistral": "The current date is 2026-12-31.",
    "gpt-oss": "Current date: 2026-12-31",
    "format in a variable": "23:59",
    "none": "Hi.",
}


@pytest.fixture(autouse=True)
def _present() -> Iterator[None]:
    yield
    template_time.fix(None)
    rendering.close()


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.mark.parametrize("has_own_code", [False, True])
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_fixed_time_is_written(
    tokenizer: PreTrainedTokenizerFast, name: str, has_own_code: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer.chat_template = TEMPLATES[name]
    if has_own_code:
        monkeypatch.setattr(rendering, "is_plain", lambda _: False)
    present = rendering.render(tokenizer, TURNS, "row")
    assert present == tokenizer.apply_chat_template(TURNS, tokenize=False)
    template_time.fix(START)
    assert rendering.render(tokenizer, TURNS, "row") == WRITTEN[name]
    template_time.fix(None)
    assert rendering.render(tokenizer, TURNS, "row") == present


def test_the_start_is_the_first_workers(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    assert template_time.run_began(events) is None
    append_event(events, PhaseEntered(phase="loading"))
    assert template_time.run_began(events) is None
    append_event(events, WorkerStarted(pid=1, local_time=START.isoformat()))
    append_event(events, WorkerStarted(pid=2, local_time="2027-01-01T00:00:03"))
    assert template_time.run_began(events) == START


def test_runs_of_earlier_versions_began_when_their_first_worker_did(tmp_path: Path) -> None:
    append_event(tmp_path / "events.jsonl", WorkerStarted(pid=1, at=START.timestamp()))
    assert template_time.run_began(tmp_path / "events.jsonl") == START


@pytest.mark.parametrize("name", TEMPLATES)
def test_tokens_of_another_day_are_not_taken_from_the_cache(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, name: str
) -> None:
    reading = Reading(write_rows(tmp_path / "rows.jsonl"))
    tokenizer.chat_template = TEMPLATES[name]

    def key(moment: datetime) -> str:
        template_time.fix(moment)
        return token_cache.cache_key(reading, tokenizer, 60, "answers")

    first = key(START)
    assert key(START) == first
    assert (first == key(datetime(2027, 1, 1, 23, 59, 59))) is (name == "none")
    is_by_the_day = "%H" not in TEMPLATES[name]
    assert (key(START) == key(datetime(2026, 12, 31, 8, 30))) is is_by_the_day
