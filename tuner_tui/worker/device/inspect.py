"""Reports for `doctor` as one JSON line what this PyTorch can do: builds, devices, a test of each precision."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.hardware.torch_report import PrecisionReport, TorchDevice, TorchReport

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


def main() -> int:
    """Print the report."""
    report = inspect()
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    return 0


def inspect() -> TorchReport:
    """Try everything that training needs; a failure is reported with its message."""
    import torch

    from tuner_tui.worker.device.machine import cpu_has_fast_bf16

    has_gpu = torch.cuda.is_available()
    device = "cuda" if has_gpu else "cpu"
    error = _tried(_import_bitsandbytes)
    return TorchReport(
        torch_version=str(torch.__version__),
        cuda_build=torch.version.cuda,
        rocm_build=torch.version.hip,
        arch_list=tuple(torch.cuda.get_arch_list()) if has_gpu else (),
        cuda_available=has_gpu,
        devices=tuple(_device(index) for index in range(torch.cuda.device_count() if has_gpu else 0)),
        cpu_bf16_fast=cpu_has_fast_bf16(),
        bitsandbytes=error or "ok",
        precisions={
            "fp32": _report(lambda: _train_linear(torch.float32, device)),
            "bf16": _report(
                lambda: _train_linear(torch.bfloat16, device),
                ""
                if has_gpu or cpu_has_fast_bf16()
                else "works, about ten times slower than fp32 on this CPU",
            ),
            "fp16": _report(lambda: _train_linear(torch.float16, device))
            if has_gpu
            else PrecisionReport(False, "needs a GPU"),
            "int8": PrecisionReport(False, error) if error else _report(lambda: _quantised("int8", device)),
            "nf4": PrecisionReport(False, error) if error else _report(lambda: _quantised("nf4", device)),
        },
        error=None,
    )


def _device(index: int) -> TorchDevice:
    import torch

    return TorchDevice(
        name=torch.cuda.get_device_name(index),
        capability=torch.cuda.get_device_capability(index),
        bf16=torch.cuda.get_device_capability(index) >= (8, 0),
    )


def _report(attempt: Callable[[], None], note: str = "") -> PrecisionReport:
    failure = _tried(attempt)
    return PrecisionReport(failure is None, failure or note)


def _tried(attempt: Callable[[], None]) -> str | None:
    """None when it worked, else the error in one line."""
    try:
        attempt()
    except Exception as error:  # whatever a driver or library raises is the result
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:200]
    return None


def _import_bitsandbytes() -> None:
    import bitsandbytes  # noqa: F401


def _train_linear(dtype: torch.dtype, device: str) -> None:
    import torch

    layer = torch.nn.Linear(64, 64, device=device, dtype=dtype)
    layer(torch.ones(8, 64, device=device, dtype=dtype)).float().sum().backward()


def _quantised(kind: str, device: str) -> None:
    import bitsandbytes as bnb
    import torch

    if kind == "int8":
        layer = bnb.nn.Linear8bitLt(64, 64, has_fp16_weights=False).to(device)
    else:
        layer = bnb.nn.Linear4bit(64, 64, quant_type="nf4", compress_statistics=True).to(device)
    inputs = torch.ones(8, 64, device=device, dtype=torch.float16 if device == "cuda" else torch.float32)
    inputs.requires_grad_(True)
    layer(inputs).float().sum().backward()
    if inputs.grad is None or not torch.isfinite(inputs.grad).all():
        raise RuntimeError("no finite gradient came back")
