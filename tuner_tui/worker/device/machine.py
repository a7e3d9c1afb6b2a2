"""Chooses device and dtypes by asking the libraries, and records the reason for each choice."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.errors import TunerError
from tuner_tui.planning.plan import Choice
from tuner_tui.planning.precision import KEPT_FP32, Arithmetic, LoadedPrecision, ShortType, resolve_precision
from tuner_tui.runs.events import ChoicesMade, ChosenMachine

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec


@dataclass(frozen=True)
class Machine:
    """The resolved device, the dtype in which the base is loaded, and the compute dtype."""

    device: Literal["cuda", "cpu"]
    precision: LoadedPrecision
    compute_dtype: torch.dtype
    """Dtype of unquantised weights, and compute dtype of quantised layers."""
    autocast: ShortType | None
    """Autocast dtype of the training loop."""
    choices: ChoicesMade
    """The choices with their reasons, for the run's events."""

    @property
    def is_gpu(self) -> bool:
        return self.device == "cuda"


def choose_machine(spec: RunSpec) -> Machine:
    """Resolve device, precision and compute dtype. Raises TunerError when the requested one is not available."""
    device, device_reason = _choose_device(spec)
    short, short_reason = fast_16_bit(device)
    is_full = not tuning_traits(spec.tuning.kind).is_adapter
    setting = spec.model.precision
    precision = resolve_precision(setting, short, trains_base=is_full)
    reason = "as set" if setting != "auto" else KEPT_FP32 if is_full else short_reason
    if precision == "fp16" and device == "cpu":
        raise TunerError("fp16 does not train on a CPU", "", 'Set model.precision to "fp32" or "auto".')
    autocast = _choose_autocast(precision, short, is_full)
    compute_dtype = _choose_dtype(precision, short)
    names: dict[torch.dtype, Arithmetic] = {
        torch.float32: "fp32",
        torch.bfloat16: "bf16",
        torch.float16: "fp16",
    }
    arithmetic = autocast or names[compute_dtype]
    is_as_loaded = not autocast and precision in ("fp32", "bf16", "fp16")
    arithmetic_reason = "same as the precision" if is_as_loaded else short_reason
    return Machine(
        device,
        precision,
        compute_dtype,
        autocast,
        ChoicesMade(
            choices=(
                Choice(name="device", value=device, reason=device_reason),
                Choice(name="precision", value=precision, reason=reason),
                Choice(
                    name="arithmetic",
                    value=f"{arithmetic} (mixed)" if autocast else arithmetic,
                    reason=arithmetic_reason,
                ),
            ),
            machine=ChosenMachine(
                device=device,
                device_name=device_reason if device == "cuda" else "",
                precision=precision,
                arithmetic=arithmetic,
                is_mixed=autocast is not None,
            ),
        ),
    )


def fast_16_bit(device: str) -> tuple[ShortType | None, str]:
    """The 16-bit type this device is fast at, or None, and why."""
    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "this GPU computes bf16 natively"
        return "fp16", "this GPU has no bf16"
    if cpu_has_fast_bf16():
        return "bf16", "this CPU computes bf16 natively (AVX512-BF16 or AMX)"
    return None, "this CPU has no fast bf16, which would be about ten times slower than fp32"


def inference_dtype(device: str) -> torch.dtype:
    """The dtype in which a full-precision base answers: a GPU's fast 16-bit type; on a CPU fp32, the exact one."""
    return (
        _choose_dtype("fp32", None)
        if device == "cpu"
        else _choose_dtype(fast_16_bit(device)[0] or "fp32", None)
    )


def cpu_has_fast_bf16() -> bool:
    """Whether oneDNN computes bf16 natively on this CPU, as the library itself reports."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False


def _choose_device(spec: RunSpec) -> tuple[Literal["cuda", "cpu"], str]:
    wanted = spec.machine.device
    if wanted == "cpu":
        return "cpu", "as set"
    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name(0)
    built = "is a CPU build" if torch.version.cuda is None else "finds no working GPU"
    if wanted == "cuda":
        raise TunerError(
            "No GPU to train on", f"PyTorch {torch.__version__} {built}.", "See: tuner-tui doctor"
        )
    return "cpu", f"PyTorch {built}"


def _choose_autocast(precision: LoadedPrecision, short: ShortType | None, is_full: bool) -> ShortType | None:
    """Mixed precision where 16-bit arithmetic is fast. With an adapter, an explicit fp32 means fp32 throughout."""
    if precision == "fp16":
        return "fp16"
    if precision == "bf16":
        return None if is_full else "bf16"
    if precision == "fp32" and not is_full:
        return None
    return short


def _choose_dtype(precision: LoadedPrecision, short: ShortType | None) -> torch.dtype:
    by_name = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision in ("int8", "nf4"):
        return by_name[short or "fp32"]
    return by_name[precision]


def set_threads() -> None:
    """Use the number of threads that the environment sets."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit():
        torch.set_num_threads(int(threads))
