"""How much memory a run could use now: the first GPU's, or main memory without one."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tuner_tui.hardware.telemetry import first_visible_gpu

if TYPE_CHECKING:
    from tuner_tui.hardware.amd import AmdGpu
    from tuner_tui.hardware.gpu import GpuReport, GpuSnapshot
    from tuner_tui.hardware.system import SystemSnapshot

HOLDERS_UNKNOWN = "what uses the rest: unknown"


@dataclass(frozen=True)
class FreeMemory:
    """Free memory of the device that a run would train on."""

    is_gpu: bool
    where: str
    """The GPU's name, or "RAM"."""
    free_bytes: int | None
    total_bytes: int | None
    holders: tuple[tuple[str, int], ...] = ()
    """Programs that use memory on the GPU, the largest first."""
    note: str = ""
    """A remark, or what the system does not report; may be empty."""
    driver: str | None = None
    """The NVIDIA driver's version, for an NVIDIA GPU."""


def without_our_workers(free: FreeMemory, report: GpuReport | None) -> FreeMemory:
    """The memory that will be free for a waiting run once this app's own workers have ended."""
    import psutil

    workers = {
        process.pid: process
        for process in psutil.process_iter(["cmdline"])
        if _is_worker(process.info["cmdline"])
    }
    if free.free_bytes is None or not workers:
        return free
    if free.is_gpu:
        gpu = first_visible_gpu(report, os.environ.get("CUDA_VISIBLE_DEVICES")) if report else None
        worker_bytes = sum(
            process.memory_bytes or 0
            for process in (gpu.processes if gpu else None) or ()
            if process.pid in workers
        )
    else:
        worker_bytes = 0
        for worker in workers.values():
            with contextlib.suppress(psutil.Error):
                worker_bytes += worker.memory_info().rss
    return replace(free, free_bytes=free.free_bytes + worker_bytes)


def _is_worker(command: list[str] | None) -> bool:
    return command is not None and "tuner_tui.worker" in command


def choose_free_memory(
    report: GpuReport | None,
    system: SystemSnapshot,
    device: str = "auto",
    *,
    visible: str | None = None,
    amd: tuple[AmdGpu, ...] = (),
) -> FreeMemory:
    """The memory for a device setting (auto, cuda, cpu).

    `visible` is CUDA_VISIBLE_DEVICES; `amd` are the AMD GPUs if PyTorch is built for them.
    """
    ram = FreeMemory(False, "RAM", system.ram_available_bytes, system.ram_total_bytes)
    if device == "cpu" or report is None:
        return ram
    if not report.gpus:
        if amd:
            return FreeMemory(
                True, amd[0].name, amd[0].memory_free_bytes, amd[0].memory_total_bytes, note=HOLDERS_UNKNOWN
            )
        return replace(ram, note="the NVIDIA GPU does not respond: d on Home" if report.gpu_present else "")
    gpu = first_visible_gpu(report, visible)
    if gpu is None:
        return replace(ram, note="CUDA_VISIBLE_DEVICES hides the GPUs")
    if gpu.slices is not None:
        return _of_slice(gpu, visible)
    if gpu.shares_memory:
        note = "shared with the rest of the system"
        return FreeMemory(
            True, gpu.name or "GPU", system.ram_available_bytes, system.ram_total_bytes, note=note
        )
    process_sizes = [
        (process.name or f"process {process.pid}", process.memory_bytes) for process in gpu.processes or ()
    ]
    known = tuple((name, size) for name, size in process_sizes if size)
    is_all_known = gpu.processes is not None and len(known) == len(process_sizes)
    note = "" if is_all_known else HOLDERS_UNKNOWN
    return FreeMemory(
        True,
        gpu.name or "GPU",
        gpu.memory_free_bytes,
        gpu.memory_total_bytes,
        known,
        _with_others(note, report),
    )


def _with_others(note: str, report: GpuReport) -> str:
    others = len(report.gpus) - 1
    words = f"one of {others + 1} GPUs; a run uses one" if others else ""
    return "; ".join(part for part in (note, words) if part)


def _of_slice(gpu: GpuSnapshot, visible: str | None) -> FreeMemory:
    """The MIG slice that a run would see: the selected one, else the first."""
    name, parts = gpu.name or "GPU", gpu.slices or ()
    first = (visible or "").split(",")[0].strip()
    part = next(
        (part for part in parts if first.startswith("MIG-") and (part.uuid or "").startswith(first)), None
    )
    part = part or (parts[0] if parts else None)
    if part is None:
        return FreeMemory(True, name, None, None, note="split with MIG, but without a slice to run on")
    note = f"a MIG slice of {len(parts)}; {HOLDERS_UNKNOWN}"
    return FreeMemory(True, f"{name} (MIG)", part.memory_free_bytes, part.memory_total_bytes, note=note)


def read_free_memory(device: str = "auto", *, once_workers_end: bool = False) -> FreeMemory:
    """Ask the driver and the system once; `once_workers_end` counts what this app's workers use as free."""
    from tuner_tui.hardware.amd import read_amd_gpus, torch_is_for_amd
    from tuner_tui.hardware.gpu import read_gpus
    from tuner_tui.hardware.system import read_system
    from tuner_tui.versions import installed_version

    report = None if device == "cpu" else read_gpus()
    amd = read_amd_gpus() if report and torch_is_for_amd(installed_version("torch")) else ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    free = choose_free_memory(report, read_system(), device, visible=visible, amd=amd)
    if free.is_gpu and report is not None:
        free = replace(free, driver=report.driver_version)
    return without_our_workers(free, report) if once_workers_end else free
