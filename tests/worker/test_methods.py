"""Each preference method at each precision: trains, saves, and is loaded again by bare PEFT to the very same model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from peft import PeftModel
from transformers import AutoTokenizer

from tests.worker.preferences import METHODS, rows_for
from tests.worker.test_precisions import EVERY_STEP, load_bare, logits_of, tensors_of, trained_logits
from tuner_tui.runs.events import DataPrepared, ModelLoaded, RunFinished, StepLogged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

__all__ = ["trained_logits"]


@pytest.mark.parametrize("precision", ["fp32", "int8", "nf4"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_saves_and_reloads(
    train: Callable[..., Run],
    tiny_model: Path,
    trained_logits: list[torch.Tensor],
    method: str,
    precision: str,
) -> None:
    run = train(
        rows_for(method),
        method={"kind": method},
        model={"precision": precision},
        training={"max_steps": 2},
        checkpoints=EVERY_STEP,
    )
    assert run.last(RunFinished).step == 2, run.events[-1]
    assert run.last(ModelLoaded).precision == precision
    assert run.last(DataPrepared).rows == (16 if method == "kto" else 8)
    assert all(step.tokens > 0 and step.metrics for step in run.all(StepLogged))
    check_reload(run, tiny_model, precision, method, trained_logits[0])


def check_reload(
    run: Run,
    base: Path,
    precision: str,
    method: str,
    expected: torch.Tensor,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
) -> None:
    """Every adapter weight was trained in fp32, and bare PEFT on the bare base computes the same."""
    adapter = tensors_of(run.folder.adapter / "adapter_model.safetensors")
    early = tensors_of(run.folder.checkpoints / "step-000001" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in adapter.values()} == {torch.float32}
    assert not [name for name in adapter if torch.equal(adapter[name], early[name])]
    bare = load_bare(base, precision, device, dtype, has_head=method == "reward")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tuned = logits_of(PeftModel.from_pretrained(bare, str(run.folder.adapter)), tokenizer)
    assert tuned.shape == expected.shape
    assert (tuned - expected).abs().max() == 0
