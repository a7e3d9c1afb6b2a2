"""The planner's choice against a grid on this CPU: `python -m tests.benchmarks.planner_speed MODEL_FOLDER`.

For rows of several lengths: micro-batches of several sizes, one after another with all threads and one for each thread.
Every grid point trains the same rows per step in the real worker; rounds are interleaved, and medians are compared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tuner_tui.config.spec import (
    CheckpointSpec,
    DataSpec,
    MachineSpec,
    ModelSpec,
    RunSpec,
    SamplesSpec,
    TrainingSpec,
)
from tuner_tui.hardware.environment import worker_environment
from tuner_tui.hardware.system import usable_cpu_count
from tuner_tui.models.source import find_source
from tuner_tui.planning.plan import make_plan
from tuner_tui.planning.this_machine import plan_here
from tuner_tui.planning.threads import choose_threads
from tuner_tui.runs.create import create_run
from tuner_tui.runs.events import StepLogged, decode_lines

if TYPE_CHECKING:
    from tuner_tui.planning.planner import MemoryPlan

Point = tuple[int, int]
"""(rows of a micro-batch, micro-batches at a time)"""
BATCH, SLACK = 8, 1.1
LENGTHS = (20, 60, 200, 800)
TEMPLATE_TOKENS = 13
"""Tokens of a row without its words, about."""


def main() -> int:
    """Print seconds per step of each point; 1 when the plan's is more than a tenth above the best."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="a folder with config.json, tokenizer and safetensors")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="steps of each point; the first is left out")
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS, help="mean tokens of a row")
    parser.add_argument(
        "--micro", type=int, nargs="*", default=[1, 2, 4, 8], help="micro-batches of the grid"
    )
    asked = parser.parse_args()
    threads = choose_threads(usable_cpu_count())[0]
    wanted = worker_environment(threads)
    if any(
        os.environ.get(name) != value for name, value in wanted.items()
    ):  # malloc and OpenMP read it at the start
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TUNER_TUI_HOME": folder, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        for length in asked.lengths:
            worst = max(worst, compare(asked, length, Path(folder), threads))
    return 0 if worst <= SLACK else 1


def compare(asked: argparse.Namespace, length: int, folder: Path, threads: int) -> float:
    """Measure the grid for rows of one mean length; how much longer the plan's step takes than the best's."""
    spec = spec_of(asked, folder, length)
    plan = plan_here(spec, find_source(spec.model.source))
    assert plan is not None
    chosen: Point = (plan.micro_batch, plan.load.concurrent)
    each_way = itertools.product(asked.micro, (1, threads))
    grid = [chosen, *((micro, at_once) for micro, at_once in each_way if micro * at_once <= BATCH)]
    taken: dict[Point, list[float]] = defaultdict(list)
    for _ in range(asked.rounds):
        for point in dict.fromkeys(grid):
            taken[point].append(seconds_of(spec, plan, point))
    medians = {point: statistics.median(found) for point, found in taken.items()}
    best = min(medians.values())
    print(f"rows of about {length} tokens")
    for point, seconds in sorted(medians.items(), key=lambda each: each[1]):
        mark = "  <- planned" if point == chosen else ""
        print(f"  micro-batch {point[0]:>2}, {point[1]} at a time{seconds:>8.2f} s a step{mark}")
    share = medians[chosen] / best
    print(f"  the plan's step takes {share:.2f} times the best's (at most {SLACK:g})", flush=True)
    return share


def spec_of(asked: argparse.Namespace, folder: Path, length: int) -> RunSpec:
    """Rows from half to one and a half times a length, the planner's settings left open."""
    rows = folder / f"rows{length}.jsonl"
    words = max(2, length - TEMPLATE_TOKENS)
    draw = Random(length)
    lines = (
        {"prompt": f"Say it {n}.", "completion": " again" * draw.randint(words // 2, words * 3 // 2)}
        for n in range(BATCH * asked.steps)
    )
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return RunSpec(
        model=ModelSpec(source=str(asked.model)),
        data=DataSpec(train=str(rows)),
        training=TrainingSpec(batch_size=BATCH, max_steps=asked.steps, max_length=2048),
        checkpoints=CheckpointSpec(every_steps=1000),
        samples=SamplesSpec(),
        machine=MachineSpec(device="cpu"),
    )


def seconds_of(spec: RunSpec, plan: MemoryPlan, point: Point) -> float:
    """Seconds of a step of one point, the first step left out."""
    from tuner_tui.worker.train import run_job

    training = spec.training.model_copy(update={"micro_batch": point[0]})
    machine = spec.machine.model_copy(update={"concurrent_micro_batches": point[1]})
    pinned = spec.model_copy(update={"training": training, "machine": machine})
    sorted_plan = replace(plan, is_sorted=plan.is_sorted or max(point) > 1)
    run = create_run(pinned, make_plan(pinned, find_source(spec.model.source), memory=sorted_plan))
    run_job(run.path)
    found = [each.seconds for each in decode_lines(run.events.read_bytes()) if isinstance(each, StepLogged)]
    return statistics.median(found[1:])


if __name__ == "__main__":
    sys.exit(main())
