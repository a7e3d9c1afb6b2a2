"""The machine in one line, and problems that would break a run on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.hardware.doctor import Check
    from tuner_tui.hardware.gpu import GpuReader, GpuReport, GpuSnapshot
    from tuner_tui.hardware.system import SystemReader, SystemSnapshot


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What Home shows of the machine."""

    line: str
    troubles: tuple[str, ...] = ()


def read_machine(gpus: GpuReader, system: SystemReader, troubles: tuple[str, ...]) -> Machine:
    """The machine now."""
    return Machine(line=hardware_line(gpus.read(), system.read()), troubles=troubles)


def read_troubles(gpus: GpuReader, data_folder: Path) -> tuple[str, ...]:
    """One line for each problem that would break a run, as far as known without torch; the worst first."""
    from tuner_tui.hardware.doctor import first_look

    checks = [
        check for check in first_look(gpus.read(), data_folder) if check.status in ("problem", "warning")
    ]
    return tuple(_trouble(check) for check in sorted(checks, key=lambda check: check.status != "problem"))


def settings_trouble() -> tuple[str, ...]:
    """The problem with the settings, and what is used meanwhile; empty without one."""
    from tuner_tui.config.settings import usable_settings

    problem = usable_settings()[1]
    if problem is None:
        return ()
    return (f"{problem.title}: {' '.join(problem.message.splitlines())} {problem.meanwhile}",)


def hardware_line(report: GpuReport, system: SystemSnapshot) -> str:
    """The first GPU with its memory and the processes using it, or the CPU and RAM."""
    ram = f"{_gigabytes(system.ram_available_bytes)} of {_gigabytes(system.ram_total_bytes)} GB RAM free"
    cores = f"{system.cpu_count} CPU cores"
    if not report.gpus:
        return f"{'GPU does not work' if report.gpu_present else 'No GPU'} · {cores} · {ram}"
    gpu = report.gpus[0]
    others = f" · and {len(report.gpus) - 1} more" if len(report.gpus) > 1 else ""
    return f"{gpu.name or 'GPU'} · {_memory(gpu)}{_holders(gpu)}{others} · {cores} · {ram}"


def _memory(gpu: GpuSnapshot) -> str:
    if gpu.shares_memory:
        return "shares the RAM"
    part = gpu.slices[0] if gpu.slices else gpu
    if part.memory_free_bytes is None or part.memory_total_bytes is None:
        return "memory unknown"
    of_slice = " in its first MIG slice" if gpu.slices else ""
    return f"{_gigabytes(part.memory_free_bytes)} of {_gigabytes(part.memory_total_bytes)} GB free{of_slice}"


def _holders(gpu: GpuSnapshot) -> str:
    """The two processes that use most memory."""
    if gpu.processes is None:
        used_bytes = gpu.memory_used_bytes
        return (
            f" · {_gigabytes(used_bytes)} GB in use by unknown processes"
            if used_bytes and used_bytes > 3 * 10**8
            else ""
        )
    large = [process for process in gpu.processes if process.memory_bytes and process.memory_bytes > 10**8]
    words = [
        f"{process.name or process.pid} {_gigabytes(process.memory_bytes or 0)} GB" for process in large[:2]
    ]
    return f" · used by {', '.join(words)}" if words else ""


def _trouble(check: Check) -> str:
    detail = f": {check.detail}" if check.detail and check.status == "warning" else ""
    return f"{check.name}: {check.value}{detail}"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f}"
