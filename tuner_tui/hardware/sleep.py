"""Keeps the machine awake while a run trains, where possible, and detects sleep otherwise."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time

NOTICED_SECONDS = 5.0


class Wakefulness:
    """Inhibits sleep until `close`, through systemd, which needs no special permissions."""

    def __init__(self) -> None:
        self._slept = _seconds_slept()
        self._inhibitor: subprocess.Popen[bytes] | None = None
        program = shutil.which("systemd-inhibit")
        if program is None:
            return
        reason = ["--what=sleep:idle", "--who=tuner-tui", "--why=a model is being trained", "--mode=block"]
        with contextlib.suppress(OSError):
            self._inhibitor = subprocess.Popen(
                [program, *reason, "cat"],  # exits when its stdin closes, however this process ends
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def seconds_slept(self) -> float:
        """How long the machine has slept since the last call; 0 where that is unknown."""
        slept = _seconds_slept()
        passed, self._slept = slept - self._slept, slept
        return passed if passed >= NOTICED_SECONDS else 0.0

    def close(self) -> None:
        """Allow the machine to sleep again."""
        if self._inhibitor is None:
            return
        if self._inhibitor.stdin is not None:
            with contextlib.suppress(OSError):
                self._inhibitor.stdin.close()
        try:
            self._inhibitor.wait(2)
        except subprocess.TimeoutExpired:
            self._inhibitor.kill()
            self._inhibitor.wait()


def _seconds_slept() -> float:
    """Seconds since boot that the machine spent asleep."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
