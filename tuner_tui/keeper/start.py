"""Handing a run to the keeper, and making sure there is one."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.errors import RunProblem, TunerError
from tuner_tui.files import make_folder
from tuner_tui.keeper import process
from tuner_tui.keeper.heartbeat import last_answered, read_beat
from tuner_tui.keeper.obstacle import lock_problem
from tuner_tui.keeper.replace import end_silent_keeper
from tuner_tui.keeper.waiting import KEEPER_LOCK_FILE, has_work
from tuner_tui.runs import lock, queue
from tuner_tui.runs.control import ask_to_end_now, clear_requests
from tuner_tui.runs.status import read_run
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder


STARTING_SECONDS = 2.0
"""How long a run that is held but has no worker yet is given to show whether it starts or ends."""


def keeper_lock() -> Path:
    """The lock that the data folder's one keeper holds."""
    return paths.data_dir() / KEEPER_LOCK_FILE


def keeper_log() -> Path:
    """What the keeper has to say."""
    return paths.data_dir() / "keeper.log"


def queue_lock() -> Path:
    """Held while a run is put into the queue, so that it cannot be put there twice."""
    return paths.data_dir() / "queue.lock"


def submit(
    folder: RunFolder, *, resume: bool = False, after: str | None = None, takes_adapter: bool = False
) -> None:
    """Enqueue a run, perhaps behind another one, and see that a keeper is there.

    Raises RunProblem when the run is running or waiting already.
    """
    from tuner_tui.keeper.memory_needed import memory_needed

    _wait_until_left(folder)
    device, needs_bytes = memory_needed(folder)
    with _turn_at_the_queue():
        _require_idle(folder)
        clear_requests(folder)  # they were meant for an attempt that is over
        queue.enqueue(
            folder,
            resume,
            after=after,
            takes_adapter=takes_adapter,
            device=device,
            needs_bytes=needs_bytes,
            attempts=read_run(folder).state.attempt,
        )
        if resume and queue.held_for() == folder.name:  # its pause is over: it goes first
            queue.move(folder.name, 0)
            queue.go_on()
    ensure_keeper()


def move(folder: RunFolder, place: int, *, regardless: bool = False) -> None:
    """Give a waiting run another place in line, 0 for the first; `regardless` has it wait for no memory.

    Raises RunProblem when it does not wait.
    """
    with _turn_at_the_queue():
        if not queue.move(folder.name, place) or (regardless and not queue.start_regardless(folder.name)):
            raise RunProblem("The run does not wait", folder.name, "See: tuner-tui queue list")
    ensure_keeper()


def hold_queue() -> None:
    """Let nothing more start, also after this keeper and a reboot, until `release_queue`."""
    with _turn_at_the_queue():
        queue.hold()


def release_queue() -> bool:
    """Let runs start again; False when they were not held."""
    with _turn_at_the_queue():
        was_held = queue.go_on()
    ensure_keeper()
    return was_held


@contextlib.contextmanager
def _turn_at_the_queue() -> Iterator[None]:
    """One change of the queue at a time; trouble with its folder is told."""
    try:
        make_folder(paths.data_dir())
        turn = lock.acquire(queue_lock(), patience_seconds=10.0)
        if turn is None:
            raise RunProblem("The queue is busy", str(queue_lock()), "Try again.")
        try:
            yield
        finally:
            turn.release()
    except OSError as error:
        raise TunerError(
            "The queue cannot be changed",
            f"{paths.queue_dir()}: {error.strerror or error}.",
            "Free space or rights there.",
        ) from error


def _require_idle(folder: RunFolder) -> None:
    """In this order, because a run that starts takes its lock before it leaves the queue."""
    if queue.is_queued(folder.name):
        raise RunProblem("The run is waiting already", folder.name, "See: tuner-tui runs list")
    if lock.is_held(folder.lock):
        _refuse_locked(folder)
        raise RunProblem(
            "The run is running already",
            folder.name,
            f"Watch it: {shell_command('runs follow', folder.name)}",
        )


def _refuse_locked(folder: RunFolder) -> None:
    """Raise RunProblem when a run's lock is not in use by the run, and cannot be used."""
    if problem := lock_problem(folder):
        raise RunProblem(
            "The run's lock cannot be used",
            f"{folder.name}: {problem}.",
            "End that program, or give yourself the right to open the file; then try again.",
        )


def _wait_until_left(folder: RunFolder, patience_seconds: float = 15.0) -> None:
    """A worker takes a moment to leave after its last event, and a keeper to say how one ended that was killed.

    A run that is over can be handed over at once all the same.
    """
    began = time.monotonic()
    if lock.is_held(folder.lock):
        _refuse_locked(folder)
    while lock.is_held(folder.lock) and time.monotonic() < began + patience_seconds:
        state = read_run(folder).state
        if state.worker is None:  # it starts, or it was killed as it did
            is_at_work = time.monotonic() >= began + STARTING_SECONDS
        else:
            is_at_work = process.is_worker_alive(state.worker.pid, folder.path)
        if state.ending is None and is_at_work:
            return
        time.sleep(0.05)


def end_now(folder: RunFolder) -> None:
    """Have a run's worker ended at once, without a checkpoint; the keeper writes how it ended.

    Raises RunProblem when nobody works on the run.
    """
    if not lock.is_held(folder.lock) and not queue.is_queued(folder.name):
        raise RunProblem("The run is not running", f"{folder.name} is {read_run(folder).status}.")
    ask_to_end_now(folder)
    adopt_if_needed(folder)


def refuse_live(folder: RunFolder) -> None:
    """Raise RunProblem when a run is running or waiting already."""
    if lock.is_held(folder.lock):
        _refuse_locked(folder)
        raise RunProblem(
            "The run is running already",
            folder.name,
            f"Watch it: {shell_command('runs follow', folder.name)}",
        )
    if queue.is_queued(folder.name):
        raise RunProblem("The run is waiting already", folder.name, "See: tuner-tui runs list")


def ensure_keeper(patience_seconds: float = 20.0) -> str:
    """Start a keeper if the data folder has none that answers, and wait until it is there or has nothing left to do.

    Gives words about one that was replaced; empty when none was. Raises TunerError.
    """
    words = _replace_silent()
    if lock.is_held(keeper_lock()) or not has_work():
        return words
    process.start_keeper(keeper_log(), paths.data_dir())
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        if lock.is_held(keeper_lock()) or not has_work():
            return words
        time.sleep(0.02)
    raise TunerError(
        "The keeper does not start",
        f"Its log is {keeper_log()}.",
        "Read the log's last lines; see: tuner-tui doctor",
    )


def adopt_if_needed(folder: RunFolder) -> None:
    """See that a run whose keeper died, or does not answer, is waited for, or started, by a new one."""
    _replace_silent()
    if lock.is_held(keeper_lock()):
        return
    if lock.is_held(folder.lock) or (queue.is_queued(folder.name) and has_work()):
        process.start_keeper(keeper_log(), paths.data_dir())


def revive(live: Iterable[RunFolder] = ()) -> None:
    """Replace a keeper that died or does not answer, without waiting for the next one; for those who look often.

    `live` are runs that are known to be live. Raises OSError.
    """
    _replace_silent()
    if lock.is_held(keeper_lock()):
        return
    if has_work() or any(lock.is_held(folder.lock) for folder in live):
        process.start_keeper(keeper_log(), paths.data_dir())


def wake() -> str:
    """Go on with a queue that nobody keeps, as after a reboot; whoever opens the app or lists runs does this.

    Gives words about a keeper that was replaced, or that cannot be; empty when all is well.
    """
    try:
        return ensure_keeper()
    except (TunerError, OSError) as error:
        return str(error)


def _replace_silent() -> str:
    """End a keeper that does not answer any more; its place is free then, and what it kept is adopted."""
    beat = read_beat()
    if beat is None or not end_silent_keeper(keeper_lock()):
        return ""
    return f"{last_answered(beat)} and was replaced.".replace("the", "The", 1)
