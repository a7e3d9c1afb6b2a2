"""Prompts answered while training: by base and tuned model, within a budget, without changing what is learnt."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.worker.runs import StopAfter
from tuner_tui.config.spec_file import read_spec
from tuner_tui.planning.plan import read_plan
from tuner_tui.runs.control import leave_request
from tuner_tui.runs.events import CheckpointSaved, RequestAccepted, RunFinished, Sampled, Warned
from tuner_tui.runs.journal import EventWriter
from tuner_tui.worker.job import Job
from tuner_tui.worker.train import run_job
from tuner_tui.worker.training import samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run
    from tuner_tui.runs.folder import RunFolder

PROMPTS = ("Why?", "What is up with you and all of that?")
SAMPLES: dict[str, Any] = {"prompts": PROMPTS, "max_new_tokens": 4, "every_steps": 2, "budget_percent": 100}


@pytest.fixture
def no_smallest_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model's whole run is shorter than the least time that is worth a sample."""
    monkeypatch.setattr(samples, "SMALLEST_SLICE_SECONDS", -1e9)


@pytest.fixture
def no_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every occasion is taken, also where the machine is slow at the first one."""
    answer = samples.Sampler.answer
    monkeypatch.setattr(
        samples.Sampler,
        "answer",
        lambda self, step, _, **options: answer(self, step, 1e9, **options),
    )


@pytest.fixture
def no_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is never cut short by the clock, so that tests can compare texts."""
    generate = samples.generate
    monkeypatch.setattr(
        samples,
        "generate",
        lambda model, tokenizer, prompts, length, _=None: generate(model, tokenizer, prompts, length),
    )


@pytest.mark.usefixtures("no_budget", "no_time_limit")
@pytest.mark.parametrize("tables", [{}, {"model": {"precision": "nf4"}}, {"full": True}])
def test_base_and_tuned_answer_and_training_does_not_notice(
    train: Callable[..., Run], tables: dict[str, Any]
) -> None:
    training = {"max_steps": 5, "checkpointing": "on"}
    if not tables.get("full"):
        tables = tables | {"tuning": {"dropout": 0.1}}
    plain = train(training=training, **tables)
    sampled = train(training=training, samples=SAMPLES, **tables)
    assert sampled.losses == plain.losses
    answers = sampled.all(Sampled)
    assert [(answer.source, answer.step, answer.prompt_index) for answer in answers] == [
        ("base", 0, 0),
        ("base", 0, 1),
        *(("tuned", step, index) for step in (2, 4, 5) for index in (0, 1)),
    ]
    assert [answer.prompt for answer in answers[:2]] == list(PROMPTS)
    assert all(answer.seconds > 0 for answer in answers)


@pytest.mark.usefixtures("no_budget", "no_time_limit")
def test_the_bases_answers_are_the_bases(train: Callable[..., Run], tiny_model: Path) -> None:
    run = train(training={"max_steps": 4, "learning_rate": 1e-1}, samples=SAMPLES)
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny_model),
        AutoTokenizer.from_pretrained(tiny_model),
    )
    expected = []
    for prompt in PROMPTS:  # one by one, so that padding is put to the test too
        [(answer, _)] = samples.generate(model, tokenizer, [prompt], 4)
        expected.append(answer)
    assert [answer.answer for answer in run.all(Sampled) if answer.source == "base"] == expected
    assert [answer.answer for answer in run.all(Sampled) if answer.source == "tuned"][-2:] != expected


@pytest.mark.usefixtures("no_smallest_slice")
def test_a_memorised_answer_is_given_and_ends_by_itself(train: Callable[..., Run]) -> None:
    rows = [{"question": "Why?", "answer": "Aaa."}] * 4
    run = train(
        rows,
        full=True,
        training={"max_steps": 60, "learning_rate": 1e-2},
        samples={**SAMPLES, "prompts": ["Why?"], "max_new_tokens": 12, "every_steps": 60},
    )
    last = run.last(Sampled)
    assert (last.answer, last.is_finished) == ("Aaa.", True)


def test_a_tiny_budget_skips_samples_and_says_so_once(train: Callable[..., Run]) -> None:
    run = train(training={"max_steps": 6}, samples=SAMPLES | {"budget_percent": 0.01})
    assert run.exit_code == 0
    assert not run.all(Sampled)
    warning = run.last(Warned)
    assert len(run.all(Warned)) == 1
    assert "Samples are skipped" in warning.message and "samples.budget_percent" in warning.hint


@pytest.mark.usefixtures("no_smallest_slice")
def test_an_answer_ends_with_the_budget(train: Callable[..., Run]) -> None:
    run = train(
        training={"max_steps": 2},
        samples=SAMPLES | {"max_new_tokens": 400, "budget_percent": 1, "every_steps": 1},
    )
    assert not any(answer.is_finished for answer in run.all(Sampled))
    assert sum(answer.seconds for answer in run.all(Sampled)) < 1.0


def test_a_sample_and_a_checkpoint_are_made_when_asked(make_run: Callable[..., RunFolder]) -> None:
    from tests.worker.runs import Run

    folder = make_run(
        training={"max_steps": 60}, samples=SAMPLES | {"budget_percent": 0.01, "every_steps": 1000}
    )
    asked = {leave_request(folder, request) for request in ("sample", "save")}
    assert run_job(folder.path) == 0
    run = Run(folder, 0)
    assert {accepted.id for accepted in run.all(RequestAccepted)} == asked
    assert all(accepted.takes_effect for accepted in run.all(RequestAccepted))
    assert {answer.source for answer in run.all(Sampled)} == {"base", "tuned"}
    assert [saved.reason for saved in run.all(CheckpointSaved)] == ["request", "end"]
    assert run.last(RunFinished).step == 60


@pytest.mark.usefixtures("no_smallest_slice")
@pytest.mark.parametrize("stopped_at", [1, 3])
def test_a_resumed_run_asks_the_base_just_once(make_run: Callable[..., RunFolder], stopped_at: int) -> None:
    from tests.worker.runs import Run

    folder = make_run(training={"max_steps": 6, "batch_size": 1}, samples=SAMPLES)
    run_job(folder.path, stop=StopAfter(folder, stopped_at))
    run_job(folder.path, is_resumed=True)
    assert len([answer for answer in Run(folder, 0).all(Sampled) if answer.source == "base"]) == len(PROMPTS)


def test_samples_work_without_a_chat_template(
    make_run: Callable[..., RunFolder], tiny_model: Path, tmp_path: Path
) -> None:
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny_model),
        AutoTokenizer.from_pretrained(tiny_model),
    )
    tokenizer.chat_template = None
    [(alone, _)] = samples.generate(model, tokenizer, ["ab"], 4)
    together = samples.generate(model, tokenizer, ["ab", "abcdefgh"], 4)
    assert together[0][0] == alone


def test_a_request_that_will_not_be_carried_out_is_refused(make_run: Callable[..., RunFolder]) -> None:
    from tests.worker.runs import Run

    folder = make_run(training={"max_steps": 40})  # without prompts
    leave_request(folder, "sample")
    assert run_job(folder.path) == 0
    answer = Run(folder, 0).last(RequestAccepted)
    assert answer.is_refused
    assert answer.words == "sample: not done, this run has no samples.prompts to answer."


def test_the_first_answers_leave_time_for_the_last(
    make_run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[float] = []

    def slow(_model: Any, _tokenizer: Any, prompts: list[str], _tokens: int, seconds: float) -> list[Any]:
        allowed.append(seconds)
        return [("So.", False) for _ in prompts]

    monkeypatch.setattr(samples, "generate", slow)
    folder = make_run(samples={"prompts": PROMPTS, "budget_percent": 15})
    job = Job(folder, read_spec(folder.spec), read_plan(folder.plan), EventWriter(folder.events))
    model = type("Model", (), {"disable_adapter": lambda self: contextlib.nullcontext()})()
    sampler = samples.Sampler(job, model, None)  # type: ignore[arg-type]
    sampler.answer(5, 100.0)
    assert allowed == [5.0, 5.0]  # base, tuned, and as much is left for the last
    job.times.samples = 10.0  # as long as both took
    sampler._last_seconds = 5.0
    sampler.answer(10, 100.0)
    assert len(allowed) == 2  # that left nothing for the last
    job.times.samples = 12.0
    sampler.answer(24, 100.0, is_last=True)
    assert allowed[2:] == [3.0]  # shorter than the ones before, which took 5 seconds
    job.events.close()
