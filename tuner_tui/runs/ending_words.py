"""How a run ended, and what it has kept, in words."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tuner_tui.runs.events import RunFailed, RunFinished, RunStopped
from tuner_tui.text import duration, number, plain

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.state import RunState


def stopped_as_it_is(folder: RunFolder, state: RunState, *, is_pause: bool = False) -> RunStopped:
    """The ending of a run whose worker is gone without having saved: the newest checkpoint of its steps stands."""
    saved = [
        each.path
        for each in state.checkpoints.values()
        if each.step <= state.step and (folder.path / each.path).is_dir()
    ]
    newest = max(saved, key=_step_in, default=None)
    return RunStopped(
        step=state.step,
        checkpoint=newest.rpartition("/")[2] if newest else None,
        seconds=max(0.0, time.time() - state.worker.at) if state.worker else 0.0,
        is_pause=is_pause,
    )


def ending_words(event: RunFinished | RunStopped | RunFailed) -> str:
    """How a run ended, in one or a few lines."""
    match event:
        case RunFinished():
            why = " (early stopping)" if event.reason == "early_stopping" else ""
            return (
                f"finished at step {event.step}{why} in {duration(event.seconds)}, loss {number(event.loss)}"
            )
        case RunStopped():
            how = "paused" if event.is_pause else "stopped"
            return f"{how} at step {event.step}; {plain(kept_words(event))}"
        case RunFailed():
            lines = [f"failed: {plain(event.title)}"]
            lines += [f"  {plain(part)}" for part in (event.message, event.hint) if part]
            return "\n".join(lines)


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
    return max(0, ending.step - _step_in(ending.checkpoint or ""))


def _step_in(checkpoint: str) -> int:
    digits = checkpoint.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0
