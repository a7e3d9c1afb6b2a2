"""A process with torch loaded from which keepers are forked, and they fork their workers: imports are paid once.

What runs in them is the product's own; only how a process comes to be is another: without exec. Each gets a session,
an environment and a command line of its own, also for those who look into /proc. `start` gives a nursery, whose
`start_keeper` stands in for `tuner_tui.keeper.process.start_keeper`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.lock import FileLock

ROOM = 6000
"""Bytes for the environment and for the command line that a forked process shows."""
ROOM_VARIABLE = "TUNER_TEST_ROOM"
NURSERY_VARIABLE = "TUNER_TEST_NURSERY"
COLD_VARIABLE = "TUNER_TEST_COLD"
"""Set, all processes of tests are started as the product does."""


class Nursery:
    """The nursery as those see it who want keepers from it."""

    def __init__(self, address: str, process: subprocess.Popen[bytes] | None = None) -> None:
        self._address = address
        self._process = process

    def start_keeper(self, log_path: Path, cwd: Path) -> None:
        """Fork a keeper, with our environment of now."""
        from tuner_tui.config.paths import DATA_VARIABLE
        from tuner_tui.keeper.process import RUN_VARIABLE
        from tuner_tui.runs.folder import RUN_LOCK_VARIABLE

        environment = os.environ | {RUN_VARIABLE: "", RUN_LOCK_VARIABLE: "", DATA_VARIABLE: str(cwd)}
        asked = {"log": str(log_path), "cwd": str(cwd), "environment": dict(environment)}
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(self._address)
            line.sendall(json.dumps(asked).encode())
            line.shutdown(socket.SHUT_WR)
            line.recv(16)

    def close(self) -> None:
        """End the nursery if we started it; what was forked from it is not touched."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def start(place: Path, *, has_moments: bool = False) -> Nursery:
    """Start a nursery that listens at a place; or the one that `TUNER_TEST_NURSERY` names, for those who start many."""
    from tuner_tui.hardware.environment import worker_environment

    if NURSERY_VARIABLE in os.environ:
        return Nursery(os.environ[NURSERY_VARIABLE])
    command = [sys.executable, "-m", "tests.faults.nursery", str(place), str(int(has_moments)), " " * ROOM]
    environment = worker_environment(1) | {"HF_HUB_OFFLINE": "1", ROOM_VARIABLE: " " * ROOM}
    environment.pop("TUNER_TUI_HOME", None)  # it is of no home, and is not ended with one
    nursery = subprocess.Popen(
        command, env=environment, cwd=Path(__file__).parents[2], start_new_session=True
    )
    deadline = time.monotonic() + 240
    while not place.exists():
        assert nursery.poll() is None and time.monotonic() < deadline, "the nursery does not start"
        time.sleep(0.05)
    return Nursery(str(place), nursery)


class ForkedWorker:
    """What the keeper asks of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def wait(self, timeout: float) -> int:
        """The exit code, negative for a signal. Raises TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("worker", timeout)
            else:
                time.sleep(0.01)
        return self.returncode


def main(address: str, *, has_moments: bool) -> None:
    """Load everything, then fork a keeper for each who asks."""
    _load(has_moments)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{address}.new")
        door.listen()
        Path(f"{address}.new").rename(address)
        while True:
            line, _ = door.accept()
            with line, line.makefile("rb") as file:
                asked = json.loads(file.read())
                if os.fork() == 0:
                    _become(_keep, ["-m", "tuner_tui.keeper"], **asked)
                line.sendall(b"ok")


def _load(has_moments: bool) -> None:
    import tuner_tui.keeper.__main__
    import tuner_tui.keeper.late_start
    import tuner_tui.keeper.restart
    import tuner_tui.worker.__main__
    import tuner_tui.worker.methods.dpo
    import tuner_tui.worker.methods.orpo
    import tuner_tui.worker.methods.sft
    import tuner_tui.worker.train  # noqa: F401

    if has_moments:
        from tests.faults import moments

        moments.patch()
    gc.collect()
    gc.freeze()  # what is loaded stays: a forked worker need not look through it, nor copy it


def _become(
    work: Callable[[], Any],
    words: list[str],
    log: str | int,
    cwd: str | int,
    environment: dict[str, str],
    keep: int = -1,
) -> None:
    """Be a new process as far as the system can tell, do the work, and leave."""
    code = 70
    try:
        os.setsid()
        for each in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environment)
        _show(words, environment)
        os.chdir(cwd)
        output = log if isinstance(log, int) else os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in enumerate((nothing, output, output)):
            os.dup2(descriptor, number)
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if int(name) > 2 and int(name) != keep:
                with contextlib.suppress(OSError):
                    os.close(int(name))
        if "TUNER_TEST_CLOCK" in environment:
            from tests.faults import moments

            moments.turn_clock()
        code = work() or 0
        for thread in threading.enumerate():  # as the interpreter does when it ends
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _show(words: list[str], environment: dict[str, str]) -> None:
    """Write command line and environment to where /proc reads them, which the C library has copied from before."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    arguments, environment_at = (int(fields[45]), int(fields[46])), (int(fields[47]), int(fields[48]))
    shown = (
        [sys.executable, *words],
        [f"{name}={value}" for name, value in environment.items() if name != ROOM_VARIABLE],
    )
    for (begin, end), texts in zip((arguments, environment_at), shown, strict=True):
        content = b"".join(text.encode() + b"\0" for text in texts)
        if len(content) >= end - begin:
            raise ValueError(f"{len(content)} bytes do not fit into {end - begin}")
        ctypes.memmove(begin, content.ljust(end - begin, b"\0"), end - begin)


def _keep() -> int:
    from tuner_tui.keeper import __main__, process
    from tuner_tui.keeper.log import tolerate_output

    tolerate_output()
    process.start_worker = _fork_worker  # type: ignore[assignment]
    return __main__.main()


def _fork_worker(folder: RunFolder, lock: FileLock, threads: int, *, is_resumed: bool) -> ForkedWorker:
    from tuner_tui.files import open_log
    from tuner_tui.hardware.environment import worker_environment
    from tuner_tui.keeper.process import _from_settings, run_variables

    environment = worker_environment(threads) | _from_settings() | run_variables(folder)
    words = ["train", str(folder.path), *(["--resume"] if is_resumed else [])]

    def work() -> int:
        from tuner_tui.worker.__main__ import main

        if "TUNER_TEST_MOMENTS" in environment:
            from tests.faults import moments

            moments.reach("starting")
        return main(words)

    cwd = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY)  # as in a real start, nothing is looked up later
    try:
        with open_log(folder.log, may_make=lock.is_at(folder.lock)) as log:
            pid = os.fork()
            if pid == 0:
                _become(
                    work,
                    ["-m", "tuner_tui.worker", *words],
                    log=log.fileno(),
                    cwd=cwd,
                    environment=environment,
                    keep=lock.descriptor,
                )
    finally:
        os.close(cwd)
    return ForkedWorker(pid)


if __name__ == "__main__":
    main(sys.argv[1], has_moments=sys.argv[2] == "1")
