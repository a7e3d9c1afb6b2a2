"""A data folder of a test's own, with real keepers and workers in it that can be found and killed."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from tuner_tui.config.spec import RunSpec
from tuner_tui.keeper import start
from tuner_tui.models.source import find_source
from tuner_tui.planning.plan import make_plan
from tuner_tui.runs import lock
from tuner_tui.runs.create import create_run
from tuner_tui.runs.events import (
    TERMINAL,
    Event,
    EventBase,
    RunStarted,
    StepLogged,
    WorkerStarted,
    decode_lines,
)
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.status import RunFollower, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Kind = TypeVar("Kind", bound=EventBase)
T = TypeVar("T")
PATIENCE_SECONDS = 90.0
"""Far more than anything here takes; a loaded machine starts PyTorch slowly."""


def wait_for(condition: Callable[[], T], what: str, every_seconds: float = 0.01) -> T:
    """The condition's first true value; fails when none comes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(every_seconds)
    return value


@dataclass(frozen=True)
class WatchedRun:
    """A run and questions about it, all answered from its folder."""

    folder: RunFolder

    def events(self) -> list[Event]:
        return decode_lines(self.folder.events.read_bytes())

    def all(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events() if isinstance(event, kind)]

    def endings(self) -> list[Event]:
        return [event for event in self.events() if isinstance(event, TERMINAL)]

    def ending(self) -> Event:
        """The last event, which must be a terminal one."""
        last = self.events()[-1]
        assert isinstance(last, TERMINAL), last
        return last

    def losses(self) -> dict[int, float | None]:
        """The loss at each step; of a step that was made again, the later one."""
        return {event.step: event.loss for event in self.all(StepLogged)}

    def status(self) -> Status:
        return RunFollower(self.folder).poll()

    def wait_for_event(self, kind: type[Kind], fits: Callable[[Kind], bool] = lambda _: True) -> Kind:
        """The last attempt's first event of a kind that fits; looked for every millisecond."""

        def look() -> Kind | None:
            events = self.events()
            started = max(
                (place for place, event in enumerate(events) if isinstance(event, RunStarted)), default=0
            )
            return next(
                (event for event in events[started:] if isinstance(event, kind) and fits(event)), None
            )

        return wait_for(look, f"{kind.__name__} of {self.folder.name}", every_seconds=0.001)  # type: ignore[return-value]

    def submit(self, *, resume: bool = False) -> None:
        """Hand the run to the keeper, and wait until its attempt has begun."""
        before = len(self.all(RunStarted))
        start.submit(self.folder, resume=resume)
        wait_for(lambda: len(self.all(RunStarted)) > before, f"{self.folder.name} to start")

    def wait_until_free(self) -> None:
        wait_for(lambda: not lock.is_held(self.folder.lock), f"{self.folder.name} to let go of its lock")

    def wait_for_end(self) -> Event:
        """Wait until the attempt has its terminal event and the lock is free."""
        wait_for(lambda: isinstance(self.events()[-1], TERMINAL), f"{self.folder.name} to end")
        self.wait_until_free()
        return self.ending()

    def wait_for_step(self, step: int) -> None:
        self.wait_for_event(StepLogged, lambda event: event.step >= step)

    def worker_pid(self) -> int:
        return self.wait_for_event(WorkerStarted).pid


class Home:
    """What lies below TUNER_TUI_HOME, and the processes that work in it."""

    def __init__(self, path: Path, model: Path) -> None:
        self.path = path
        self.model = model
        self.rows = path / "rows.jsonl"
        path.mkdir()
        self._contents = [
            {"question": f"What is {n} and one?", "answer": f"It is {n + 1}."} for n in range(24)
        ]
        self._write_rows()

    def change_row(self, number: int, row: dict[str, str]) -> None:
        """Put another row in the place of one, counted from 0, for runs to come."""
        self._contents[number] = row
        self._write_rows()

    def _write_rows(self) -> None:
        self.rows.write_text("".join(json.dumps(row) + "\n" for row in self._contents))

    def make_run(
        self, name: str, max_steps: int = 100_000, save_every: int = 20, **tables: Any
    ) -> WatchedRun:
        """A run of an fp32 LoRA; by default one that goes on until it is ended."""
        spec = RunSpec.model_validate(
            {
                "name": name,
                "model": {"source": str(self.model), "precision": "fp32"},
                "data": {"train": str(self.rows)},
                "tuning": {"kind": "lora", "rank": 4, "alpha": 8.0, "dropout": 0.1},
                "training": {"max_steps": max_steps, "batch_size": 4, "max_length": 64},
                "checkpoints": {"every_steps": save_every},
                "machine": {"device": "cpu", "threads": 1},
                **tables,
            }
        )
        return WatchedRun(create_run(spec, make_plan(spec, find_source(spec.model.source))))

    def make_hopeless_run(self, name: str) -> WatchedRun:
        """A run that fails at once, which shows that it was started."""
        run = self.make_run(name)
        run.folder.spec.write_text("[model]\nsource = 3\n")
        return run

    def processes(self, module: str = "") -> list[psutil.Process]:
        """Processes of this home; of one module, when it is named."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get("TUNER_TUI_HOME") == str(self.path)
                if is_ours and process.pid != os.getpid() and (not module or module in process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def keeper(self) -> psutil.Process:
        """The one keeper there is."""

        def look() -> psutil.Process | None:
            keepers = self.processes("tuner_tui.keeper")
            return (
                keepers[0] if len(keepers) == 1 and lock.is_held(self.path / "data" / "keeper.lock") else None
            )

        return wait_for(look, "one keeper")  # type: ignore[return-value]

    def wait_until_idle(self) -> None:
        """Wait until the keeper has left and nothing runs."""
        wait_for(lambda: not self.processes(), f"all processes to leave: {self.processes()}")

    def end_all(self) -> None:
        """Kill whatever is left."""
        while left := self.processes():
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself
                    process.kill()
            psutil.wait_procs(left, timeout=10)


def kill(*pids: int) -> None:
    """SIGKILL, one right after the other; when this returns they are gone."""
    processes = [psutil.Process(pid) for pid in pids]
    for process in processes:
        process.kill()
    wait_for(lambda: not any(map(is_alive, processes)), "the killed to be gone")


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that nobody has waited for yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
