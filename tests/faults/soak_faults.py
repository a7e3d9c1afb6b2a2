"""What a soak does to runs besides killing: each begins at a random moment, in a thread, and undoes itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

import psutil

from tests.faults.home import is_alive
from tuner_tui.keeper import start

if TYPE_CHECKING:
    import random
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.home import Home, WatchedRun

SHARE = 0.35
"""How often a kill is accompanied."""
DISK = "size=256m"
STRANGER = """
import fcntl, sys, time
file = open(sys.argv[1])
until = time.monotonic() + float(sys.argv[2])
while True:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except OSError:
        if time.monotonic() > until:
            sys.exit(1)
        time.sleep(0.001)
print("held", flush=True)
time.sleep(float(sys.argv[3]))
"""


class Stranger:
    """A program that is not ours, and takes a lock as soon as it is free."""

    def __init__(self, path: Path, waits_seconds: float = 20.0, holds_seconds: float = 600.0) -> None:
        command = [sys.executable, "-c", STRANGER, str(path), str(waits_seconds), str(holds_seconds)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def __enter__(self) -> Stranger:
        assert self.has_lock()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def has_lock(self) -> bool:
        """Whether it has come to hold the lock; waits until that is known."""
        assert self._process.stdout is not None
        return self._process.stdout.readline() == b"held\n"

    def wait(self) -> None:
        """Wait until it has left."""
        self._process.communicate()


class Faults:
    """Begins one fault now and then; at most one at a time."""

    def __init__(
        self, home: Home, draw: random.Random, counts: Counter[str], *, has_disk: bool, are_on: bool
    ) -> None:
        self._home, self._draw, self._counts = home, draw, counts
        self.are_on = are_on
        self._kinds = [
            self._stop_keeper,
            self._rename,
            self._hold_lock,
            *([self._fill_disk] if has_disk else []),
        ]
        self._thread: threading.Thread | None = None
        self._failure = ""

    def begin(self, run: WatchedRun) -> None:
        """Perhaps begin a fault, unless one is going on."""
        if not self.are_on or self._draw.random() > SHARE or (self._thread and self._thread.is_alive()):
            return
        self.wait()
        kind, delay, length = self._draw.choice(self._kinds), self._draw.random() * 2, self._draw.random() * 3

        def do() -> None:
            try:
                time.sleep(delay)
                kind(run, length)
            except Exception:
                self._failure = traceback.format_exc()

        self._thread = threading.Thread(target=do, name="fault")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the fault is over. Raises AssertionError when it met what must not be."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, ""
        assert not failure, failure

    def _fill_disk(self, run: WatchedRun, seconds: float) -> None:
        ballast = self._home.path / "data" / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                until = time.monotonic() + seconds
                while time.monotonic() < until:  # what is freed meanwhile is taken as well
                    _fill(file.fileno())
                    time.sleep(0.05)
            self._counts["disk filled"] += 1
        finally:
            ballast.unlink()

    def _stop_keeper(self, run: WatchedRun, seconds: float) -> None:
        """It is continued after a while, or somebody looks and replaces it."""
        keepers = self._home.processes("tuner_tui.keeper")
        is_replaced = seconds > 2
        with contextlib.suppress(psutil.NoSuchProcess):
            for keeper in keepers:
                keeper.suspend()
                self._counts["keeper stopped, replaced" if is_replaced else "keeper stopped, continued"] += 1
            if not is_replaced:
                time.sleep(seconds)
            until = time.monotonic() + 30
            while is_replaced and any(map(is_alive, keepers)):
                assert time.monotonic() < until, "a keeper that does not answer is not replaced"
                start.adopt_if_needed(run.folder)
                start.ensure_keeper()
                time.sleep(0.1)
        for keeper in keepers:
            with contextlib.suppress(psutil.NoSuchProcess):
                keeper.resume()

    def _rename(self, run: WatchedRun, seconds: float) -> None:
        """Another folder has the old name meanwhile, and is given nothing."""
        folder = run.folder.path
        other = folder.with_name(f"{folder.name}-renamed")
        folder.rename(other)
        self._counts["folder renamed and back"] += 1
        folder.mkdir()
        time.sleep(seconds)
        given = sorted(path.name for path in folder.iterdir())
        assert given == [], f"another folder with the run's old name was given {given}"
        folder.rmdir()
        other.rename(folder)

    def _hold_lock(self, run: WatchedRun, seconds: float) -> None:
        """Taken as soon as a worker that is killed has let go of it."""
        stranger = Stranger(run.folder.lock, waits_seconds=4.0, holds_seconds=seconds)
        self._counts[
            "lock held by another program" if stranger.has_lock() else "lock waited for in vain"
        ] += 1
        stranger.wait()


@contextlib.contextmanager
def small_disk(folder: Path, *, is_wanted: bool) -> Iterator[bool]:
    """A disk of its own for a folder; False where this machine does not let us mount one."""
    if not is_wanted or subprocess.run(
        ["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode:  # fmt: skip
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def _fill(descriptor: int) -> None:
    """Leave not a byte."""
    for size in (1 << 20, 4096):
        with contextlib.suppress(OSError):
            while True:
                os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, size)
