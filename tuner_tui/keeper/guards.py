"""Watches the machine while a run trains; each problem becomes one warning in the run's events."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tuner_tui.hardware.sleep import Wakefulness
from tuner_tui.runs.events import Warned
from tuner_tui.text import duration, size

if TYPE_CHECKING:
    from tuner_tui.hardware.telemetry import TelemetrySample
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.state import RunState

HOT_SAMPLES = 30
"""Seconds of GPU throttling before a warning."""
DISK_EVERY = 30
"""Checks between two checks of the disk."""
ROOM_FOR_CHECKPOINTS = 1.2
"""Free space that is enough, in sizes of the last checkpoint."""
BYTES_PER_PARAMETER = 12
"""Checkpoint bytes per trained parameter: the parameter and two optimizer states in fp32."""


class MachineGuard:
    """Checks each sample and the disk, and returns new warnings."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._awake = Wakefulness()
        self._slowed: dict[str, int] = {}
        self._told: set[str] = set()
        self._looks = 0

    def look(self, sample: TelemetrySample | None, state: RunState) -> list[Warned]:
        """The warnings since the last check."""
        self._looks += 1
        warnings = [*self._slept()]
        if sample is not None:
            warnings += self._slowing(sample)
        if self._looks % DISK_EVERY == 1:
            warnings += self._disk(state)
        return warnings

    def close(self) -> None:
        """Allow the machine to sleep again."""
        self._awake.close()

    def _slept(self) -> list[Warned]:
        slept = self._awake.seconds_slept()
        if not slept:
            return []
        return [
            Warned(
                message=f"The machine slept for {duration(slept)} while this run trained.",
                hint="Nothing is lost; disable sleep for long runs.",
            )
        ]

    def _slowing(self, sample: TelemetrySample) -> list[Warned]:
        warnings = []
        reasons = sample.throttle_reasons or ()
        for reason in {*reasons, *self._slowed}:
            self._slowed[reason] = self._slowed.get(reason, 0) + 1 if reason in reasons else 0
            if self._slowed[reason] != HOT_SAMPLES or reason in self._told or reason not in SLOWING:
                continue
            self._told.add(reason)
            at = "" if sample.temperature_celsius is None else f" at {sample.temperature_celsius:.0f} °C"
            message, hint = SLOWING[reason]
            warnings.append(Warned(message=f"{message}{at} for more than half a minute.", hint=hint))
        return warnings

    def _disk(self, state: RunState) -> list[Warned]:
        needed = _checkpoint_bytes(state)
        if needed is None:
            return []
        free = shutil.disk_usage(self.folder.path).free
        if free >= ROOM_FOR_CHECKPOINTS * needed:
            self._told.discard("disk")
            return []
        if "disk" in self._told:
            return []
        self._told.add("disk")
        return [
            Warned(
                message=f"The next checkpoint does not fit on the disk: {size(free)} free, {size(needed)} needed.",
                hint="Free disk space; until then training continues without checkpoints.",
            )
        ]


def _checkpoint_bytes(state: RunState) -> int | None:
    """The size of the last checkpoint; before the first one at most what parameters and optimizer states can take."""
    sizes = [saved.size_bytes for saved in state.checkpoints.values()]
    if sizes:
        return sizes[-1]
    return None if state.model is None else BYTES_PER_PARAMETER * state.model.trainable_parameters


SLOWING = {
    "thermal": (
        "The GPU is throttled by heat",
        "Improve cooling, lower the power limit, or remove dust.",
    ),
    "power brake": ("The GPU is throttled by its power supply", "Check the power supply and its cables."),
    "power cap": (
        "The GPU is at its power limit",
        "That is usual under load; `nvidia-smi -pl` changes it.",
    ),
}
"""Warning and hint by throttle reason (see hardware/gpu.py)."""
