"""How much memory a run could take right now: the first card's, or main memory without one."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
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


def without_our_workers(free: FreeMemory, report: GpuReport | None) -> FreeMemory:
    """The memory that is free once this app's own workers have ended, which a waiting run will find."""
    import psutil

    ours = {each.pid: each for each in psutil.process_iter(["cmdline"]) if _is_worker(each.info["cmdline"])}
    if free.free_bytes is None or not ours:
        return free
    if free.is_gpu and report is not None and report.gpus:
        held = sum(each.memory_bytes or 0 for each in report.gpus[0].processes or () if each.pid in ours)
    elif free.is_gpu:
        held = 0
    else:
        held = 0
        for worker in ours.values():
            with contextlib.suppress(psutil.Error):
                held += worker.memory_info().rss
    return replace(free, free_bytes=free.free_bytes + held)


def _is_worker(command: list[str] | None) -> bool:
    return command is not None and "tuner_tui.worker" in command


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


def read_free_memory(device: str = "auto", *, once_workers_end: bool = False) -> FreeMemory:
    """Ask the driver and the system once; `once_workers_end` counts what this app's workers hold as free."""
    from tuner_tui.hardware.gpu import read_gpus
    from tuner_tui.hardware.system import read_system

    report = None if device == "cpu" else read_gpus()
    free = choose_free_memory(report, read_system(), device)
    return without_our_workers(free, report) if once_workers_end else free
