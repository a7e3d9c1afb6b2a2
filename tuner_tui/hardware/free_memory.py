"""How much memory a run could take right now: the first card's, or main memory without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner_tui.hardware.gpu import GpuReport
    from tuner_tui.hardware.system import SystemSnapshot


@dataclass(frozen=True)
class FreeMemory:
    """Free memory at one moment, of the place where a run would train."""

    is_gpu: bool
    where: str
    """The card's name, or "RAM"."""
    free_bytes: int | None
    total_bytes: int | None
    holders: tuple[tuple[str, int], ...] = ()
    """Programs that hold memory on the card, the largest first."""


def choose_free_memory(report: GpuReport | None, system: SystemSnapshot, device: str = "auto") -> FreeMemory:
    """The memory that counts for a device setting (auto, cuda, cpu)."""
    gpu = report.gpus[0] if report is not None and report.gpus and device != "cpu" else None
    if gpu is None:
        return FreeMemory(False, "RAM", system.ram_available_bytes, system.ram_total_bytes)
    held = [(each.name or f"process {each.pid}", each.memory_bytes) for each in gpu.processes or ()]
    return FreeMemory(
        True,
        gpu.name or "GPU",
        gpu.memory_free_bytes,
        gpu.memory_total_bytes,
        tuple((name, size) for name, size in held if size),
    )


def read_free_memory(device: str = "auto") -> FreeMemory:
    """Ask the driver and the system once."""
    from tuner_tui.hardware.gpu import read_gpus
    from tuner_tui.hardware.system import read_system

    return choose_free_memory(None if device == "cpu" else read_gpus(), read_system(), device)
