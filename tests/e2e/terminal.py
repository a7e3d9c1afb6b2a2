"""A real terminal for tests: a tmux server of its own, keys in and text out."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping
from typing import Self


class Terminal:
    """One program in one tmux pane; nothing else on the machine is touched."""

    def __init__(
        self, command: list[str], environment: Mapping[str, str], columns: int = 80, rows: int = 24
    ) -> None:
        self._server = f"tuner-{uuid.uuid4().hex[:12]}"
        self.key_presses = 0
        settings = [f"{name}={value}" for name, value in environment.items()]
        # `read` keeps the pane, so that what a program said at its end can still be seen
        # pytest exports COLUMNS and LINES (by way of readline), which would hide the terminal's own size
        forget = ["-u", "COLUMNS", "-u", "LINES"]
        line = f'{shlex.join(["env", *forget, *settings, *command])}; echo "[ended $?]"; read _'
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server", check=False)

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names, and count them."""
        for key in keys:
            self._tmux("send-keys", key)
            self.key_presses += 1

    def type(self, words: str) -> None:
        """Type words, key by key, and count them."""
        self._tmux("send-keys", "-l", words)
        self.key_presses += len(words)

    def text(self) -> str:
        """What the screen shows."""
        return self._tmux("capture-pane", "-p")

    def wait_for(self, words: str, seconds: float = 30.0) -> str:
        """Wait until words are on the screen; gives the screen."""
        deadline = time.monotonic() + seconds
        while words not in (shown := self.text()):
            assert time.monotonic() < deadline, f"waited in vain for {words!r}:\n{shown}"
            time.sleep(0.1)
        return shown

    def wait_until_gone(self, words: str, seconds: float = 30.0) -> str:
        """Wait until words are no longer on the screen; gives the screen."""
        deadline = time.monotonic() + seconds
        while words in (shown := self.text()):
            assert time.monotonic() < deadline, f"waited in vain for the end of {words!r}:\n{shown}"
            time.sleep(0.1)
        return shown

    def resize(self, columns: int, rows: int) -> None:
        """Make the terminal another size."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def _tmux(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._server, *words], check=check, capture_output=True, text=True, timeout=20
        )
        return done.stdout


def has_tmux() -> bool:
    """Whether this machine can run these tests."""
    return shutil.which("tmux") is not None
