"""The planner's choice against a small grid on this CPU: `python -m tests.benchmarks.planner_speed MODEL_FOLDER`.

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
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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

Switch = Literal["on", "off"]
Point = tuple[int, Switch]
BATCH, WORDS, STEPS, SLACK = 8, (30, 60), 4, 1.2


def main() -> int:
    """Print seconds per step of each point; 1 when the plan's is more than a fifth above the best."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="a folder with config.json, tokenizer and safetensors")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--micro", type=int, nargs="*", default=[1, 2, 4, 8], help="micro-batches of the grid"
    )
    asked = parser.parse_args()
    wanted = worker_environment(choose_threads(usable_cpu_count())[0])
    if any(
        os.environ.get(name) != value for name, value in wanted.items()
    ):  # malloc and OpenMP read it at the start
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TUNER_TUI_HOME": folder, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        spec = spec_of(asked.model, Path(folder))
        plan = plan_here(spec, find_source(spec.model.source))
        assert plan is not None
        chosen: Point = (plan.micro_batch, "on" if plan.is_checkpointing else "off")
        switches: tuple[Switch, ...] = ("off", "on")
        grid = list(dict.fromkeys([chosen, *itertools.product(asked.micro, switches)]))
        taken: dict[Point, list[float]] = defaultdict(list)
        for _ in range(asked.rounds):
            for point in grid:
                taken[point].append(seconds_of(spec, plan, point))
    medians = {point: statistics.median(found) for point, found in taken.items()}
    best = min(medians.values())
    for point, seconds in sorted(medians.items(), key=lambda each: each[1]):
        mark = "  <- planned" if point == chosen else ""
        print(f"micro-batch {point[0]:>2}, checkpointing {point[1]:<4}{seconds:>8.2f} s a step{mark}")
    share = medians[chosen] / best
    print(f"the plan's step takes {share:.2f} times the best's (at most {SLACK:g})")
    return 0 if share <= SLACK else 1


def spec_of(model: Path, folder: Path) -> RunSpec:
    """Rows of several lengths, the planner's settings left open."""
    rows = folder / "rows.jsonl"
    lines = (
        {"prompt": f"Say it {n} times.", "completion": " ".join(["again"] * (WORDS[0] + n % WORDS[1]))}
        for n in range(BATCH * STEPS)
    )
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return RunSpec(
        model=ModelSpec(source=str(model)),
        data=DataSpec(train=str(rows)),
        training=TrainingSpec(batch_size=BATCH, max_steps=STEPS, max_length=128),
        checkpoints=CheckpointSpec(every_steps=1000),
        samples=SamplesSpec(),
        machine=MachineSpec(device="cpu"),
    )


def seconds_of(spec: RunSpec, plan: MemoryPlan, point: Point) -> float:
    """Seconds of a step of one point, the first step left out."""
    from tuner_tui.worker.train import run_job

    training = spec.training.model_copy(update={"micro_batch": point[0], "checkpointing": point[1]})
    pinned = spec.model_copy(update={"training": training})
    run = create_run(pinned, make_plan(pinned, find_source(spec.model.source), memory=plan))
    run_job(run.path)
    found = [each.seconds for each in decode_lines(run.events.read_bytes()) if isinstance(each, StepLogged)]
    return statistics.median(found[1:])


if __name__ == "__main__":
    sys.exit(main())
