"""Detects the driver's system-memory fallback (WSL2, Windows): allocations move to system memory without an error.

Training then is far slower, so it is treated as an out-of-memory error. Two signs: more is reserved than the GPU has;
or, where the driver can fall back and the GPU is nearly full, the time per token is several times the usual.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from typing import TYPE_CHECKING

import psutil
import torch
from transformers import TrainerCallback

from tuner_tui.hardware.gpu import read_gpus
from tuner_tui.hardware.system import platform_kind
from tuner_tui.hardware.telemetry import first_visible_gpu
from tuner_tui.text import size

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

USUAL_OF = 20
"""Number of steps whose median is the usual time per token."""
USUAL_FROM = 5
CLIFF_TIMES = 4.0
CLIFF_STEPS = 3
"""Number of consecutive slow steps required: a single one may have another cause."""
NEARLY_FULL = 0.9
"""Share of the GPU's memory; the rest belongs to other programs and the driver."""


class SystemMemoryFallback(MemoryError):
    """The run's memory no longer fits on the GPU."""


class SystemMemoryFallbackWatch:
    """Detects the fallback from each step's memory and time."""

    def __init__(self, gpu_bytes: int, *, can_fall_back: bool) -> None:
        """`can_fall_back`: whether this system's driver moves allocations to system memory instead of refusing them."""
        self._gpu_bytes = gpu_bytes
        self._can_fall_back = can_fall_back
        self._usual: deque[float] = deque(maxlen=USUAL_OF)
        self._slow = 0

    def look(self, reserved_bytes: int, seconds: float, tokens: int) -> str:
        """The sign of a fallback, with figures; empty if there is none. `tokens`: of this step, 0 if unknown."""
        if reserved_bytes > self._gpu_bytes:
            return f"{size(reserved_bytes)} are reserved on a GPU of {size(self._gpu_bytes)}"
        token_seconds = seconds / max(1, tokens)
        usual = statistics.median(self._usual) if len(self._usual) >= USUAL_FROM else None
        if usual is None or token_seconds < CLIFF_TIMES * usual:
            self._slow = 0
            self._usual.append(token_seconds)
            return ""
        self._slow += 1
        is_full = reserved_bytes >= NEARLY_FULL * self._gpu_bytes
        if not self._can_fall_back or not is_full or self._slow < CLIFF_STEPS:
            return ""
        slowdown = token_seconds / usual
        return f"steps take {slowdown:.1f} times as long as before, with {size(reserved_bytes)} reserved on the GPU"


def _memory_bytes() -> int:
    """The memory of the GPU; the system's, where both are one, of which a driver may report only a part."""
    total = int(torch.cuda.mem_get_info()[1])
    gpu = first_visible_gpu(read_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    return max(total, psutil.virtual_memory().total) if gpu is not None and gpu.shares_memory else total


class SystemMemoryFallbackGuard(TrainerCallback):
    """Treats the fallback as an out-of-memory error, so that the next OOM fallback step is taken. For runs on a GPU."""

    def __init__(self) -> None:
        self._watch = SystemMemoryFallbackWatch(
            _memory_bytes(), can_fall_back=platform_kind() in ("wsl2", "windows")
        )
        self._began = 0.0
        self._tokens = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._began = time.perf_counter()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Check the finished step: reading its loss has synchronised with the GPU. Raises SystemMemoryFallback."""
        if not logs or "loss" not in logs:
            return
        tokens = logs.get("num_tokens", 0.0)
        seconds = time.perf_counter() - self._began
        reason = self._watch.look(torch.cuda.memory_reserved(), seconds, int(tokens - self._tokens))
        self._tokens = tokens
        if reason:
            raise SystemMemoryFallback(f"The driver fell back to system memory: {reason}")
