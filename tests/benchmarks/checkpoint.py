"""How long training stands still for a checkpoint: ours, whole and durable, beside transformers' own saving.

`python -m tests.benchmarks.checkpoint` trains a LoRA (rank 16, all linear layers) on a random model of SmolLM2-135M's
shape; at every step both ways save by turns. Exit code 1 when ours takes longer in the median.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.tiny_model import make_tiny_model
from tuner_tui.config.spec import CheckpointSpec, DataSpec, MachineSpec, ModelSpec, RunSpec, TrainingSpec
from tuner_tui.models.source import find_source
from tuner_tui.planning.plan import make_plan
from tuner_tui.runs.create import create_run
from tuner_tui.runs.folder import RunFolder

STEPS = 12
MOST_TIMES = 1.0


def measure(folder: Path) -> dict[str, Any]:
    """Train and save both ways at each step; medians in seconds."""
    os.environ |= {"TUNER_TUI_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    from transformers import Trainer

    from tuner_tui.worker.train import run_job
    from tuner_tui.worker.training.checkpoints import CompleteCheckpoints

    ours, theirs = [], []
    save = CompleteCheckpoints._save_checkpoint

    def save_both(self: Any, model: Any, trial: Any) -> None:
        for way in (0, 1) if self.state.global_step % 2 else (1, 0):
            started = time.perf_counter()
            if way == 0:
                save(self, model, trial)
                ours.append(time.perf_counter() - started)
            else:
                Trainer._save_checkpoint(self, model, trial)
                theirs.append(time.perf_counter() - started)
                shutil.rmtree(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")

    CompleteCheckpoints._save_checkpoint = save_both  # type: ignore[method-assign]
    run = _make_run(folder)
    if run_job(run.path):
        raise RuntimeError(run.events.read_text()[-2000:])
    held = sum(path.stat().st_size for path in (run.checkpoints / f"step-{STEPS:06d}").rglob("*"))
    return {
        "saves": len(ours),
        "megabytes": round(held / 1e6, 1),
        "ours_seconds": round(statistics.median(ours[1:]), 3),
        "transformers_seconds": round(statistics.median(theirs[1:]), 3),
        "times": round(statistics.median(ours[1:]) / statistics.median(theirs[1:]), 2),
    }


def _make_run(folder: Path) -> RunFolder:
    rows = [{"question": f"What comes after {n}?", "answer": f"After {n} comes {n + 1}."} for n in range(16)]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = make_tiny_model(folder / "model", hidden=576, layers=30)
    spec = RunSpec(
        model=ModelSpec(source=str(model), precision="fp32"),
        data=DataSpec(train=str(data)),
        training=TrainingSpec(max_steps=STEPS, batch_size=1, max_length=128),
        checkpoints=CheckpointSpec(every_steps=1),
        machine=MachineSpec(device="cpu"),
    )
    return create_run(spec, make_plan(spec, find_source(spec.model.source)))


def main() -> int:
    """Print the figures; 1 when ours stands still for longer."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    print(json.dumps(found, indent=2))
    return int(found["times"] > MOST_TIMES)


if __name__ == "__main__":
    sys.exit(main())
