"""Notifications when a run has ended: on the desktop, and through the user's own command.

They never affect a run: they run in a thread with a time limit each, and a failure is a line in the keeper's log.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.config.settings import read_settings
from tuner_tui.errors import TunerError
from tuner_tui.keeper.outcome import WORTH_TELLING, Outcome, read_outcome
from tuner_tui.text import plain

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder

DESKTOP_SECONDS = 10.0
DEFAULT_SECONDS = 60.0


def tell(folder: RunFolder) -> threading.Thread | None:
    """Start the notifications of an ended run; the thread keeps the process alive until they are done."""
    try:
        outcome = read_outcome(folder)
    except OSError:  # its folder does not exist
        return None
    if outcome is None:
        return None
    thread = threading.Thread(target=_tell, args=(outcome,), name=f"notify-{folder.name}")
    thread.start()
    return thread


def _tell(outcome: Outcome) -> None:
    try:
        settings = read_settings()
        if settings.switch("notify.desktop") and outcome.status in WORTH_TELLING:
            show_on_desktop(outcome)
        command = settings.text("notify.on_finish")
        if command is not None:
            run_command(command, outcome, settings.number("notify.on_finish_seconds") or DEFAULT_SECONDS)
    except TunerError as error:
        _say(f"settings: {error}")
    except Exception:  # a failing notification must not affect the run
        traceback.print_exc()


def run_command(command: str, outcome: Outcome, seconds: float) -> int | None:
    """Run the user's command in a shell; its exit code, or None when it exceeded its time and was killed."""
    process = subprocess.Popen(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | outcome.variables(),
        start_new_session=True,
    )
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _say(f"{outcome.name}: notify.on_finish took more than {seconds:g} s and was killed")
        return None
    if code:
        _say(f"{outcome.name}: notify.on_finish exited with code {code}")
    return code


def show_on_desktop(outcome: Outcome) -> bool:
    """Show a desktop notification; False where there is no desktop."""
    program = shutil.which("notify-send")
    if program is None or not _has_desktop():
        return False
    urgency = "normal" if outcome.status == "finished" else "critical"
    body = outcome.details.replace("&", "&amp;").replace("<", "&lt;")  # the body is parsed as markup
    command = [program, "--app-name=tuner-tui", f"--urgency={urgency}", "--", outcome.headline, body]
    try:
        subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DESKTOP_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        _say(f"notify-send: {error}")
        return False
    return True


def _has_desktop() -> bool:
    """Whether there is a session bus for notifications."""
    if os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return True
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return (Path(runtime) / "bus").exists()


def _say(words: str) -> None:
    print(plain(words), flush=True)  # noqa: T201  (to the keeper's log)
