"""The precision of answers is decided by what a device computes natively, not by what it emulates."""

from __future__ import annotations

import pytest
import torch

from tuner_tui.worker.device.machine import fast_16_bit, inference_dtype


@pytest.mark.parametrize(("is_native", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_emulated_bf16_does_not_count(
    monkeypatch: pytest.MonkeyPatch, is_native: bool, dtype: torch.dtype
) -> None:
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return including_emulation or is_native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert inference_dtype("cuda") == dtype
    assert (fast_16_bit("cuda")[0] == "bf16") == is_native


def test_a_cpu_answers_in_fp32() -> None:
    assert inference_dtype("cpu") == torch.float32
