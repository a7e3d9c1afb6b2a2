"""What the keeper does when a run has ended: a desktop notification, and the person's own command.

Nothing here ever touches a run: it happens in a thread, each part has its time, and a failure is a line in the
keeper's log.
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
    """Begin to tell of a run that has ended; the thread keeps its process alive until all is told."""
    try:
        outcome = read_outcome(folder)
    except OSError:  # its folder is gone
        return None
    if outcome is None:
        return None
    thread = threading.Thread(target=_tell, args=(outcome,), name=f"told-{folder.name}")
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
    except Exception:  # a run must not suffer from whatever a notification meets
        traceback.print_exc()


def run_command(command: str, outcome: Outcome, seconds: float) -> int | None:
    """Run the person's command in a shell; its exit code, or None when it took too long and was ended."""
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
        _say(f"{outcome.name}: notify.on_finish took more than {seconds:g} s and was ended")
        return None
    if code:
        _say(f"{outcome.name}: notify.on_finish ended with {code}")
    return code


def show_on_desktop(outcome: Outcome) -> bool:
    """Ask the desktop of this machine to show how a run ended; False where there is none."""
    program = shutil.which("notify-send")
    if program is None or not _has_desktop():
        return False
    urgency = "normal" if outcome.status == "finished" else "critical"
    body = outcome.details.replace("&", "&amp;").replace("<", "&lt;")  # it takes markup
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
    """Whether there is a session bus that a notification could go to."""
    if os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return True
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return (Path(runtime) / "bus").exists()


def _say(words: str) -> None:
    print(plain(words), flush=True)  # noqa: T201  (to the keeper's log)
