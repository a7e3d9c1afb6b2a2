"""Keeping one run: start its worker or adopt it, sample telemetry while it lives, and say how it ended."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.files import last_lines, open_log
from tuner_tui.guarded import Unreadable
from tuner_tui.hardware.system import usable_cpu_count
from tuner_tui.hardware.telemetry import TelemetrySampler, last_sample
from tuner_tui.keeper import process
from tuner_tui.keeper.guards import MachineGuard
from tuner_tui.planning.plan import read_plan
from tuner_tui.runs import lock
from tuner_tui.runs.control import clear_requests, is_to_end_now
from tuner_tui.runs.ending_words import stopped_as_it_is
from tuner_tui.runs.events import PROTOCOL, RunFailed, RunStarted, RunStopped
from tuner_tui.runs.journal import EventWriter, append_event
from tuner_tui.runs.report import write_report
from tuner_tui.runs.status import RunFollower, read_run
from tuner_tui.runs.summary import write_summary
from tuner_tui.text import shell_command
from tuner_tui.versions import library_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.hardware.telemetry import TelemetrySample
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.state import RunState

TICK_SECONDS = 1.0
LOG_TAIL_LINES = 20
LEAVING_SECONDS = 60.0
"""How long a worker may take to leave after its terminal event."""


class Telemetry:
    """Appends one sample a second to the run's telemetry; a failure to measure or to write never harms the run."""

    def __init__(self, folder: RunFolder, pid: int) -> None:
        self._folder = folder
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
            with open_log(self._folder.telemetry) as file:
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
                traceback.print_exc()


def start(folder: RunFolder, held: lock.FileLock, *, is_resumed: bool) -> subprocess.Popen[bytes] | None:
    """Begin an attempt and start its worker; None when that failed, which then is how the attempt ended.

    Raises OSError when the run's folder cannot be written.
    """
    append_event(
        folder.events, RunStarted(protocol=PROTOCOL, versions=library_versions(), is_resumed=is_resumed)
    )
    try:
        return process.start_worker(folder, held, _threads(folder), is_resumed=is_resumed)
    except OSError as error:
        _write_ending(
            folder, RunFailed(kind="crash", title="The worker cannot be started", message=str(error))
        )
        return None


def keep(folder: RunFolder, worker: subprocess.Popen[bytes], held: lock.FileLock) -> None:
    """Wait for the run's worker and for those that follow it, and write the terminal event if none did."""
    while True:
        was_oom = _wait(folder, worker)
        if is_to_end_now(folder):
            _write_ending(folder, _stopped_now(folder))
            return
        outcome = _outcome(folder, was_killed_for_memory=was_oom)
        if outcome is not True:
            break
        try:
            worker = process.start_worker(folder, held, _threads(folder), is_resumed=True)
        except OSError as error:
            outcome = RunFailed(kind="crash", title="The worker cannot be started", message=str(error))
            break
    _write_ending(
        folder,
        outcome
        if not isinstance(outcome, bool)
        else explain_exit(worker.returncode, _log_tail(folder.log), was_killed_for_memory=was_oom),
    )


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


def _wait(folder: RunFolder, worker: subprocess.Popen[bytes]) -> bool:
    """Wait for one worker, sampling telemetry; whether the system killed it for memory."""
    before = process.system_oom_kills()
    telemetry = Telemetry(folder, worker.pid)
    guard = MachineGuard(folder)
    follower = RunFollower(folder)
    while True:
        try:
            worker.wait(TICK_SECONDS)
            break
        except subprocess.TimeoutExpired:
            sample = telemetry.tick()
        follower.poll()
        _tell(folder, guard, sample, follower.state)
        ending = follower.state.ending
        if ending is None and is_to_end_now(folder):
            process.end_group(worker.pid)
        if ending is not None and time.time() - ending.at > LEAVING_SECONDS:
            process.end_group(worker.pid)  # it said its last word and hangs: others wait for the card
    telemetry.close()
    guard.close()
    process.end_group(worker.pid)
    return worker.returncode == -signal.SIGKILL and process.system_oom_kills() > before


def _tell(folder: RunFolder, guard: MachineGuard, sample: TelemetrySample | None, state: RunState) -> None:
    """Write what is new about the machine; that it cannot be looked at or written never harms the run."""
    try:
        for warning in guard.look(sample, state):
            append_event(folder.events, warning)
    except OSError:
        traceback.print_exc()


def adopt_and_keep(folder: RunFolder) -> None:
    """Wait for a worker whose keeper died. Nobody can learn its exit code then, and a failure says so."""
    follower = RunFollower(folder)
    telemetry: Telemetry | None = None
    guard = MachineGuard(folder)
    held = None
    while True:
        try:
            held = lock.acquire(folder.lock)
        except FileNotFoundError:  # the run was deleted
            break
        if held is not None:
            break
        follower.poll()
        worker = follower.state.worker
        if worker is not None:
            telemetry = telemetry or Telemetry(folder, worker.pid)
            _tell(folder, guard, telemetry.tick(), follower.state)
            if is_to_end_now(folder) or not process.is_worker_alive(worker.pid, folder.path):
                process.end_orphans(folder.path)  # children of a dead worker hold its lock
        time.sleep(TICK_SECONDS)
    guard.close()
    if telemetry is not None:
        telemetry.close()
    outcome = _stopped_now(folder) if is_to_end_now(folder) else _outcome(folder, was_killed_for_memory=False)
    if outcome is True and held is not None:
        try:
            keep(folder, process.start_worker(folder, held, _threads(folder), is_resumed=True), held)
        finally:
            held.release()
        return
    _write_ending(
        folder,
        outcome
        if not isinstance(outcome, bool)
        else RunFailed(
            kind="lost",
            title="The worker left without a word",
            message="Its keeper had died before it, so its exit code is not known.",
            hint=f"Go on from the last checkpoint: {shell_command('runs resume', folder.name)}",
            log_tail=_log_tail(folder.log),
        ),
    )
    if held is not None:
        held.release()


def explain_exit(code: int, log_tail: tuple[str, ...], *, was_killed_for_memory: bool) -> RunFailed:
    """The failure that an exit code and the log's last lines stand for."""
    resume_hint = "Go on from the last checkpoint with `tuner-tui runs resume`."
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
        title="The worker left without a word",
        message=f"Its exit code is {code}.",
        hint="The log's last lines say more. " + resume_hint,
        exit_code=code,
        log_tail=log_tail,
    )


def _write_ending(folder: RunFolder, ending: RunStopped | RunFailed) -> None:
    """Write a terminal event, unless the attempt has one, and keep the summary for lists of runs."""
    try:
        events = EventWriter(
            folder.events
        )  # first, since it ends a torn line: that may have been the terminal event
        try:
            state = read_run(folder).state
            if state.attempt and state.ending is None:
                step = state.last_step.step if state.last_step else None
                if isinstance(ending, RunFailed):
                    ending = msgspec.structs.replace(ending, step=step)
                events.write(ending)
        finally:
            events.close()
    except OSError as error:  # the folder is gone or full: readers will call the run interrupted
        print(f"{folder.name}: the end could not be written: {error}")  # noqa: T201  (to the keeper's log)
    write_summary(folder)
    write_report(folder)


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
