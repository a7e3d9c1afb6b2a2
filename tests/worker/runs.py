"""A run made in a test, what it said, and how to stop it at a step."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tuner_tui.runs.events import Event, EventBase, RunStopped, StepLogged, decode_lines
from tuner_tui.runs.folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Kind = TypeVar("Kind", bound=EventBase)
QUESTIONS = (
    ("What is up?", "The sky is."),
    ("Who goes there?", "A friend."),
    ("How many?", "Eleven of them."),
    ("Why?", "Because."),
    ("Where is it?", "Under the old stairs, I think."),
    ("When?", "At noon."),
    ("Which one?", "The second from the left."),
    ("Whose?", "Mine."),
)


@dataclass(frozen=True)
class Run:
    """A run that was made, and what it said."""

    folder: RunFolder
    exit_code: int

    @property
    def events(self) -> list[Event]:
        return decode_lines(self.folder.events.read_bytes())

    def all(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    def last(self, kind: type[Kind]) -> Kind:
        found = self.all(kind)
        assert found, (
            f"no {kind.__name__} in {[type(event).__name__ for event in self.events]}\n{self.events[-1]}"
        )
        return found[-1]

    @property
    def losses(self) -> list[float | None]:
        return [event.loss for event in self.all(StepLogged)]


def write_rows(path: Path, rows: Sequence[dict[str, Any]] | None = None) -> Path:
    """A JSONL file; by default eight questions and answers."""
    if rows is None:
        rows = [{"question": question, "answer": answer} for question, answer in QUESTIONS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class StopAfter(threading.Event):
    """Asks to stop once a step has been logged: the run ends with the step after it."""

    def __init__(self, folder: RunFolder, step: int) -> None:
        super().__init__()
        self._folder, self._step = folder, step

    def is_set(self) -> bool:
        return any(loss is not None for loss in Run(self._folder, 0).losses[self._step - 1 :])


def stop_and_resume(folder: RunFolder, step: int) -> Run:
    """Stop at a step, or at the epoch's end just before it, and go on from there."""
    from tuner_tui.worker.train import run_job

    run_job(folder.path, stop=StopAfter(folder, step - 1))
    assert Run(folder, 0).last(RunStopped).step in (step - 1, step)
    return Run(folder, run_job(folder.path, is_resumed=True))
