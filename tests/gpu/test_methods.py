"""Each preference method on a CUDA card: asked for by `-m gpu`, skipped where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.gpu.test_precisions import CUDA, compute_dtype, wide_model
from tests.worker.conftest import home, make_run, train
from tests.worker.preferences import METHODS, rows_for
from tests.worker.test_methods import check_reload
from tests.worker.test_precisions import EVERY_STEP, trained_logits
from tuner_tui.runs.events import ModelLoaded, RunFinished, StepLogged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

__all__ = ["home", "make_run", "train", "trained_logits", "wide_model"]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["bf16", "nf4"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_saves_and_reloads(
    train: Callable[..., Run],
    wide_model: Path,
    trained_logits: list[torch.Tensor],
    method: str,
    precision: str,
) -> None:
    run = train(
        rows_for(method),
        method={"kind": method},
        model={"source": str(wide_model), "precision": precision},
        training={"max_steps": 2, "learning_rate": 1e-3, "checkpointing": "on"},
        checkpoints=EVERY_STEP,
        machine=CUDA,
    )
    assert run.last(RunFinished).step == 2, run.events[-1]
    assert run.last(ModelLoaded).device == "cuda"
    assert all((step.peak_memory_bytes or 0) > 0 and step.metrics for step in run.all(StepLogged))
    check_reload(run, wide_model, precision, method, trained_logits[0], "cuda", compute_dtype())


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_the_reference_is_the_adapter_that_it_starts_from(
    train: Callable[..., Run], wide_model: Path, method: str
) -> None:
    tables = {"model": {"source": str(wide_model), "precision": "nf4"}, "machine": CUDA}
    sft = train(training={"max_steps": 2, "learning_rate": 1e-3}, **tables)
    tables["model"]["adapter"] = sft.folder.name
    run = train(rows_for(method), method={"kind": method}, training={"max_steps": 2}, **tables)
    first = run.all(StepLogged)[0].metrics
    assert first["rewards/chosen"] == pytest.approx(0, abs=1e-3)
    assert first["rewards/rejected"] == pytest.approx(0, abs=1e-3)
