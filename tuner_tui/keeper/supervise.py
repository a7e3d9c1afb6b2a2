"""Keeping one run: start its worker or adopt it, sample telemetry while it lives, and say how it ended."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.files import last_lines, open_log
from tuner_tui.guarded import Unreadable
from tuner_tui.hardware.system import usable_cpu_count
from tuner_tui.hardware.telemetry import TelemetrySampler, last_sample
from tuner_tui.keeper import process
from tuner_tui.keeper.guards import MachineGuard
from tuner_tui.keeper.log import say, say_trouble
from tuner_tui.keeper.obstacle import foreign_holder
from tuner_tui.keeper.pulse import Pulse
from tuner_tui.planning.plan import read_plan
from tuner_tui.runs import lock
from tuner_tui.runs.control import clear_requests, is_to_end_now
from tuner_tui.runs.ending_words import stopped_as_it_is
from tuner_tui.runs.events import PROTOCOL, RunFailed, RunStarted, RunStopped
from tuner_tui.runs.folder import RunFolder, is_run
from tuner_tui.runs.journal import append_event
from tuner_tui.runs.status import RunFollower, read_run
from tuner_tui.text import shell_command
from tuner_tui.versions import library_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tuner_tui.hardware.telemetry import TelemetrySample
    from tuner_tui.runs.state import RunState

TICK_SECONDS = 1.0
LOG_TAIL_LINES = 20
LEAVING_SECONDS = 60.0
"""How long a worker may take to leave after its terminal event."""


class Telemetry:
    """Appends one sample a second to the run's telemetry; a failure to measure or to write never harms the run."""

    def __init__(self, folder: RunFolder, pid: int) -> None:
        self.locate: Callable[[], RunFolder] = lambda: folder
        """Where the run's folder is by now."""
        self._sampler: TelemetrySampler | None = None
        self._problems: set[str] = set()
        with self._harmless():
            self._sampler = TelemetrySampler(pid, energy_wh_before=_energy_so_far(folder))

    def tick(self) -> TelemetrySample | None:
        """Take and write one sample."""
        if self._sampler is None:
            return None
        sample = None
        with self._harmless():
            sample = self._sampler.sample()
            with open_log(self.locate().telemetry) as file:
                file.write(msgspec.json.encode(sample) + b"\n")
        return sample

    def close(self) -> None:
        """Let go of the card's driver."""
        if self._sampler is not None:
            with self._harmless():
                self._sampler.close()

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """A driver, a full disk, a folder that is gone: whatever fails is told once in the keeper's log."""
        try:
            yield
        except Exception as error:
            if str(error) not in self._problems:
                self._problems.add(str(error))
                say_trouble()


class Watch:
    """Looks at one live run again and again: its events, the machine, and where its folder is by now."""

    def __init__(self, folder: RunFolder, held: lock.FileLock, pulse: Pulse) -> None:
        self.folder = folder
        self._held, self._pulse = held, pulse
        self._follower = RunFollower(folder)
        self._guard = MachineGuard(folder)
        self._telemetry: Telemetry | None = None

    @property
    def state(self) -> RunState:
        return self._follower.state

    def tick(self, pid: int | None = None) -> None:
        """One look; `pid` is the worker's, where it is known. Raises Replaced, and nothing else."""
        self._pulse.beat()
        try:
            self.folder = self._locate()
            if self.folder != self._follower.folder:
                say(f"{self._follower.folder.path} is {self.folder.path} now")
                self._follower = RunFollower(self.folder)
            self._follower.poll()
            pid = pid or (self.state.worker.pid if self.state.worker else None)
            if pid is not None:
                self._telemetry = self._telemetry or Telemetry(self.folder, pid)
                self._telemetry.locate = self._locate
                sample = self._telemetry.tick()
                self._guard.folder = self.folder
                self._follow_lock(pid)
                for warning in self._guard.look(sample, self.state):
                    if self.state.ending is None:  # nothing follows an ending
                        append_event(self._locate().events, warning)
        except Exception:  # a look that fails, or cannot be written down, never harms the run
            say_trouble()

    def _follow_lock(self, pid: int) -> None:
        """A worker makes the lock file again when that is deleted; from then on its new one leads to the folder."""
        if not self._held.is_at(self.folder.lock) and process.is_worker_alive(pid, self.folder.path):
            with contextlib.suppress(FileNotFoundError):  # not yet
                self._held.reopen(self.folder.lock)

    def _locate(self) -> RunFolder:
        """Asked right before each write, so that another folder with the old name is given nothing."""
        return located(self.folder, self._held)

    def close(self) -> None:
        """Let go of the card's driver, and let the machine sleep."""
        self._guard.close()
        if self._telemetry is not None:
            self._telemetry.close()


def located(folder: RunFolder, held: lock.FileLock) -> RunFolder:
    """A run's folder where it is now, found through its open lock: it may have been renamed, or moved."""
    if held.is_at(folder.lock):
        return folder
    path = held.path()
    return folder if path is None or not is_run(path.parent) else RunFolder(path.parent)


def start(
    folder: RunFolder, held: lock.FileLock, *, is_resumed: bool, pulse: Pulse | None = None
) -> subprocess.Popen[bytes] | None:
    """Begin an attempt and start its worker; None when that failed, which then is how the attempt ended.

    Raises OSError when the run's folder cannot be written.
    """
    begun = RunStarted(protocol=PROTOCOL, versions=library_versions(), is_resumed=is_resumed)
    append_event(located(folder, held).events, begun)
    try:
        return _start_worker(folder, held, is_resumed=is_resumed)
    except OSError as error:
        (pulse or Pulse()).end(located(folder, held), _unstartable(error))
        return None


def _start_worker(folder: RunFolder, held: lock.FileLock, *, is_resumed: bool) -> subprocess.Popen[bytes]:
    """Start a worker in the run's folder, also when that is renamed just now. Raises OSError."""
    threads = _threads(located(folder, held))
    try:
        return process.start_worker(located(folder, held), held, threads, is_resumed=is_resumed)
    except FileNotFoundError:
        return process.start_worker(located(folder, held), held, threads, is_resumed=is_resumed)


def keep(
    folder: RunFolder, worker: subprocess.Popen[bytes], held: lock.FileLock, pulse: Pulse | None = None
) -> RunFolder:
    """Wait for the run's worker and for those that follow it, and write the terminal event if none did.

    Gives the run's folder, which may have another name by then. Raises Replaced.
    """
    pulse = pulse or Pulse()
    while True:
        folder, was_oom = _wait(folder, worker, held, pulse)
        if is_to_end_now(folder):
            pulse.end(located(folder, held), _stopped_now(folder))
            return folder
        outcome = _outcome(folder, was_killed_for_memory=was_oom)
        if outcome is not True:
            break
        try:
            worker = _start_worker(folder, held, is_resumed=True)
            folder = located(folder, held)
        except OSError as error:
            outcome = _unstartable(error)
            break
    if isinstance(outcome, bool):
        outcome = explain_exit(worker.returncode, _log_tail(folder.log), was_killed_for_memory=was_oom)
    folder = located(folder, held)
    pulse.end(folder, outcome)
    return folder


def _take_again(folder: RunFolder, held: lock.FileLock) -> None:
    """Hold a run's lock after its worker has left, also where that one had to make it anew."""
    if not is_run(folder.path):  # it was deleted
        return
    try:
        is_ours = held.take(1.0) if held.is_at(folder.lock) else held.take_anew(folder.lock)
    except OSError as error:
        say(f"{folder.name}: its lock cannot be taken: {error}")
        return
    if not is_ours:
        say(f"{folder.name}: another program holds its lock")


def _unstartable(error: OSError) -> RunFailed:
    return RunFailed(kind="crash", title="The worker cannot be started", message=str(error))


def _stopped_now(folder: RunFolder) -> RunStopped:
    """The ending of a run whose worker was ended at once because its person asked for that."""
    clear_requests(folder)
    return stopped_as_it_is(folder, read_run(folder).state)


def _outcome(folder: RunFolder, *, was_killed_for_memory: bool) -> RunStopped | RunFailed | bool:
    """What follows on a worker that is gone, as restart.prepare_restart says it."""
    from tuner_tui.keeper.restart import prepare_restart

    try:
        return prepare_restart(folder, was_killed_for_memory=was_killed_for_memory)
    except OSError as error:  # the plan cannot be written
        return RunFailed(
            kind="out_of_memory",
            title="The run could not be started again",
            message=str(error),
            hint=f"Free disk space, then: {shell_command('runs resume', folder.name)}",
        )


def _wait(
    folder: RunFolder, worker: subprocess.Popen[bytes], held: lock.FileLock, pulse: Pulse
) -> tuple[RunFolder, bool]:
    """Wait for one worker; where its folder is then, and whether the system killed it for memory."""
    before = process.system_oom_kills()
    watch = Watch(folder, held, pulse)
    try:
        while not _has_left(worker):
            watch.tick(worker.pid)
            ending = watch.state.ending
            if ending is None and is_to_end_now(watch.folder):
                process.end_group(worker.pid)
            if ending is not None and time.time() - ending.at > LEAVING_SECONDS:
                process.end_group(worker.pid)  # it said its last word and hangs: others wait for the card
    finally:
        watch.close()
    process.end_group(worker.pid)
    was_oom = worker.returncode == -signal.SIGKILL and process.system_oom_kills() > before
    folder = located(watch.folder, held)
    _take_again(folder, held)
    return folder, was_oom


def _has_left(worker: subprocess.Popen[bytes]) -> bool:
    """Whether a worker has gone, waiting a moment for that."""
    try:
        worker.wait(TICK_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def adopt_and_keep(folder: RunFolder, pulse: Pulse | None = None) -> RunFolder:
    """Wait for a worker whose keeper died. Nobody can learn its exit code then, and a failure says so.

    Gives the run's folder, which may have another name by then. Raises Replaced.
    """
    pulse = pulse or Pulse()
    try:
        held = lock.open_lock(folder.lock)
    except OSError as error:  # the run was deleted, or its lock was spoilt
        say(f"{folder.name}: {error}")
        return folder
    try:
        folder, is_ours = _wait_for_adopted(folder, held, pulse)
        outcome = (
            _stopped_now(folder) if is_to_end_now(folder) else _outcome(folder, was_killed_for_memory=False)
        )
        if outcome is True and is_ours:
            worker = _start_worker(folder, held, is_resumed=True)
            return keep(folder, worker, held, pulse)
        if isinstance(outcome, bool):
            outcome = RunFailed(
                kind="lost",
                title="The worker crashed",
                message="Its keeper had died before it, so its exit code is not known.",
                hint=f"Resume from the last checkpoint: {shell_command('runs resume', folder.name)}",
                log_tail=_log_tail(folder.log),
            )
        folder = located(folder, held)
        pulse.end(folder, outcome)
        return folder
    finally:
        held.release()


def _wait_for_adopted(folder: RunFolder, held: lock.FileLock, pulse: Pulse) -> tuple[RunFolder, bool]:
    """Wait until no process of ours works on a run; where its folder is then, and whether we got its lock."""
    is_ours = False
    watch = Watch(folder, held, pulse)
    try:
        while not (is_ours := held.take()):
            watch.tick()
            folder, worker = watch.folder, watch.state.worker
            if (
                worker is not None
                and process.is_worker_alive(worker.pid, folder.path)
                and not is_to_end_now(folder)
            ):
                time.sleep(TICK_SECONDS)
                continue
            if worker is not None:
                process.end_orphans(folder.path)  # children of a dead worker hold its lock
            if foreign := foreign_holder(folder):
                say(f"{folder.name}: {foreign}")
                break
            time.sleep(TICK_SECONDS)
    finally:
        watch.close()
    return located(watch.folder, held), is_ours


def explain_exit(code: int, log_tail: tuple[str, ...], *, was_killed_for_memory: bool) -> RunFailed:
    """The failure that an exit code and the log's last lines stand for."""
    resume_hint = "Resume from the last checkpoint with `tuner-tui runs resume`."
    if code == -signal.SIGKILL and was_killed_for_memory:
        return RunFailed(
            kind="out_of_memory",
            title="The system killed the worker for memory",
            message="RAM ran out while it worked.",
            hint="Close other programs, or take a smaller micro-batch, length limit or model. " + resume_hint,
            exit_code=code,
            log_tail=log_tail,
        )
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        return RunFailed(
            kind="killed",
            title=f"The worker was ended by {name}",
            message="Something outside the run ended it."
            if name in ("SIGKILL", "SIGTERM")
            else "It crashed.",
            hint=resume_hint,
            exit_code=code,
            log_tail=log_tail,
        )
    return RunFailed(
        kind="crash",
        title="The worker crashed",
        message=f"Its exit code is {code}.",
        hint="The log's last lines say more. " + resume_hint,
        exit_code=code,
        log_tail=log_tail,
    )


def _threads(folder: RunFolder) -> int:
    try:
        return read_plan(folder.plan).threads
    except Unreadable:
        return usable_cpu_count()


def _energy_so_far(folder: RunFolder) -> float:
    """Energy of earlier attempts."""
    sample = last_sample(folder.telemetry)
    return sample.energy_wh or 0.0 if sample else 0.0


def _log_tail(log: Path) -> tuple[str, ...]:
    return tuple(last_lines(log, LOG_TAIL_LINES))
