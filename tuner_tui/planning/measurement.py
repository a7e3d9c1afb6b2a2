"""Measurements of runs and probes on this machine, and which of them apply to a device and its libraries."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from tuner_tui.hardware.amd import AMD_UNNAMED

_AMD = re.compile(r"\b(?:AMD|Radeon|Instinct|gfx\d)", re.IGNORECASE)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The memory and speed of one run or probe."""

    at: float
    """Unix time."""
    device_name: str
    driver: str | None = None
    versions: dict[str, str]
    """Of torch, transformers, TRL, PEFT and bitsandbytes."""
    is_gpu: bool
    model_name: str
    method: str
    tuning: str
    loaded_as: str = msgspec.field(name="held")
    is_checkpointing: bool
    micro_batch: int
    length: int
    """Tokens of the longest row."""
    predicted_bytes: int
    """The memory that the estimate predicted, for the same rows."""
    allocated_bytes: int
    """torch's peak on a GPU; growth of the process's resident memory on a CPU."""
    reserved_bytes: int | None = None
    context_bytes: int | None = None
    """On a GPU what the driver shows beyond torch's reserve; on a CPU the process before the model."""
    steps: int
    seconds_per_step: float | None = None
    tokens_per_second: float | None = None
    watts: float | None = None
    """Mean power of GPU and CPU, as far as their counters show it."""

    @property
    def ratio(self) -> float:
        """Measured divided by predicted memory."""
        return self.allocated_bytes / max(self.predicted_bytes, 1)


def matching(
    measured: Sequence[Measured], device: str | None, versions: dict[str, str], driver: str | None = None
) -> tuple[Measured, ...]:
    """Measurements of the same GPU (None: this CPU), driver and library versions, the newest first.

    An unknown driver (None) counts as the same.
    """
    applicable = [
        measurement
        for measurement in measured
        if (
            is_same_device(measurement.device_name, device) and measurement.is_gpu
            if device is not None
            else not measurement.is_gpu
        )
        and (driver is None or measurement.driver in (None, driver))
        and all(versions.get(name) == version for name, version in measurement.versions.items())
    ]
    return tuple(sorted(applicable, key=lambda measurement: -measurement.at))


def is_same_device(one: str, other: str) -> bool:
    """Whether two names may be of one GPU, as PyTorch and the driver or the system write them.

    PyTorch names a MIG slice by its size, the driver does not; amdgpu often reports only a generic name.
    """
    if AMD_UNNAMED in (one, other):
        return all(_AMD.search(name) for name in (one, other))
    return _device_key(one) == _device_key(other)


def _device_key(name: str) -> tuple[str, bool]:
    plain, mig, _ = name.replace("(MIG)", "MIG").partition(" MIG")
    return " ".join(plain.removeprefix("NVIDIA ").lower().split()), bool(mig)
