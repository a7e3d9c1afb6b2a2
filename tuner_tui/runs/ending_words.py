"""What a run that was asked to end has kept, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner_tui.runs.events import RunStopped


def kept_words(ending: RunStopped) -> str:
    """What of a run's work is saved, such as `saved as step-000120`."""
    lost = lost_steps(ending)
    steps = f"the last {lost} steps" if lost > 1 else "the last step"
    if ending.checkpoint is None:
        return f"nothing is saved, {steps} will be made again" if lost else "nothing was trained yet"
    if lost:
        return f"saved as {ending.checkpoint}, {steps} will be made again"
    return f"saved as {ending.checkpoint}"


def lost_steps(ending: RunStopped) -> int:
    """How many steps were made since the checkpoint that the run can go on from."""
    digits = (ending.checkpoint or "0").rpartition("-")[2]
    return max(0, ending.step - int(digits)) if digits.isdecimal() else 0
