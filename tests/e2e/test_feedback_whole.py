"""Annotating in a real terminal: killed after every annotation, with the disk checked when "saved" is shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.e2e.terminal import Terminal, has_tmux

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not has_tmux(), reason="tmux is not installed"),
]
JUDGEMENTS = 50


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    rows = [{"prompt": f"Question {n}?", "answers": [f"alpha {n}", f"beta {n}"]} for n in range(JUDGEMENTS)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {
        "TUNER_TUI_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
    }
    run(found, "feedback", "import", "evening", str(tmp_path / "rows.jsonl"))
    return found


def run(environment: dict[str, str], *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "tuner_tui", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def judged(environment: dict[str, str]) -> int:
    return int(json.loads(run(environment, "feedback", "list", "--json"))[0]["judged"])


COLLECT = [sys.executable, "-m", "tuner_tui", "feedback", "collect", "evening"]


def app_process(environment: dict[str, str]) -> psutil.Process:
    for process in psutil.process_iter():
        try:
            is_app = process.cmdline()[-2:] == ["collect", "evening"] and "strace" not in process.name()
            is_ours = is_app and process.environ().get("TUNER_TUI_HOME") == environment["TUNER_TUI_HOME"]
            if is_ours and process.name().startswith("python"):
                return process
        except (psutil.Error, OSError):
            continue
    raise AssertionError("the app is not there")


def test_killed_straight_after_each_annotation(environment: dict[str, str]) -> None:
    for number in range(1, JUDGEMENTS + 1):
        with Terminal(COLLECT, environment) as terminal:
            terminal.wait_for(f"saved {number - 1}")
            app = app_process(environment)
            terminal.press(str(number % 2 + 1))
            terminal.wait_for(f"saved {number}")
            app.send_signal(signal.SIGKILL)
            terminal.wait_for("[ended 137]")
    assert judged(environment) == JUDGEMENTS


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_disk_is_asked_before_kept_is_shown(environment: dict[str, str], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,write"
    with Terminal(
        ["strace", "-f", "-y", "-tt", "-s", "20000", "-e", calls, "-o", str(trace), *COLLECT], environment
    ) as terminal:
        terminal.wait_for("saved 0", 120)
        time.sleep(2)  # what opening wrote is over
        lines_before = trace.read_text(errors="replace").count("\n")
        terminal.press("1")
        terminal.wait_for("saved 1", 60)
        time.sleep(0.5)
        terminal.press("q")
        terminal.wait_for("[ended 0]", 60)
    lines = trace.read_text(errors="replace").splitlines()[lines_before:]
    synced = next(
        n for n, line in enumerate(lines) if re.search(r"f(data)?sync\(\d+<.*evening\.sqlite3-wal>", line)
    )
    shown = next(n for n, line in enumerate(lines) if "write(" in line and "saved 1" in line)
    assert synced < shown, "\n".join(lines[: shown + 1])
