"""What the keeper notices about the machine while a run trains, told once each as warnings of the run."""

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
"""Seconds for which a card must be slowed before it is worth a word."""
DISK_EVERY = 30
"""Looks between looks at the disk."""
ROOM_FOR_CHECKPOINTS = 1.2
"""Free space that counts as enough, in sizes of the last checkpoint."""
BYTES_PER_PARAMETER = 12
"""Of a checkpoint: a trained parameter and two states of its optimizer, all in fp32."""


class MachineGuard:
    """Looks at each sample and at the disk; gives what is to be told."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._awake = Wakefulness()
        self._slowed: dict[str, int] = {}
        self._told: set[str] = set()
        self._looks = 0

    def look(self, sample: TelemetrySample | None, state: RunState) -> list[Warned]:
        """What is new since the last look."""
        self._looks += 1
        found = [*self._slept()]
        if sample is not None:
            found += self._slowing(sample)
        if self._looks % DISK_EVERY == 1:
            found += self._disk(state)
        return found

    def close(self) -> None:
        """The run is over: the machine may sleep."""
        self._awake.close()

    def _slept(self) -> list[Warned]:
        slept = self._awake.seconds_slept()
        if not slept:
            return []
        return [
            Warned(
                message=f"The machine slept for {duration(slept)} while this run trained.",
                hint="Nothing is lost; turn sleep off for a run that is to go through the night.",
            )
        ]

    def _slowing(self, sample: TelemetrySample) -> list[Warned]:
        found = []
        reasons = sample.throttle_reasons or ()
        for reason in {*reasons, *self._slowed}:
            self._slowed[reason] = self._slowed.get(reason, 0) + 1 if reason in reasons else 0
            if self._slowed[reason] != HOT_SAMPLES or reason in self._told or reason not in SLOWING:
                continue
            self._told.add(reason)
            at = "" if sample.temperature_celsius is None else f" at {sample.temperature_celsius:.0f} °C"
            message, hint = SLOWING[reason]
            found.append(Warned(message=f"{message}{at}, and has been for half a minute.", hint=hint))
        return found

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
                message=f"The disk will not hold the next checkpoint: {size(free)} free, {size(needed)} needed.",
                hint="Free space now; training goes on without checkpoints until then.",
            )
        ]


def _checkpoint_bytes(state: RunState) -> int | None:
    """The size of the last checkpoint; before the first one at most what parameters and optimizer states can take."""
    sizes = [saved.size_bytes for saved in state.checkpoints.values()]
    if sizes:
        return sizes[-1]
    return None if state.model is None else BYTES_PER_PARAMETER * state.model.trainable_parameters


SLOWING = {
    "thermal": ("The card is slowed by its heat", "Better cooling, a lower power limit, or dust removed."),
    "power brake": ("The card is slowed by its power supply", "Look at the supply and its cables."),
    "power cap": (
        "The card is held at its power limit",
        "That is usual under load; `nvidia-smi -pl` changes it.",
    ),
}
"""By the driver's reason, in our names of hardware/gpu.py."""
