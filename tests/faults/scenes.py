"""One fault at one moment of a real run: it stands still there, something happens, and it is brought to its end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import sys
import termios
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.faults import moments
from tests.faults.home import Home, WatchedRun, wait_for
from tuner_tui.owned import MARK
from tuner_tui.runs import lock
from tuner_tui.runs.control import leave_request
from tuner_tui.runs.events import TERMINAL, Evaluated, Request, RunFailed, RunStarted, StepLogged
from tuner_tui.runs.status import LIVE
from tuner_tui.worker.training.checkpoints import OLD, STAGING, checkpoint_folders, why_corrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


STEPS = 12
REPOSITORY = Path(__file__).parents[2]
TABLES: dict[str, Any] = {
    "training": {
        "max_steps": STEPS,
        "batch_size": 4,
        "micro_batch": 2,
        "max_length": 64,
        "schedule": "cosine",
    },
    "evaluation": {"every_steps": 4},
    "checkpoints": {"every_steps": 3, "keep": 2},
    "samples": {"prompts": ["Who?"], "every_steps": 6, "max_new_tokens": 4, "budget_percent": 50},
}
"""Dropout, accumulation, an uneven last step in each epoch, evaluation between checkpoints, samples, rotation."""
At = tuple[str, int | None]


@dataclass(frozen=True)
class Result:
    """What two runs that are the same have in common."""

    steps: dict[int, tuple[float | None, float | None, float | None]]
    """(loss, gradient norm, learning rate) by step; of one that was made again, the later."""
    evaluations: dict[int, float | None]
    adapter: bytes

    @classmethod
    def of(cls, run: WatchedRun) -> Result:
        """What a run has made so far."""
        adapter = run.folder.adapter / "adapter_model.safetensors"
        return cls(
            {each.step: (each.loss, each.grad_norm, each.learning_rate) for each in run.all(StepLogged)},
            {each.step: each.loss for each in run.all(Evaluated)},
            adapter.read_bytes() if adapter.exists() else b"",
        )


@dataclass
class Scene:
    """A run that is to meet trouble, and what it must come to all the same."""

    home: Home
    undisturbed: Result
    tables: dict[str, Any] = field(default_factory=dict)
    stops: Sequence[At] = ()
    """The moments at which the worker stands still."""
    run: WatchedRun = field(init=False)
    endings: list[str] = field(default_factory=list)
    """How each attempt ended."""
    spoiled: set[str] = field(default_factory=set)
    """Checkpoints that the fault broke; later ones of that name are whole."""
    mends: list[Callable[[], object]] = field(default_factory=list)
    """What its person does before going on."""
    has_lost_events: bool = False
    """Whether the fault took events away, so that the steps they told of are not known."""

    def begin(self) -> None:
        """Start the run, and wait until it stands at the first moment."""
        self._write_stops()
        data = {"train": str(self.home.rows), "evaluation_share": 0.2}
        self.run = self.home.make_run("run", **({"data": data} | TABLES | self.tables))
        self.run.submit()
        if self.stops:
            self.at(0)

    def at(self, number: int) -> int:
        """Wait until the worker stands at a moment; its process id."""
        reached = self._moments / f"reached-{number}"
        wait_for(
            lambda: reached.exists() and reached.read_text(), f"the worker to come to {self.stops[number]}"
        )
        return int(reached.read_text())

    def go(self, number: int = 0, what: str = "") -> None:
        """Let the worker go on from a moment."""
        path = self._moments / f"go-{number}"
        path.with_suffix(".new").write_text(what)
        path.with_suffix(".new").rename(path)

    def worker(self) -> psutil.Process:
        """The process that stands at the first moment."""
        return psutil.Process(self.at(0))

    def ask(self, request: Request) -> None:
        """Leave a request for the worker."""
        leave_request(self.run.folder, request)

    def newest(self) -> Path:
        """The newest checkpoint."""
        return checkpoint_folders(self.run.folder.checkpoints)[-1]

    def bring_to_end(self) -> None:
        """Wait for the end, and resume until the run is finished; what is seen on the way must be right."""
        while True:
            self.wait_until_settled()
            self.endings.append(self.words())
            self.check()
            if self.endings[-1] == "finished":
                return
            assert len(self.endings) < 5, self.endings
            while self.mends:
                self.mends.pop()()
            before = {each.name for each in checkpoint_folders(self.run.folder.checkpoints)}
            self.run.submit(resume=True)
            self.spoiled &= before

    def wait_until_settled(self) -> None:
        """Wait until nothing works on the run any more."""
        wait_for(
            lambda: self.run.status() not in LIVE and not lock.is_held(self.run.folder.lock),
            "the run to end",
            every_seconds=0.05,
        )

    def words(self) -> str:
        """How the run stands, in words."""
        status = self.run.status()
        ending = self.run.events()[-1] if status == "failed" else None
        return f"failed ({ending.kind})" if isinstance(ending, RunFailed) else status

    def check(self) -> None:
        """What must hold whenever nothing works on the run."""
        check_so_far(self.run, self.undisturbed, self.spoiled)

    def check_end(self) -> None:
        """Nothing is lost, nothing is left."""
        now = Result.of(self.run)
        assert now.adapter == self.undisturbed.adapter != b""
        if not self.has_lost_events:
            assert now == self.undisturbed
        self.home.wait_until_idle()
        assert leftovers(self.run) == []

    @property
    def _moments(self) -> Path:
        return Path(os.environ[moments.FOLDER_VARIABLE])

    def _write_stops(self) -> None:
        (self._moments / "moments.json").write_text(json.dumps(self.stops))


def check_so_far(run: WatchedRun, undisturbed: Result, spoiled: Collection[str] = ()) -> None:
    """What a run has made is what an undisturbed one makes, its checkpoints are whole, and no attempt ended twice."""
    now = Result.of(run)
    assert now.steps.items() <= undisturbed.steps.items()
    assert now.evaluations.items() <= undisturbed.evaluations.items()
    for folder in checkpoint_folders(run.folder.checkpoints):
        assert folder.name in spoiled or why_corrupt(folder) is None, folder
    events = run.events()
    ends = [0]
    for event in events:
        if isinstance(event, RunStarted):
            ends.append(0)
        ends[-1] += isinstance(event, TERMINAL)
    assert max(ends) <= 1


def leftovers(run: WatchedRun) -> list[str]:
    """Names of what is half made or half deleted."""
    folder = run.folder
    return [
        each.name
        for parent in (folder.path, folder.checkpoints, folder.control)
        for each in parent.iterdir()
        if each.name.startswith((STAGING, OLD, ".")) and each.name != MARK
    ]


class OpenApp:
    """`tuner-tui` in a terminal of its own, whose screen is read and thrown away."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # whatever started these tests
            os.environ["TERM"] = "xterm-256color"
            os.execv(sys.executable, [sys.executable, "-m", "tuner_tui", *arguments])
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, b"\x18\x00\x50\x00\x00\x00\x00\x00")  # 24 x 80
        self.shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, words: bytes) -> None:
        """Wait until words were written to the screen."""
        wait_for(lambda: words in self.shown, f"{words!r} on the screen")

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._terminal, keys)

    def close_terminal(self) -> None:
        """What closing the window does: the terminal is gone, and its processes are hung up."""
        os.close(self._terminal)

    def send(self, number: signal.Signals) -> None:
        """A signal to the app."""
        os.kill(self.pid, number)

    def wait_until_gone(self) -> None:
        """Wait for its end."""
        wait_for(lambda: os.waitpid(self.pid, os.WNOHANG)[0], "the app to end")

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(self._terminal, 65536):
                self.shown += chunk


def stand_still(process: psutil.Process, seconds: float = 3.0) -> None:
    """SIGSTOP, and after some seconds SIGCONT."""
    process.suspend()
    time.sleep(seconds)
    process.resume()
