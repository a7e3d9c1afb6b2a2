"""How a run ended: the texts of a notification, and the environment of the user's command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.runs.events import RunFailed
from tuner_tui.runs.status import LIVE, Status, read_run
from tuner_tui.text import duration, number, plain

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder

WORTH_TELLING: tuple[Status, ...] = ("finished", "failed", "interrupted")
"""Statuses that the user did not request."""


@dataclass(frozen=True)
class Outcome:
    """One ended attempt; None for what is unknown."""

    name: str
    status: Status
    folder: str
    step: int
    total_steps: int
    loss: float | None
    seconds: float | None
    """From the run's first start to its end, without pauses."""
    adapter: str | None
    title: str = ""
    """Title of the failure, if it failed."""
    message: str = ""

    @property
    def is_good(self) -> bool:
        return self.status not in ("failed", "interrupted")

    @property
    def headline(self) -> str:
        """For example `octopus finished`."""
        return f"{plain(self.name)} {self.status}"

    @property
    def details(self) -> str:
        """One line with steps, loss and time, or the failure."""
        if self.title:
            return plain(f"{self.title}. {self.message}".strip())
        steps = f"{self.step} of {self.total_steps} steps" if self.total_steps else "nothing was trained"
        loss = f", loss {number(self.loss)}" if self.loss is not None else ""
        took = f" in {duration(self.seconds)}" if self.seconds is not None else ""
        return f"{steps}{took}{loss}"

    def variables(self) -> dict[str, str]:
        """The environment of `notify.on_finish`; what is unknown is empty."""
        return {
            "TUNER_RUN": plain(self.name),
            "TUNER_STATUS": self.status,
            "TUNER_FOLDER": self.folder,
            "TUNER_STEP": str(self.step),
            "TUNER_TOTAL_STEPS": str(self.total_steps),
            "TUNER_LOSS": "" if self.loss is None else f"{self.loss:.6g}",
            "TUNER_SECONDS": "" if self.seconds is None else f"{self.seconds:.0f}",
            "TUNER_ADAPTER": self.adapter or "",
            "TUNER_TITLE": plain(self.title),
            "TUNER_MESSAGE": plain(self.message),
        }


def read_outcome(folder: RunFolder) -> Outcome | None:
    """How a run's last attempt ended; None for a run that never started or is live."""
    run = read_run(folder)
    state, ending = run.state, run.state.ending
    if not state.attempt or run.status in LIVE:
        return None
    return Outcome(
        name=folder.name,
        status=run.status,
        folder=str(folder.path),
        step=state.step,
        total_steps=state.total_steps,
        loss=state.last_step.loss if state.last_step else None,
        seconds=state.active_seconds if ending is not None and state.started_at is not None else None,
        adapter=str(folder.adapter) if folder.adapter.is_dir() else None,
        title=ending.title if isinstance(ending, RunFailed) else "",
        message=ending.message if isinstance(ending, RunFailed) else "",
    )
