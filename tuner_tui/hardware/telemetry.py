"""One line of telemetry per second for a run: GPU, CPU, memory and the energy used so far."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from tuner_tui.files import last_lines
from tuner_tui.hardware.gpu import GpuReader, GpuReport, GpuSnapshot
from tuner_tui.hardware.system import (
    ROOT,
    RaplCounter,
    SystemReader,
    has_child_lists,
    in_container,
    platform_kind,
    process_tree,
    rapl_counters,
    tree_memory_bytes,
)

JOULES_PER_WH = 3600.0
SCAN_EVERY = 5
"""Samples between listings of a run's processes, if that needs a scan of all processes."""


class TelemetrySample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sample of a run on this machine; None if unknown."""

    at: float
    """Unix seconds."""
    gpu_percent: float | None = None
    gpu_memory_used_bytes: int | None = None
    """Of the whole GPU."""
    gpu_memory_run_bytes: int | None = None
    gpu_memory_others_bytes: int | None = None
    gpu_memory_free_bytes: int | None = None
    gpu_memory_total_bytes: int | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    fan_percent: float | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    throttle_reasons: tuple[str, ...] | None = None
    cpu_percent: float | None = None
    run_cpu_percent: float | None = None
    """On the same scale as `cpu_percent`: 100 is all the machine's cores."""
    ram_available_bytes: int | None = None
    ram_total_bytes: int | None = None
    run_ram_bytes: int | None = None
    energy_wh: float | None = None
    energy_source: str | None = None


class EnergyMeter:
    """Adds up energy, from counters if available, else from power over time."""

    def __init__(self, energy_wh_before: float = 0.0) -> None:
        self._joules = 0.0
        self._before = energy_wh_before
        self._sources: dict[str, None] = {}
        self._gpu_index: int | None = None
        self._gpu_counter: int | None = None
        self._gpu_power: tuple[float, float] | None = None
        self._packages: dict[str, RaplCounter] = {}

    @property
    def energy_wh(self) -> float | None:
        """Energy so far, or `None` if nothing measures it."""
        if not self._sources:
            return self._before or None
        return self._before + self._joules / JOULES_PER_WH

    @property
    def source(self) -> str | None:
        """The source of the figure: "gpu counter", "gpu power", "cpu package", joined with "+"."""
        return "+".join(self._sources) or None

    def add_gpu(self, gpu: GpuSnapshot, now: float) -> None:
        """Add the GPU's energy since the last sample."""
        if gpu.index != self._gpu_index:
            self._gpu_index, self._gpu_counter, self._gpu_power = gpu.index, None, None
        counter, before = gpu.energy_millijoules, self._gpu_counter
        by_power = self._power_joules(gpu.power_watts, now)
        if counter is not None and before is not None and counter >= before:
            self._add("gpu counter", (counter - before) / 1000)
        elif counter is not None and before is None and by_power is None:
            self._add("gpu counter", 0.0)
        elif by_power is not None:
            self._add("gpu power", by_power)
        elif counter is None and gpu.power_watts is not None:
            self._add("gpu power", 0.0)
        self._gpu_counter = counter

    def add_packages(self, packages: dict[str, RaplCounter]) -> None:
        """Add the processor packages' energy since the last reading."""
        for name, package in packages.items():
            before = self._packages.get(name, package)
            used = package.microjoules - before.microjoules
            if used < 0:  # the counter wrapped, or restarted if its range is unknown
                used = max(0, used + (package.wraps_at_microjoules or 0))
            self._add("cpu package", used / 1e6)
        self._packages = packages

    def _power_joules(self, watts: float | None, now: float) -> float | None:
        """Mean of this and the last power reading times the seconds between them."""
        before, self._gpu_power = self._gpu_power, None if watts is None else (now, watts)
        if before is None or watts is None:
            return None
        return (watts + before[1]) / 2 * (now - before[0])

    def _add(self, source: str, joules: float) -> None:
        self._sources[source] = None
        self._joules += joules


class TelemetrySampler:
    """Measures one run: the process given and its children, and the GPU they use."""

    def __init__(
        self,
        pid: int,
        gpu_index: int | None = None,
        energy_wh_before: float = 0.0,
        *,
        reader: GpuReader | None = None,
        root: Path = ROOT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without `gpu_index`, samples the GPU that the run uses, else the first visible one."""
        self._pid = pid
        self._gpu_index = gpu_index
        self._reader = reader or GpuReader(root=root)
        self._system = SystemReader(root)
        self._meter = EnergyMeter(energy_wh_before)
        self._root = root
        self._clock = clock
        self._driver_sees_our_pids = not in_container(root) and platform_kind(root) != "wsl2"
        self._pids: list[int] = []
        self._samples = 0
        self._cpu_seconds: dict[int, float] | None = None
        self._cpu_at = 0.0

    def sample(self) -> TelemetrySample:
        """Take a sample."""
        now = self._clock()
        self._pids = self._run_processes()
        self._samples += 1
        gpu = self._gpu_in_use(self._reader.read())
        system = self._system.read()
        if gpu is not None:
            self._meter.add_gpu(gpu, now)
        self._meter.add_packages(rapl_counters(self._root))
        base = TelemetrySample(
            at=round(time.time(), 3),
            cpu_percent=_rounded(system.cpu_percent),
            run_cpu_percent=_rounded(self._run_cpu_percent(now, system.cpu_count_machine)),
            ram_available_bytes=system.ram_available_bytes,
            ram_total_bytes=system.ram_total_bytes,
            run_ram_bytes=tree_memory_bytes(self._pids),
            energy_wh=_rounded(self._meter.energy_wh, 5),
            energy_source=self._meter.source,
        )
        return base if gpu is None else self._with_gpu(base, gpu)

    def close(self) -> None:
        """Close NVML."""
        self._reader.close()

    def _with_gpu(self, base: TelemetrySample, gpu: GpuSnapshot) -> TelemetrySample:
        run_bytes = memory_of(gpu, self._pids, self._driver_sees_our_pids)
        others = None
        if run_bytes is not None and gpu.memory_used_bytes is not None:
            others = max(0, gpu.memory_used_bytes - run_bytes)
        return msgspec.structs.replace(
            base,
            gpu_percent=gpu.utilisation_percent,
            gpu_memory_used_bytes=gpu.memory_used_bytes,
            gpu_memory_run_bytes=run_bytes,
            gpu_memory_others_bytes=others,
            gpu_memory_free_bytes=None if gpu.shares_memory else gpu.memory_free_bytes,
            gpu_memory_total_bytes=None if gpu.shares_memory else gpu.memory_total_bytes,
            temperature_celsius=gpu.temperature_celsius,
            power_watts=gpu.power_watts,
            fan_percent=gpu.fan_percent,
            sm_clock_mhz=gpu.sm_clock_mhz,
            memory_clock_mhz=gpu.memory_clock_mhz,
            throttle_reasons=gpu.throttle_reasons,
        )

    def _gpu_in_use(self, report: GpuReport) -> GpuSnapshot | None:
        if self._gpu_index is not None:
            return next((gpu for gpu in report.gpus if gpu.index == self._gpu_index), None)
        holding = gpu_in_use_by(report, self._pids)
        if holding is not None:
            self._gpu_index = holding.index
            return holding
        return first_visible_gpu(report, os.environ.get("CUDA_VISIBLE_DEVICES"))

    def _run_processes(self) -> list[int]:
        """The run's processes; if listing them is expensive, the list is reused for a few samples."""
        if self._samples % SCAN_EVERY == 0 or not self._pids or has_child_lists(self._root):
            return process_tree(self._pid, self._root)
        return self._pids

    def _run_cpu_percent(self, now: float, cores: int | None) -> float | None:
        """Processor time of the run since the last sample, as a share of all cores."""
        seconds = _cpu_seconds(self._pids)
        before, before_at = self._cpu_seconds, self._cpu_at
        self._cpu_seconds, self._cpu_at = seconds, now
        if before is None or not seconds or not cores or now <= before_at:
            return None
        used = sum(max(0.0, total - before.get(pid, 0.0)) for pid, total in seconds.items())
        return 100 * used / (now - before_at) / cores


def memory_of(gpu: GpuSnapshot, pids: Collection[int], driver_sees_our_pids: bool = True) -> int | None:
    """Memory of these processes on a GPU; unknown if the driver does not report it or uses other process IDs."""
    if gpu.processes is None:
        return None
    used = [process.memory_bytes for process in gpu.processes if process.pid in pids]
    if not used:
        return 0 if driver_sees_our_pids else None
    known = [memory for memory in used if memory is not None]
    return sum(known) if len(known) == len(used) else None


def gpu_in_use_by(report: GpuReport, pids: Collection[int]) -> GpuSnapshot | None:
    """The GPU on which these processes use memory."""
    for gpu in report.gpus:
        if any(process.pid in pids for process in gpu.processes or ()):
            return gpu
    return None


def first_visible_gpu(report: GpuReport, visible_devices: str | None) -> GpuSnapshot | None:
    """The first GPU that CUDA_VISIBLE_DEVICES lets a run see: an index, a UUID, a MIG slice's, or nothing at all."""
    if visible_devices is None:
        return report.gpus[0] if report.gpus else None
    first = visible_devices.split(",")[0].strip()
    for gpu in report.gpus:
        if first == str(gpu.index) or (first.startswith("GPU-") and (gpu.uuid or "").startswith(first)):
            return gpu
        if first.startswith("MIG-") and any((part.uuid or "").startswith(first) for part in gpu.slices or ()):
            return gpu
    return None


def _cpu_seconds(pids: list[int]) -> dict[int, float]:
    import psutil

    seconds: dict[int, float] = {}
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        seconds[pid] = times.user + times.system
    return seconds


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def last_sample(path: Path) -> TelemetrySample | None:
    """The last complete sample in a run's telemetry, or None."""
    for line in reversed(last_lines(path, 3, within_bytes=16 * 1024)):
        try:
            return msgspec.json.decode(line, type=TelemetrySample)
        except (ValueError, RecursionError):
            continue
    return None
