"""The power that a run draws, from the energy counters of GPU and CPU; unknown where there are none."""

from __future__ import annotations

import time

from tuner_tui.hardware.gpu import GpuReader
from tuner_tui.hardware.system import rapl_counters
from tuner_tui.hardware.telemetry import EnergyMeter, gpu_in_use_by

EVERY_SECONDS = 2.0
"""Least interval between readings, so that their cost is negligible against the steps."""


class PowerMeter:
    """Adds up energy from its first reading to its last."""

    def __init__(self, pid: int, *, is_gpu: bool) -> None:
        self._pid = pid
        self._reader = GpuReader() if is_gpu else None
        self._meter = EnergyMeter()
        self._first = self._last = 0.0

    def look(self, *, is_last: bool = False) -> None:
        """Add the energy used since the last reading."""
        now = time.monotonic()
        if self._last and now - self._last < EVERY_SECONDS and not is_last:
            return
        if self._reader is not None:
            report = self._reader.read()
            gpu = gpu_in_use_by(report, [self._pid]) or (report.gpus[0] if len(report.gpus) == 1 else None)
            if gpu is not None:
                self._meter.add_gpu(gpu, now)
        self._meter.add_packages(rapl_counters())
        self._first, self._last = self._first or now, now

    @property
    def watts(self) -> float | None:
        """Mean power between the first reading and the last."""
        energy, seconds = self._meter.energy_wh, self._last - self._first
        return energy * 3600 / seconds if energy and seconds > 0 else None
