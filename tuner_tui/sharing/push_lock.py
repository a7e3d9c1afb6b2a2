"""One push of a run at a time: what is prepared for one must not be changed or removed by another."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.errors import RunProblem, TunerError
from tuner_tui.runs import lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.runs.folder import RunFolder

PATIENCE_SECONDS = 0.2


@contextlib.contextmanager
def only_push_of(run: RunFolder) -> Iterator[None]:
    """Keep other pushes of the run out. Raises RunProblem while there is one, TunerError where no lock can be made."""
    path = paths.cache_dir() / "pushes" / f"{run.name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock.acquire(path, PATIENCE_SECONDS)
    except OSError as error:
        raise TunerError("The push cannot be prepared", f"{path}: {error.strerror}.") from error
    if held is None:
        raise RunProblem(
            "This run is being pushed already",
            f"Another push of {run.name} is being prepared or sent on this machine.",
            "Wait for it to end, or cancel it there; then push again.",
        )
    try:
        yield
    finally:
        held.release()
