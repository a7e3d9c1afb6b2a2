"""Texts about how a run ended and what is saved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tuner_tui.runs.events import RunFailed, RunFinished, RunStopped
from tuner_tui.text import duration, number, plain

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.state import RunState


def stopped_as_it_is(folder: RunFolder, state: RunState, *, is_pause: bool = False) -> RunStopped:
    """The ending of a run whose worker exited without saving; it names the newest checkpoint of its steps."""
    saved = [
        saved.path
        for saved in state.checkpoints.values()
        if saved.step <= state.step and (folder.path / saved.path).is_dir()
    ]
    newest = max(saved, key=_step_in, default=None)
    return RunStopped(
        step=state.step,
        checkpoint=newest.rpartition("/")[2] if newest else None,
        seconds=max(0.0, time.time() - state.worker.at) if state.worker else 0.0,
        is_pause=is_pause,
    )


def ending_words(event: RunFinished | RunStopped | RunFailed, attempt: int = 1) -> str:
    """How a run ended, in one or a few lines; the event's time is that of its last attempt."""
    match event:
        case RunFinished():
            why = " (early stopping)" if event.reason == "early_stopping" else ""
            took = f"{duration(event.seconds)}{' since it was resumed' if attempt > 1 else ''}"
            return f"finished at step {event.step}{why} in {took}, loss {number(event.loss)}"
        case RunStopped():
            action = "paused" if event.is_pause else "stopped"
            return f"{action} at step {event.step}; {plain(saved_words(event))}"
        case RunFailed():
            lines = [f"failed: {plain(event.title)}"]
            lines += [f"  {plain(part)}" for part in (event.message, event.hint) if part]
            return "\n".join(lines)


def saved_words(ending: RunStopped) -> str:
    """What a stopped run has saved, such as `saved as step-000120`."""
    lost = lost_steps(ending)
    steps = f"the last {lost} steps" if lost > 1 else "the last step"
    if ending.checkpoint is None:
        return f"nothing is saved, {steps} will be repeated" if lost else "no step was made yet"
    if lost:
        return f"saved as {ending.checkpoint}, {steps} will be repeated"
    return f"saved as {ending.checkpoint}"


def lost_steps(ending: RunStopped) -> int:
    """How many steps were made since the checkpoint that the run can be resumed from."""
    return max(0, ending.step - _step_in(ending.checkpoint or ""))


def _step_in(checkpoint: str) -> int:
    digits = checkpoint.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0
