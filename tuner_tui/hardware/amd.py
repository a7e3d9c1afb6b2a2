"""AMD GPUs as reported by Linux's amdgpu driver, without ROCm's libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tuner_tui.hardware.system import ROOT

if TYPE_CHECKING:
    from pathlib import Path

AMD = "0x1002"
AMD_UNNAMED = "AMD GPU"
"""A GPU for which the driver reports no name."""


class AmdGpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU; `None` is what the driver does not report."""

    name: str
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None

    @property
    def memory_free_bytes(self) -> int | None:
        """Memory that is not in use."""
        if self.memory_total_bytes is None or self.memory_used_bytes is None:
            return None
        return max(0, self.memory_total_bytes - self.memory_used_bytes)


def read_amd_gpus(root: Path = ROOT) -> tuple[AmdGpu, ...]:
    """The GPUs that amdgpu drives, the one with the most memory first (a discrete GPU before an integrated one)."""
    gpus = []
    for device in sorted((root / "sys/class/drm").glob("card[0-9]*/device")):
        if _text(device / "vendor") != AMD:
            continue
        gpu = AmdGpu(
            name=_text(device / "product_name") or AMD_UNNAMED,
            memory_total_bytes=_number(device / "mem_info_vram_total"),
            memory_used_bytes=_number(device / "mem_info_vram_used"),
        )
        if gpu not in gpus:  # connectors link to the same device
            gpus.append(gpu)
    return tuple(sorted(gpus, key=lambda gpu: -(gpu.memory_total_bytes or 0)))


def torch_is_for_amd(torch_version: str | None) -> bool:
    """Whether PyTorch's build is ROCm's, by its version such as 2.13.0+rocm6.4."""
    return "+rocm" in (torch_version or "")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and text.isdecimal() else None
