"""A card whose driver puts what does not fit into system memory (WSL2, Windows): far slower, and no error tells of it.

It counts as memory that ran out. It is seen by use beyond the card's own memory, or, where the driver does this and the
card is nearly full, by steps that suddenly take several times as long for each token.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from typing import TYPE_CHECKING

import torch
from transformers import TrainerCallback

from tuner_tui.hardware.system import platform_kind
from tuner_tui.text import size

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

USUAL_OF = 20
"""Steps whose median is the usual time of a token."""
USUAL_FROM = 5
CLIFF_TIMES = 4.0
CLIFF_STEPS = 3
"""So many steps in a row must be slow: one alone may have waited for something else."""
NEARLY_FULL = 0.9
"""Of the card's memory; the rest is other programs' and the driver's own."""


class SystemMemoryFallback(MemoryError):
    """What the run holds no longer fits onto the card."""


class SystemMemoryFallbackWatch:
    """Takes each step's figures and says when memory has spilled."""

    def __init__(self, gpu_bytes: int, *, can_fall_back: bool) -> None:
        """`can_fall_back` is whether this system's driver puts memory elsewhere rather than refusing it."""
        self._gpu_bytes = gpu_bytes
        self._can_fall_back = can_fall_back
        self._usual: deque[float] = deque(maxlen=USUAL_OF)
        self._slow = 0

    def look(self, reserved_bytes: int, seconds: float, tokens: int) -> str:
        """Why memory has spilled, with figures; empty when it has not. `tokens` are those of the step, 0 if unknown."""
        if reserved_bytes > self._gpu_bytes:
            return f"the run holds {size(reserved_bytes)} on a card of {size(self._gpu_bytes)}"
        each = seconds / max(1, tokens)
        usual = statistics.median(self._usual) if len(self._usual) >= USUAL_FROM else None
        if usual is None or each < CLIFF_TIMES * usual:
            self._slow = 0
            self._usual.append(each)
            return ""
        self._slow += 1
        is_full = reserved_bytes >= NEARLY_FULL * self._gpu_bytes
        if not self._can_fall_back or not is_full or self._slow < CLIFF_STEPS:
            return ""
        return f"steps take {each / usual:.1f} times as long as before, with {size(reserved_bytes)} held on the card"


class SystemMemoryFallbackGuard(TrainerCallback):
    """Ends the attempt as memory that ran out does, so that the ladder is climbed. For runs on a card."""

    def __init__(self) -> None:
        gpu_bytes = torch.cuda.mem_get_info()[1]
        self._watch = SystemMemoryFallbackWatch(
            gpu_bytes, can_fall_back=platform_kind() in ("wsl2", "windows")
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
        """Look at a step that is over: reading its loss has waited for the card. Raises SystemMemoryFallback."""
        if not logs or "loss" not in logs:
            return
        tokens = logs.get("num_tokens", 0.0)
        seconds = time.perf_counter() - self._began
        reason = self._watch.look(torch.cuda.memory_reserved(), seconds, int(tokens - self._tokens))
        self._tokens = tokens
        if reason:
            raise SystemMemoryFallback(f"Memory spilled into system memory: {reason}")
