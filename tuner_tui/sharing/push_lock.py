"""One push of a run at a time, so that none changes or removes another's files."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tuner_tui.errors import RunProblem, TunerError
from tuner_tui.runs import lock
from tuner_tui.runs.disk import LOCK_SUFFIX, owned_pushes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.runs.folder import RunFolder

PATIENCE_SECONDS = 0.2


@contextlib.contextmanager
def only_push_of(run: RunFolder) -> Iterator[None]:
    """Lock out other pushes of the run. Raises RunProblem during another push, TunerError without a lock."""
    path = owned_pushes().folder / f"{run.name}{LOCK_SUFFIX}"
    try:
        owned_pushes().claim()
        push_lock = lock.acquire(path, PATIENCE_SECONDS)
    except OSError as error:
        raise TunerError("The push cannot be prepared", f"{path}: {error.strerror}.") from error
    if push_lock is None:
        raise RunProblem(
            "This run is already being pushed",
            f"Another push of {run.name} is being prepared or sent on this machine.",
            "Wait for it to end, or cancel it there; then push again.",
        )
    try:
        yield
    finally:
        push_lock.release()
