"""Starts and ends processes; all operating-system details of that are here."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.config.paths import CACHE_VARIABLE, DATA_VARIABLE, cache_dir
from tuner_tui.config.settings import usable_settings, worker_variables
from tuner_tui.errors import TunerError
from tuner_tui.files import open_log
from tuner_tui.guarded import Unreadable
from tuner_tui.hardware.environment import worker_environment
from tuner_tui.owned import open_own_log
from tuner_tui.python import python_command
from tuner_tui.runs.folder import LOCK_FILE, RUN_LOCK_VARIABLE
from tuner_tui.runs.lock import identity

if TYPE_CHECKING:
    import psutil

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.lock import FileLock

RUN_VARIABLE = "TUNER_TUI_RUN"
"""Environment variable that identifies the run in its worker and the worker's children."""


def start_worker(
    folder: RunFolder, lock: FileLock, threads: int, *, is_resumed: bool
) -> subprocess.Popen[bytes]:
    """Start the run's worker in its own session, sharing the run's lock; its output goes to the log.

    Raises OSError; FileNotFoundError if another folder has the run's name.
    """
    command = python_command("tuner_tui.worker", "train", str(folder.path))
    if is_resumed:
        command.append("--resume")
    with open_log(folder.log, may_make=lock.is_at(folder.lock)) as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder.path,
            env=worker_environment(threads) | _from_settings() | run_variables(folder),
            pass_fds=(lock.descriptor,),
            start_new_session=True,
        )


def run_variables(folder: RunFolder) -> dict[str, str]:
    """The environment variables that identify a run's worker and its children."""
    return {RUN_VARIABLE: str(folder.path.resolve()), RUN_LOCK_VARIABLE: identity(folder.lock)}


def is_of_run(process: psutil.Process, folder: Path) -> bool:
    """Whether a process belongs to a run, also after the run's folder was renamed.

    A process of another lock file whose current folder is the run's belongs to it too: the lock file was deleted.
    Raises psutil.Error, OSError.
    """
    environment = process.environ()
    mark, run = environment.get(RUN_LOCK_VARIABLE), identity(folder / LOCK_FILE)
    if mark and run:
        return mark == run or Path(process.cwd()) == folder.resolve()
    return environment.get(RUN_VARIABLE) == str(folder.resolve())


def _from_settings() -> dict[str, str]:
    """The environment that the settings give a worker; of unreadable settings, the part that can be read."""
    settings, problem = usable_settings()
    if problem is not None:
        print(f"settings: {problem} {problem.meanwhile}")  # noqa: T201  (to the keeper's log)
    return worker_variables(settings)


def start_keeper(log_path: Path, cwd: Path) -> None:
    """Start a keeper in its own session, without a terminal, so that it outlives this process."""
    with _opened_log(log_path) as log:
        keeper = subprocess.Popen(
            python_command("tuner_tui.keeper"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=os.environ | {RUN_VARIABLE: "", RUN_LOCK_VARIABLE: "", DATA_VARIABLE: str(cwd)} | _cache(),
            start_new_session=True,
        )
    threading.Thread(target=keeper.wait, name="keeper", daemon=True).start()  # so that it leaves no zombie


def _opened_log(path: Path) -> io.FileIO:
    """Open a log for appending; if it cannot be opened, /dev/null, so that the keeper starts anyway."""
    try:
        return open_own_log(path)
    except OSError:
        return open_log(Path(os.devnull))


def _cache() -> dict[str, str]:
    """The current cache folder, which workers use even if the settings become unreadable."""
    try:
        return {CACHE_VARIABLE: str(cache_dir())}
    except TunerError:
        return {}


def end_group(leader_pid: int) -> None:
    """Kill the remaining processes of a worker's group, such as data loaders."""
    try:
        os.killpg(leader_pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def end_orphans(folder: Path) -> int:
    """Kill all processes of a run; returns how many there were."""
    import psutil

    ended = 0
    for process in psutil.process_iter():
        try:
            if is_of_run(process, folder):
                process.kill()
                ended += 1
        except (psutil.Error, OSError):
            continue
    return ended


def is_worker_alive(pid: int, folder: Path) -> bool:
    """Whether a run's worker still runs: the process with this ID leads its group and belongs to the run.

    Start times cannot be used: the clock they come from can be set.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return os.getpgid(pid) == pid and is_of_run(process, folder)
    except psutil.AccessDenied:
        return True
    except (psutil.Error, OSError):  # exited, or a zombie
        return False


def current_folder(pid: int) -> Path | None:
    """The folder that a process works in, under its present name; None if that cannot be told."""
    import psutil

    try:
        return Path(psutil.Process(pid).cwd())
    except (psutil.Error, OSError):
        return None


def system_oom_kills() -> int:
    """The kernel's count of out-of-memory kills since boot; 0 where unknown."""
    total = 0
    for path, key in ((Path("/proc/vmstat"), "oom_kill"), (Path("/sys/fs/cgroup/memory.events"), "oom_kill")):
        try:
            lines = guarded.read_text(path).splitlines()
        except Unreadable:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.split()[:1] == [key])
    return total
