"""Keeping the machine awake while a run trains, where the system lets us, and noticing where it slept all the same."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time

NOTICED_SECONDS = 5.0


class Wakefulness:
    """Holds off sleep from its making to `close`; through systemd, the one way that needs no rights of its own."""

    def __init__(self) -> None:
        self._slept = _seconds_slept()
        self._inhibitor: subprocess.Popen[bytes] | None = None
        program = shutil.which("systemd-inhibit")
        if program is None:
            return
        reason = ["--what=sleep:idle", "--who=tuner-tui", "--why=a model is being trained", "--mode=block"]
        with contextlib.suppress(OSError):
            self._inhibitor = subprocess.Popen(
                [program, *reason, "cat"],  # leaves when our end of its input closes, however we end
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
        """Let the machine sleep again."""
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
