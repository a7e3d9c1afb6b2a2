"""Supervises one run: starts or adopts its worker, samples telemetry, writes a missing terminal event."""

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
from tuner_tui.keeper.log import log_exception, say
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
"""How long a worker may take to exit after its terminal event."""


class Telemetry:
    """Appends one sample a second to the run's telemetry; a failure to measure or to write never affects the run."""

    def __init__(self, folder: RunFolder, pid: int) -> None:
        self.locate: Callable[[], RunFolder] = lambda: folder
        """The run's current folder."""
        self._sampler: TelemetrySampler | None = None
        self._problems: set[str] = set()
        with self._harmless():
            self._sampler = TelemetrySampler(pid, energy_wh_before=_energy_so_far(folder))

    def tick(self) -> TelemetrySample | None:
        """Take one sample and write it."""
        if self._sampler is None:
            return None
        sample = None
        with self._harmless():
            sample = self._sampler.sample()
            with open_log(self.locate().telemetry) as file:
                file.write(msgspec.json.encode(sample) + b"\n")
        return sample

    def close(self) -> None:
        """Close the GPU driver."""
        if self._sampler is not None:
            with self._harmless():
                self._sampler.close()

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """Log the first failure, such as a full disk or a deleted folder, and ignore all others."""
        try:
            yield
        except Exception as error:
            if str(error) not in self._problems:
                self._problems.add(str(error))
                log_exception()


class Watch:
    """Polls one live run: its events, the machine, and the current place of its folder."""

    def __init__(self, folder: RunFolder, run_lock: lock.FileLock, pulse: Pulse) -> None:
        self.folder = folder
        self._run_lock, self._pulse = run_lock, pulse
        self._follower = RunFollower(folder)
        self._guard = MachineGuard(folder)
        self._telemetry: Telemetry | None = None

    @property
    def state(self) -> RunState:
        return self._follower.state

    def tick(self, pid: int | None = None) -> None:
        """Poll once; `pid` is the worker's, if known. Raises Replaced, and nothing else."""
        self._pulse.beat()
        try:
            self.folder = self._locate()
            if self.folder != self._follower.folder:
                say(f"{self._follower.folder.path} was moved to {self.folder.path}")
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
        except Exception:  # a failure here must never affect the run
            log_exception()

    def _follow_lock(self, pid: int) -> None:
        """A worker recreates a deleted lock file; from then on the new one leads to the folder.

        Until then only the worker's current folder tells where the run is, if it was renamed or moved meanwhile.
        """
        if self._run_lock.is_at(self.folder.lock):
            return
        current = process.current_folder(pid)
        folder = RunFolder(current) if current is not None and is_run(current) else self.folder
        if process.is_worker_alive(pid, folder.path):
            with contextlib.suppress(FileNotFoundError):  # not yet
                self._run_lock.reopen(folder.lock)

    def _locate(self) -> RunFolder:
        """Called right before each write, so that nothing is written to another folder with the old name."""
        return located(self.folder, self._run_lock)

    def close(self) -> None:
        """Close the GPU driver, and allow the machine to sleep."""
        self._guard.close()
        if self._telemetry is not None:
            self._telemetry.close()


def located(folder: RunFolder, run_lock: lock.FileLock) -> RunFolder:
    """A run's current folder, found through its open lock: it may have been renamed or moved."""
    if run_lock.is_at(folder.lock):
        return folder
    path = run_lock.path()
    return folder if path is None or not is_run(path.parent) else RunFolder(path.parent)


def start(
    folder: RunFolder, run_lock: lock.FileLock, *, is_resumed: bool, pulse: Pulse | None = None
) -> subprocess.Popen[bytes] | None:
    """Begin an attempt and start its worker; None when that failed, which then is the attempt's ending.

    Raises OSError when the run's folder cannot be written.
    """
    begun = RunStarted(protocol=PROTOCOL, versions=library_versions(), is_resumed=is_resumed)
    append_event(located(folder, run_lock).events, begun)
    try:
        return _start_worker(folder, run_lock, is_resumed=is_resumed)
    except OSError as error:
        (pulse or Pulse()).end(located(folder, run_lock), _unstartable(error))
        return None


def _start_worker(folder: RunFolder, run_lock: lock.FileLock, *, is_resumed: bool) -> subprocess.Popen[bytes]:
    """Start a worker in the run's folder, also while that is being renamed. Raises OSError."""
    threads = _threads(located(folder, run_lock))
    try:
        return process.start_worker(located(folder, run_lock), run_lock, threads, is_resumed=is_resumed)
    except FileNotFoundError:
        return process.start_worker(located(folder, run_lock), run_lock, threads, is_resumed=is_resumed)


def keep(
    folder: RunFolder, worker: subprocess.Popen[bytes], run_lock: lock.FileLock, pulse: Pulse | None = None
) -> RunFolder:
    """Wait for the run's worker and its successors, and write the terminal event if none of them did.

    Returns the run's folder, which may have been renamed. Raises Replaced.
    """
    pulse = pulse or Pulse()
    while True:
        folder, was_oom = _wait(folder, worker, run_lock, pulse)
        if is_to_end_now(folder):
            pulse.end(located(folder, run_lock), _stopped_now(folder))
            return folder
        outcome = _outcome(folder, was_killed_for_memory=was_oom)
        if outcome is not True:
            break
        try:
            worker = _start_worker(folder, run_lock, is_resumed=True)
            folder = located(folder, run_lock)
        except OSError as error:
            outcome = _unstartable(error)
            break
    if isinstance(outcome, bool):
        outcome = explain_exit(worker.returncode, _log_tail(folder.log), was_killed_for_memory=was_oom)
    folder = located(folder, run_lock)
    pulse.end(folder, outcome)
    return folder


def _take_again(folder: RunFolder, run_lock: lock.FileLock) -> None:
    """Hold a run's lock after its worker has exited, also if the worker had to recreate it."""
    if not is_run(folder.path):  # it was deleted
        return
    try:
        is_ours = run_lock.take(1.0) if run_lock.is_at(folder.lock) else run_lock.take_anew(folder.lock)
    except OSError as error:
        say(f"{folder.name}: its lock cannot be taken: {error}")
        return
    if not is_ours:
        say(f"{folder.name}: another program holds its lock")


def _unstartable(error: OSError) -> RunFailed:
    return RunFailed(kind="crash", title="The worker cannot be started", message=str(error))


def _stopped_now(folder: RunFolder) -> RunStopped:
    """The ending of a run whose worker was killed on the user's request."""
    clear_requests(folder)
    return stopped_as_it_is(folder, read_run(folder).state)


def _outcome(folder: RunFolder, *, was_killed_for_memory: bool) -> RunStopped | RunFailed | bool:
    """What follows after a worker has exited, by restart.prepare_restart."""
    from tuner_tui.keeper.restart import prepare_restart

    try:
        return prepare_restart(folder, was_killed_for_memory=was_killed_for_memory)
    except OSError as error:  # the plan cannot be written
        return RunFailed(
            kind="out_of_memory",
            title="The run could not be restarted",
            message=str(error),
            hint=f"Free disk space, then: {shell_command('runs resume', folder.name)}",
        )


def _wait(
    folder: RunFolder, worker: subprocess.Popen[bytes], run_lock: lock.FileLock, pulse: Pulse
) -> tuple[RunFolder, bool]:
    """Wait for one worker; returns the run's folder, and whether the system killed the worker for memory."""
    before = process.system_oom_kills()
    watch = Watch(folder, run_lock, pulse)
    try:
        while not _has_left(worker):
            watch.tick(worker.pid)
            ending = watch.state.ending
            if ending is None and is_to_end_now(watch.folder):
                process.end_group(worker.pid)
            if ending is not None and time.time() - ending.at > LEAVING_SECONDS:
                process.end_group(
                    worker.pid
                )  # it hangs after its terminal event: other runs wait for the GPU
    finally:
        watch.close()
    process.end_group(worker.pid)
    was_oom = worker.returncode == -signal.SIGKILL and process.system_oom_kills() > before
    folder = located(watch.folder, run_lock)
    _take_again(folder, run_lock)
    return folder, was_oom


def _has_left(worker: subprocess.Popen[bytes]) -> bool:
    """Whether a worker exits within a moment."""
    try:
        worker.wait(TICK_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def adopt_and_keep(folder: RunFolder, pulse: Pulse | None = None) -> RunFolder:
    """Wait for a worker whose keeper crashed. Its exit code is unknown then, and a failure says so.

    Returns the run's folder, which may have been renamed. Raises Replaced.
    """
    pulse = pulse or Pulse()
    try:
        run_lock = lock.open_lock(folder.lock)
    except OSError as error:  # the run was deleted, or its lock cannot be opened
        say(f"{folder.name}: {error}")
        return folder
    try:
        folder, is_ours = _wait_for_adopted(folder, run_lock, pulse)
        outcome = (
            _stopped_now(folder) if is_to_end_now(folder) else _outcome(folder, was_killed_for_memory=False)
        )
        if outcome is True and is_ours:
            worker = _start_worker(folder, run_lock, is_resumed=True)
            return keep(folder, worker, run_lock, pulse)
        if isinstance(outcome, bool):
            outcome = RunFailed(
                kind="lost",
                title="The worker crashed",
                message="Its keeper crashed before it, so its exit code is unknown.",
                hint=f"Resume from the last checkpoint: {shell_command('runs resume', folder.name)}",
                log_tail=_log_tail(folder.log),
            )
        folder = located(folder, run_lock)
        pulse.end(folder, outcome)
        return folder
    finally:
        run_lock.release()


def _wait_for_adopted(folder: RunFolder, run_lock: lock.FileLock, pulse: Pulse) -> tuple[RunFolder, bool]:
    """Wait until no process of ours works on a run; returns its folder, and whether its lock was acquired."""
    is_ours = False
    watch = Watch(folder, run_lock, pulse)
    try:
        while not (is_ours := run_lock.take()):
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
                process.end_orphans(folder.path)  # children of a crashed worker hold its lock
            if foreign := foreign_holder(folder):
                say(f"{folder.name}: {foreign}")
                break
            time.sleep(TICK_SECONDS)
    finally:
        watch.close()
    return located(watch.folder, run_lock), is_ours


def explain_exit(code: int, log_tail: tuple[str, ...], *, was_killed_for_memory: bool) -> RunFailed:
    """The failure event for an exit code, with the log's last lines."""
    resume_hint = "Resume from the last checkpoint with `tuner-tui runs resume`."
    if code == -signal.SIGKILL and was_killed_for_memory:
        return RunFailed(
            kind="out_of_memory",
            title="The system killed the worker for memory",
            message="The machine ran out of main memory.",
            hint="Close other programs, or use a smaller micro-batch, length limit or model. " + resume_hint,
            exit_code=code,
            log_tail=log_tail,
        )
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        return RunFailed(
            kind="killed",
            title=f"The worker was ended by {name}",
            message="Another program or user ended it." if name in ("SIGKILL", "SIGTERM") else "It crashed.",
            hint=resume_hint,
            exit_code=code,
            log_tail=log_tail,
        )
    return RunFailed(
        kind="crash",
        title="The worker crashed",
        message=f"Its exit code is {code}.",
        hint="See the last lines of its log. " + resume_hint,
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
