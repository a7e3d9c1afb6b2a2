"""How long attaching to a very long run takes: `python -m tests.benchmarks.events [--json]`.

Each measurement is a fresh process that opens the run's folder once: ours (RunFollower.poll and a snapshot), and a
peer (json.loads into plain lists). They take turns, so that a busy moment of the machine meets both.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.runs.events import (
    CheckpointSaved,
    Evaluated,
    PhaseEntered,
    RunFinished,
    RunStarted,
    Sampled,
    StepLogged,
    TrainingStarted,
    WorkerStarted,
    encode,
)
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.status import RunFollower

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.runs.events import Event

STEPS = (200_000, 400_000)
ROUNDS = 5
BAR_SECONDS = 1.0
BAR_GROWTH_BYTES = 8 << 20
"""How much more memory the run of twice as many steps may take."""


def main() -> int:
    """Make the runs, measure, print; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--measure", nargs=2, metavar=("WHO", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        who, folder = arguments.measure
        print(json.dumps(measure(who, RunFolder(Path(folder)))))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        results = [compare(make_run(Path(scratch) / str(steps), steps), steps) for steps in STEPS]
    growth = results[1]["ours"]["rss_growth_bytes"] - results[0]["ours"]["rss_growth_bytes"]
    is_good = results[0]["ours"]["seconds"] < BAR_SECONDS and growth < BAR_GROWTH_BYTES
    if arguments.json:
        print(json.dumps({"runs": results, "rss_growth_between_bytes": growth, "passed": is_good}, indent=2))
    else:
        for result in results:
            report(result)
        print(f"memory that twice the steps add: {growth / 1e6:.1f} MB (bar {BAR_GROWTH_BYTES / 1e6:.1f} MB)")
        print(
            f"{STEPS[0]:,} steps in less than {BAR_SECONDS:g} s, memory bounded: {'yes' if is_good else 'NO'}"
        )
    return 0 if is_good else 1


def compare(run: RunFolder, steps: int) -> dict[str, dict[str, float]]:
    """Measure both, turn by turn; medians of the rounds."""
    taken: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
    for _ in range(ROUNDS):
        for who, rounds in taken.items():
            command = [sys.executable, "-m", "tests.benchmarks.events", "--measure", who, str(run.path)]
            rounds.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    medians = {
        who: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for who, rounds in taken.items()
    }
    return {"file": {"steps": steps, "bytes": run.events.stat().st_size}, **medians}


def measure(who: str, run: RunFolder) -> dict[str, float]:
    """Attach once, in this process."""
    before = peak_rss_bytes()
    started, worked = time.perf_counter(), time.process_time()
    steps = attach(run) if who == "ours" else attach_plainly(run)
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - worked,
        "rss_growth_bytes": peak_rss_bytes() - before,
        "last_step": steps,
    }


def attach(run: RunFolder) -> int:
    """What opening a run's screen does."""
    follower = RunFollower(run)
    assert follower.poll() == "finished"
    snapshot = follower.state.snapshot()
    assert snapshot.curves.steps[-1] == snapshot.step
    return snapshot.step


def attach_plainly(run: RunFolder) -> int:
    """The same figures with the standard library and lists that hold every point."""
    columns: dict[str, list[float | None]] = {
        name: [] for name in ("step", "loss", "grad_norm", "learning_rate", "tokens", "seconds")
    }
    others = []
    with run.events.open(encoding="utf-8") as file:
        for line in file:
            event = json.loads(line)
            if event["event"] == "step":
                for name, column in columns.items():
                    column.append(event.get(name))
            else:
                others.append(event)
    assert others[-1]["event"] == "finished"
    return int(columns["step"][-1] or 0)


def peak_rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def make_run(path: Path, steps: int) -> RunFolder:
    """A run's folder with the events of a finished run of so many steps."""
    run = RunFolder(path)
    path.mkdir()
    run.lock.touch()
    with run.events.open("wb") as file:
        for event in make_events(steps):
            file.write(encode(event))
    return run


def make_events(steps: int) -> Iterator[Event]:
    """What a real run says: fields as the worker writes them, evaluations, samples and checkpoints among the steps."""
    chance, at = random.Random(0), 1_795_000_000.0
    yield RunStarted(protocol=1, versions={"torch": "2.13.0", "transformers": "5.23.0"}, at=at)
    yield WorkerStarted(pid=4711, at=at)
    yield PhaseEntered(phase="training", at=at)
    yield TrainingStarted(total_steps=steps, micro_batch=4, accumulation=2, at=at)
    for step in range(1, steps + 1):
        at += 0.3 + chance.random() / 10
        yield StepLogged(
            step=step,
            total_steps=steps,
            epoch=step / steps * 3,
            loss=5 * step**-0.2 + chance.gauss(0, 0.1),
            grad_norm=chance.lognormvariate(0, 0.5),
            learning_rate=2e-4 * (1 - step / steps),
            tokens=chance.randrange(500, 4000),
            seconds=0.3 + chance.random() / 10,
            peak_memory_bytes=7_516_192_768,
            metrics={"entropy": chance.random(), "mean_token_accuracy": chance.random()},
            at=at,
        )
        if step % 500 == 0:
            yield PhaseEntered(phase="evaluating", at=at)
            yield Evaluated(step=step, loss=chance.random(), seconds=2.5, is_best=step % 1500 == 0, at=at)
            yield PhaseEntered(phase="training", at=at)
            yield CheckpointSaved(
                step=step, path=f"checkpoints/step-{step:06d}", size_bytes=25_000_000, seconds=0.4, at=at
            )
        if step % 2000 == 0:
            for index in range(3):
                yield Sampled(
                    step=step,
                    prompt_index=index,
                    prompt="What is the capital of France, and why?",
                    answer="Paris, because kings lived there. " * 6,
                    source="tuned",
                    seconds=1.2,
                    is_finished=True,
                    at=at,
                )
    yield RunFinished(step=steps, loss=1.0, seconds=at - 1_795_000_000.0, at=at)


def report(result: dict[str, dict[str, float]]) -> None:
    """One run's figures for a person."""
    print(
        f"{result['file']['steps']:,} steps, {result['file']['bytes'] / 1e6:.0f} MB of events; median of {ROUNDS}:"
    )
    for who, words in (("ours", "attach and snapshot"), ("peer", "json.loads and lists")):
        figures = result[who]
        print(
            f"  {words:<22}{figures['seconds']:6.2f} s ({figures['cpu_seconds']:.2f} s of processor time), "
            f"peak memory +{figures['rss_growth_bytes'] / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    sys.exit(main())
