"""Submits runs to the keeper, and starts a keeper if there is none."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.errors import RunProblem, TunerError
from tuner_tui.files import make_folder, path_problem
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
"""How long to wait until a run whose lock is taken but that has no worker yet starts or ends."""


def keeper_lock() -> Path:
    """The lock of the data folder's only keeper."""
    return paths.data_dir() / KEEPER_LOCK_FILE


def keeper_log() -> Path:
    """The keeper's log."""
    return paths.data_dir() / "keeper.log"


def queue_lock() -> Path:
    """The lock for changes of the queue, so that a run cannot be queued twice."""
    return paths.data_dir() / "queue.lock"


def submit(
    folder: RunFolder, *, resume: bool = False, after: str | None = None, takes_adapter: bool = False
) -> None:
    """Enqueue a run, optionally after another one, and make sure that a keeper runs.

    Raises RunProblem when the run is already running or queued.
    """
    from tuner_tui.keeper.memory_needed import memory_needed

    _wait_until_left(folder)
    device, needs_bytes = memory_needed(folder)
    with _turn_at_the_queue():
        _wait_until_left(folder, patience_seconds=2.0)  # a keeper may write the terminal event just now
        _require_idle(folder)
        clear_requests(folder)  # they belong to an earlier attempt
        queue.enqueue(
            folder,
            resume,
            after=after,
            takes_adapter=takes_adapter,
            device=device,
            needs_bytes=needs_bytes,
            attempts=read_run(folder).state.attempt,
        )
        if resume and queue.held_for() == folder.name:  # its pause is over: it starts first
            queue.move(folder.name, 0)
            queue.release()
    ensure_keeper()


def move(folder: RunFolder, place: int, *, regardless: bool = False) -> None:
    """Move a queued run to another position, 0 for the first; `regardless` starts it without waiting for memory.

    Raises RunProblem when it is not queued.
    """
    with _turn_at_the_queue():
        if not queue.move(folder.name, place) or (regardless and not queue.start_regardless(folder.name)):
            raise RunProblem("The run is not queued", folder.name, "See: tuner-tui queue list")
    ensure_keeper()


def hold_queue() -> None:
    """Start no more runs until `release_queue`, also after a restart of the keeper or the machine."""
    with _turn_at_the_queue():
        queue.hold()


def release_queue() -> bool:
    """Start runs again; False when the queue was not on hold."""
    with _turn_at_the_queue():
        was_held = queue.release()
    ensure_keeper()
    return was_held


@contextlib.contextmanager
def _turn_at_the_queue() -> Iterator[None]:
    """Take the lock for changes of the queue. Raises TunerError when its folder cannot be written."""
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
            f"{path_problem(error, paths.queue_dir())}.",
            "Free space there, or change its permissions.",
        ) from error


def _require_idle(folder: RunFolder) -> None:
    """Raise RunProblem if a run is queued or live; in this order, as it takes its lock before it leaves the queue."""
    if queue.is_queued(folder.name):
        raise RunProblem("The run is already queued", folder.name, "See: tuner-tui runs list")
    if lock.is_held(folder.lock):
        _refuse_locked(folder)
        raise RunProblem(
            "The run is already running",
            folder.name,
            f"Watch it: {shell_command('runs follow', folder.name)}",
        )


def _refuse_locked(folder: RunFolder) -> None:
    """Raise RunProblem when a run's lock cannot be opened or another program holds it."""
    if problem := lock_problem(folder):
        raise RunProblem(
            "The run's lock cannot be used",
            f"{folder.name}: {problem}.",
            "End that program, or make the file accessible; then try again.",
        )


def _wait_until_left(folder: RunFolder, patience_seconds: float = 15.0) -> None:
    """Wait a moment until an ended run's worker has exited and its keeper has written the terminal event.

    So a run that has just ended can be submitted again.
    """
    began = time.monotonic()
    if lock.is_held(folder.lock):
        _refuse_locked(folder)
    while lock.is_held(folder.lock) and time.monotonic() < began + patience_seconds:
        state = read_run(folder).state
        if state.worker is None:  # it is starting, or was killed while starting
            is_at_work = time.monotonic() >= began + STARTING_SECONDS
        else:
            is_at_work = process.is_worker_alive(state.worker.pid, folder.path)
        if state.ending is None and is_at_work:
            return
        time.sleep(0.05)


def end_now(folder: RunFolder) -> None:
    """Kill a run's worker at once, without a checkpoint; the keeper writes the terminal event.

    Raises RunProblem when the run is not running.
    """
    if not lock.is_held(folder.lock) and not queue.is_queued(folder.name):
        raise RunProblem("The run is not running", f"{folder.name} is {read_run(folder).status}.")
    ask_to_end_now(folder)
    adopt_if_needed(folder)


def refuse_live(folder: RunFolder) -> None:
    """Raise RunProblem when a run is running or queued."""
    if lock.is_held(folder.lock):
        _refuse_locked(folder)
        raise RunProblem(
            "The run is already running",
            folder.name,
            f"Watch it: {shell_command('runs follow', folder.name)}",
        )
    if queue.is_queued(folder.name):
        raise RunProblem("The run is already queued", folder.name, "See: tuner-tui runs list")


def ensure_keeper(patience_seconds: float = 20.0) -> str:
    """Start a keeper if the data folder has none that responds, and wait until it is ready or has nothing left to do.

    Returns a message about a replaced keeper; empty if none was. Raises TunerError.
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
        f"See its log: {keeper_log()}.",
        "See also: tuner-tui doctor",
    )


def adopt_if_needed(folder: RunFolder) -> None:
    """Start a new keeper for a run whose keeper crashed or does not respond."""
    _replace_silent()
    if lock.is_held(keeper_lock()):
        return
    if lock.is_held(folder.lock) or (queue.is_queued(folder.name) and has_work()):
        process.start_keeper(keeper_log(), paths.data_dir())


def revive(live: Iterable[RunFolder] = ()) -> None:
    """Replace a keeper that crashed or does not respond, without waiting for the new one; for frequent callers.

    `live` are runs that are known to be live. Raises OSError.
    """
    _replace_silent()
    if lock.is_held(keeper_lock()):
        return
    if has_work() or any(lock.is_held(folder.lock) for folder in live):
        process.start_keeper(keeper_log(), paths.data_dir())


def wake() -> str:
    """Start a keeper for a queue without one, as after a reboot; called when the app opens or runs are listed.

    Returns a message about a keeper that was replaced or cannot be; empty if all is well.
    """
    try:
        return ensure_keeper()
    except (TunerError, OSError) as error:
        return str(error)


def _replace_silent() -> str:
    """Kill a keeper that no longer responds; the new one adopts its runs."""
    beat = read_beat()
    if beat is None or not end_silent_keeper(keeper_lock()):
        return ""
    return f"{last_answered(beat)} and was replaced.".replace("the", "The", 1)
