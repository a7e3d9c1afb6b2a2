"""Turns an exception into the run's last event."""

from __future__ import annotations

from tuner_tui.errors import TunerError
from tuner_tui.runs.events import FailureKind, RunFailed


def explain(error: BaseException, step: int | None) -> RunFailed:
    """The terminal event for an exception that ended an attempt; the traceback is in the log."""
    if isinstance(error, TunerError):
        kind: FailureKind = "not_finite" if type(error).__name__ == "NotFinite" else "error"
        return RunFailed(kind=kind, title=error.title, message=error.message, hint=error.hint, step=step)
    if _is_out_of_memory(error):
        return RunFailed(
            kind="out_of_memory",
            title="Out of memory",
            message=_first_line(error),
            hint="Use a smaller training.micro_batch or training.max_length, a lower model.precision (nf4), "
            'or training.checkpointing = "on"; then resume or start again.',
            step=step,
        )
    if isinstance(error, OSError) and error.errno == 28:
        return RunFailed(
            kind="error",
            title="The disk is full",
            message=str(error),
            hint="Free space, then resume.",
            step=step,
        )
    return RunFailed(
        kind="crash",
        title=f"The worker failed: {type(error).__name__}",
        message=_first_line(error),
        hint="The traceback is in the run's worker.log.",
        step=step,
    )


def _is_out_of_memory(error: BaseException) -> bool:
    from tuner_tui.worker.model.loading import is_out_of_memory

    return is_out_of_memory(error)


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "")[:500]
