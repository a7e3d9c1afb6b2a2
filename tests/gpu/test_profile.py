"""A profile on a CUDA card: its parts are the steps' time, and the kernels are all accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.gpu.test_precisions import CUDA, wide_model
from tests.worker.conftest import home, make_run
from tests.worker.test_profiled_steps import ROWS, Seen, profile_of, seen
from tuner_tui.profiling.profile import PARTS
from tuner_tui.runs.profiles import ProfileOrder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder

__all__ = ["home", "make_run", "seen", "wide_model"]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["bf16", "nf4"])
def test_parts_are_the_steps_time(
    make_run: Callable[..., RunFolder], wide_model: Path, seen: Seen, precision: str
) -> None:
    folder = make_run(
        ROWS,
        model={"source": str(wide_model), "precision": precision},
        training={"max_steps": 1000, "epochs": 900.0, "batch_size": 4, "micro_batch": 2},
        machine=CUDA,
    )
    result = profile_of(folder, ProfileOrder(warm_up=4, measured=4, plain=3))
    wall = 1000 * sum(step.seconds for step in seen.profiler.measured) / 4
    assert result.settings.is_gpu and result.ms(*PARTS) == pytest.approx(wall, rel=0.05)
    on_gpu = sum(
        average.self_device_time_total for average in seen.averages if not average.is_user_annotation
    )
    computed = result.ms("forward", "head", "backward", "optimizer")
    assert 0 < computed <= 1.05 * on_gpu / 4000
    assert result.ms("forward") > 0 and result.ms("backward") > 0 and result.head_backward_ms > 0
    assert {operator.part for operator in result.operators} >= {"forward", "backward"}
    assert result.room.micro_batches == {4: True} and len(result.matrix_speeds) == 2
