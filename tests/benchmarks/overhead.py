"""How much of a training step our callbacks take: `python -m tests.benchmarks.overhead [--json]`; the bar is 2 %."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from tests.tiny_model import make_tiny_model
from tuner_tui.config.spec import DataSpec, MachineSpec, ModelSpec, RunSpec, SamplesSpec, TrainingSpec
from tuner_tui.models.source import find_source
from tuner_tui.planning.plan import make_plan
from tuner_tui.runs.create import create_run
from tuner_tui.runs.events import OverheadMeasured, RunFinished, StepLogged, decode_lines

BAR_PERCENT = 2.0
ROWS = 64


def main() -> int:
    """Train, and print where the time went. The exit code is 1 above the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--steps", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), asked.steps)
    if asked.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<24}{value:>12.4f}")
    return 0 if figures["callback_percent"] <= BAR_PERCENT else 1


def measure(folder: Path, steps: int) -> dict[str, float]:
    """A real run with events, samples, evaluation and checkpoints; its own account of where the time went."""
    os.environ |= {"TUNER_TUI_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    from tuner_tui.worker.train import run_job

    rows = (
        {"question": f"What comes after {n}?", "answer": f"After {n} comes {n + 1}."} for n in range(ROWS)
    )
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = make_tiny_model(folder / "model", hidden=256, layers=8)
    spec = RunSpec(
        model=ModelSpec(source=str(model), precision="fp32"),
        data=DataSpec(train=str(data), evaluation_share=0.1),
        training=TrainingSpec(max_steps=steps, batch_size=8, max_length=128),
        samples=SamplesSpec(prompts=("What comes after 7?",)),
        machine=MachineSpec(device="cpu"),
    )
    run = create_run(spec, make_plan(spec, find_source(spec.model.source)))
    run_job(run.path)
    events = decode_lines(run.events.read_bytes())
    taken = sorted(event.seconds for event in events if isinstance(event, StepLogged))
    spent = next(event for event in events if isinstance(event, OverheadMeasured))
    whole = next(event for event in events if isinstance(event, RunFinished)).seconds
    return {
        "steps": len(taken),
        "median_step_ms": 1000 * taken[len(taken) // 2],
        "callback_ms_a_step": 1000 * spent.callback_seconds / len(taken),
        "callback_percent": 100 * spent.callback_seconds / spent.step_seconds,
        "sample_percent": 100 * spent.sample_seconds / whole,
        "evaluation_percent": 100 * spent.evaluation_seconds / whole,
        "checkpoint_percent": 100 * spent.checkpoint_seconds / whole,
        "run_seconds": whole,
    }


if __name__ == "__main__":
    sys.exit(main())
