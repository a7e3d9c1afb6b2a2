"""Start-up: from exec until a run's name is on the screen, beside the smallest possible Textual app.

`python -m tests.benchmarks.first_paint` makes 300 run folders, starts both apps by turns in a real terminal of
120x40 and compares medians: at most 2.0 times the time and 2 times the memory. Exit code 1 when it is more.

`--against CHECKOUT` names another checkout of this project, with a `.venv` of its own, which is started in the same
turns, and the ratio to it is printed.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

ROUNDS = 12
RUNS = 300
MOST_TIMES = 2.0
NEWEST = "newest-run"
"""Short enough to be shown whole in the list, beside the columns that this has room for."""
SMALLEST = f"""
from textual.app import App
from textual.widgets import Static
class Smallest(App):
    def compose(self):
        yield Static({NEWEST!r})
Smallest().run()
"""


def make_runs(home: Path, recorded: Path | None = None, count: int = RUNS) -> None:
    """Run folders as a person has them: ended runs with their events and summaries, the newest last."""
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.summary import write_summary

    recorded = recorded or Path(__file__).resolve().parent.parent / "data" / "run_recorded"
    events = (recorded / "events.jsonl").read_bytes()
    runs = home / "data" / "runs"
    first = None
    for number in range(count):
        name = f"2026-11-{number % 28 + 1:02}-{NEWEST if number == count - 1 else 'older'}-{number:04x}"
        folder = RunFolder(runs / name)
        folder.control.mkdir(parents=True)
        folder.checkpoints.mkdir()
        folder.events.write_bytes(events)
        folder.lock.touch()
        shutil.copy(recorded / "run.toml", folder.spec)
        made_at = time.time() - (count - number) * 60
        os.utime(folder.spec, (made_at, made_at))
        if first is None:
            write_summary(folder)
            first = folder
        else:
            shutil.copy(first.path / "summary.json", folder.path / "summary.json")


def first_paint(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds until the name is on screen, and the memory then in megabytes."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    started = time.perf_counter()
    child = subprocess.Popen(
        command, stdin=other, stdout=other, stderr=other, env=environment, start_new_session=True
    )
    os.close(other)
    shown = b""
    deadline = started + 30
    while NEWEST.encode() not in shown:
        if time.perf_counter() > deadline:
            child.kill()
            raise TimeoutError(f"nothing to see: {shown[-500:]!r}")
        if select.select([main], [], [], 0.5)[0]:
            shown += os.read(main, 65536)
    seconds = time.perf_counter() - started
    memory = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    os.close(main)
    return seconds, memory


def measure(rounds: int = ROUNDS, against: Path | None = None) -> dict[str, float]:
    """Medians of the apps, started by turns so that a busy machine slows all."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        make_runs(home)
        environment = os.environ | {
            "TUNER_TUI_HOME": str(home),
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
        }
        ours = [str(Path(sys.executable).with_name("tuner-tui"))]
        smallest = [sys.executable, "-c", SMALLEST]
        commands = {"ours": ours, "smallest": smallest}
        if against is not None:
            commands["other"] = [str(against / ".venv" / "bin" / "tuner-tui")]
        for command in commands.values():  # files into the cache, byte code onto the disk
            first_paint(command, environment)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                times[name].append(first_paint(command, environment))
    found = {}
    for name, pairs in times.items():
        found[f"{name}_seconds"] = round(statistics.median(pair[0] for pair in pairs), 3)
        found[f"{name}_megabytes"] = round(statistics.median(pair[1] for pair in pairs), 1)
    if against is not None:
        found["times_the_others_time"] = round(found["ours_seconds"] / found["other_seconds"], 2)
    found["times_the_time"] = round(found["ours_seconds"] / found["smallest_seconds"], 2)
    found["times_the_memory"] = round(found["ours_megabytes"] / found["smallest_megabytes"], 2)
    return found


def main() -> int:
    """Print the figures; 1 when they are over what we promise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--against", type=Path, help="another checkout with a .venv")
    found = measure(against=parser.parse_args().against)
    print(json.dumps(found, indent=2))
    return int(found["times_the_time"] > MOST_TIMES or found["times_the_memory"] > MOST_TIMES)


if __name__ == "__main__":
    sys.exit(main())
