"""The same runs on a CUDA card: asked for by `-m gpu`, skipped where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.tiny_model import make_tiny_model
from tests.worker.conftest import home, make_run, train
from tests.worker.runs import Run, stop_and_resume
from tests.worker.test_precisions import EVERY_STEP, check_lora, trained_logits
from tuner_tui.runs.events import ChoicesMade, ModelLoaded, RunFinished, Sampled, StepLogged
from tuner_tui.worker.device.machine import fast_16_bit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder

__all__ = ["home", "make_run", "train", "trained_logits"]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = {"device": "cuda"}


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a realistic width, so that the kernels meant for real models run."""
    return make_tiny_model(tmp_path_factory.mktemp("wide") / "wide-llama", hidden=1024, layers=8)


def compute_dtype() -> torch.dtype:
    short, _ = fast_16_bit("cuda")
    return {"bf16": torch.bfloat16, "fp16": torch.float16}[short or "bf16"]


@pytest.mark.parametrize("precision", ["bf16", "int8", "nf4"])
@pytest.mark.parametrize("width", ["tiny", "wide"])
def test_lora_trains_and_reloads(
    train: Callable[..., Run],
    tiny_model: Path,
    wide_model: Path,
    trained_logits: list[torch.Tensor],
    precision: str,
    width: str,
) -> None:
    base = tiny_model if width == "tiny" else wide_model
    run = train(
        model={"source": str(base), "precision": precision},
        training={"max_steps": 6, "learning_rate": 1e-2 if width == "tiny" else 1e-3},
        checkpoints=EVERY_STEP,
        machine=CUDA,
    )
    loaded = run.last(ModelLoaded)
    assert (loaded.device, loaded.precision) == ("cuda", precision)
    assert all((step.peak_memory_bytes or 0) > 0 for step in run.all(StepLogged))
    check_lora(run, base, precision, trained_logits[0], "cuda", compute_dtype())


@pytest.mark.parametrize("precision", ["bf16", "nf4"])
def test_a_quantised_base_is_smaller_and_resumes_on_the_card(
    train: Callable[..., Run], make_run: Callable[..., RunFolder], wide_model: Path, precision: str
) -> None:
    tables: dict[str, Any] = {
        "model": {"source": str(wide_model), "precision": precision},
        "tuning": {"dropout": 0.1},
        "training": {"max_steps": 6, "learning_rate": 1e-3},
        "machine": CUDA,
    }
    whole = train(**tables)
    resumed = stop_and_resume(make_run(**tables), 4)
    assert resumed.last(RunFinished).step == 6
    assert resumed.losses == pytest.approx(whole.losses, rel=2e-2)
    bytes_a_weight = whole.last(ModelLoaded).memory_bytes / whole.last(ModelLoaded).parameters
    assert bytes_a_weight < (0.75 if precision == "nf4" else 2.3)


def test_auto_takes_the_card_and_its_16_bit_type(train: Callable[..., Run], wide_model: Path) -> None:
    run = train(
        model={"source": str(wide_model), "precision": "auto"},
        machine={"device": "auto"},
        samples={"prompts": ["Why?"], "every_steps": 2, "budget_percent": 100, "max_new_tokens": 4},
        training={"max_steps": 60, "checkpointing": "on"},
        data={"evaluation_share": 0.25},
    )
    choices = {choice.name: choice.value for event in run.all(ChoicesMade) for choice in event.choices}
    assert choices["device"] == "cuda"
    assert choices["precision"] in ("bf16", "fp16")
    assert run.last(RunFinished).step == 60
    assert run.all(Sampled)


def test_full_tuning_in_fp32_computes_in_16_bit(train: Callable[..., Run], wide_model: Path) -> None:
    run = train(
        model={"source": str(wide_model), "precision": "auto"},
        full=True,
        training={"max_steps": 4, "learning_rate": 1e-4},
        machine=CUDA,
    )
    loaded = run.last(ModelLoaded)
    assert loaded.precision == "fp32"
    assert loaded.trainable_parameters == loaded.parameters
    assert (run.losses[-1] or 9) < (run.losses[0] or 0)
