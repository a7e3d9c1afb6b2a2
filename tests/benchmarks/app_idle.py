"""What watching costs: the app on a live run, 120x40, a step every half second.

`python -m tests.benchmarks.app_idle` starts a writer that holds a run's lock and appends steps and telemetry, opens
that run in the app, and looks on for a while: under 5 % of one core, under 20 KB/s to the terminal. Exit code 1 else.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

WARM_UP_SECONDS = 6.0
SECONDS = 20.0
PAST_STEPS = 5000
MOST_CORE_PERCENT = 5.0
MOST_KILOBYTES_A_SECOND = 20.0


def write_run(folder_path: str, keeper_lock: str) -> None:
    """In a process of its own: be the keeper and the worker of a run that never ends."""
    import msgspec

    from tuner_tui.hardware.telemetry import TelemetrySample
    from tuner_tui.runs import lock
    from tuner_tui.runs.events import RunStarted, StepLogged, TrainingStarted, WorkerStarted
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.journal import EventWriter

    folder = RunFolder(Path(folder_path))
    held = lock.acquire(folder.lock), lock.acquire(Path(keeper_lock))
    assert all(held)
    writer = EventWriter(folder.events)
    start = time.time() - PAST_STEPS * 0.5
    writer.write(RunStarted(at=start, protocol=1))
    writer.write(WorkerStarted(at=start, pid=os.getpid()))
    writer.write(TrainingStarted(at=start, total_steps=4 * PAST_STEPS, micro_batch=8, accumulation=1))
    step = 0
    while True:
        step += 1
        loss = 2 + 2 * math.exp(-step / 2000) + 0.3 * math.sin(step * 1.7) * math.cos(step * 0.37)
        writer.write(
            StepLogged(
                at=start + step * 0.5,
                step=step,
                total_steps=4 * PAST_STEPS,
                epoch=step / 1000,
                loss=loss,
                grad_norm=1.0 + loss / 10,
                learning_rate=1e-4,
                tokens=1000 + step % 37,
                seconds=0.5,
                metrics={"entropy": loss / 2, "mean_token_accuracy": 1 / loss},
            )
        )
        if step % 2 == 0 and step > PAST_STEPS - 500:
            sample = TelemetrySample(
                at=start + step * 0.5,
                gpu_percent=90 + step % 10,
                gpu_memory_used_bytes=9_000_000_000 + step * 1000,
                gpu_memory_total_bytes=12_000_000_000,
                temperature_celsius=70 + step % 5,
                power_watts=180 + step % 20,
                cpu_percent=30 + step % 7,
                run_cpu_percent=20,
                ram_available_bytes=20_000_000_000 - step * 1000,
                ram_total_bytes=32_000_000_000,
                run_ram_bytes=2_000_000_000,
                energy_wh=step / 100,
            )
            with folder.telemetry.open("ab") as file:
                file.write(msgspec.json.encode(sample) + b"\n")
        if step >= PAST_STEPS:
            time.sleep(0.5)


def measure(seconds: float = SECONDS, size: tuple[int, int] = (120, 40)) -> dict[str, float]:
    """Processor time and output of the app while it watches."""
    recorded = Path(__file__).resolve().parent.parent / "data" / "run_recorded"
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "data" / "runs" / "2026-11-21-watched-0001"
        folder.mkdir(parents=True)
        for name in ("run.toml", "plan.json", "worker.log"):
            shutil.copy(recorded / name, folder / name)
        writer = subprocess.Popen(
            [
                sys.executable,
                "-m",
                __spec__.name,
                "write",
                str(folder),
                str(Path(home) / "data" / "keeper.lock"),
            ]
        )
        try:
            return _watch(Path(home), folder, seconds, size)
        finally:
            writer.kill()
            writer.wait()


def _watch(home: Path, folder: Path, seconds: float, size: tuple[int, int]) -> dict[str, float]:
    import psutil

    events = folder / "events.jsonl"
    while not events.exists() or events.read_bytes().count(b"\n") < PAST_STEPS:
        time.sleep(0.2)
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    environment = os.environ | {
        "TUNER_TUI_HOME": str(home),
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
    }
    command = [str(Path(sys.executable).with_name("tuner-tui"))]
    app = subprocess.Popen(
        command, stdin=other, stdout=other, stderr=other, env=environment, start_new_session=True
    )
    os.close(other)
    _read(main, 2.0)
    os.write(main, b"\r")
    shown = _read(main, WARM_UP_SECONDS)
    assert b"Overview" in shown, shown[-2000:]
    process = psutil.Process(app.pid)
    before, started = process.cpu_times(), time.perf_counter()
    written = len(_read(main, seconds))
    took, after = time.perf_counter() - started, process.cpu_times()
    memory = process.memory_info().rss
    os.killpg(app.pid, signal.SIGKILL)
    app.wait()
    os.close(main)
    used = after.user + after.system - before.user - before.system
    return {
        "core_percent": round(100 * used / took, 2),
        "kilobytes_a_second": round(written / took / 1000, 2),
        "megabytes": round(memory / 1e6, 1),
    }


def _read(descriptor: int, seconds: float) -> bytes:
    """What comes in so many seconds."""
    read = bytearray()
    until = time.perf_counter() + seconds
    while (left := until - time.perf_counter()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            read += os.read(descriptor, 65536)
    return bytes(read)


def main() -> int:
    """Print the figures; 1 when they are over what we promise."""
    if sys.argv[1:2] == ["write"]:
        write_run(*sys.argv[2:4])
    found = measure()
    print(json.dumps(found, indent=2))
    return int(
        found["core_percent"] > MOST_CORE_PERCENT or found["kilobytes_a_second"] > MOST_KILOBYTES_A_SECOND
    )


if __name__ == "__main__":
    sys.exit(main())
