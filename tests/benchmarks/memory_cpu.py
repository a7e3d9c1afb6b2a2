"""The memory estimate against a real model on this CPU: `python -m tests.benchmarks.memory_cpu MODEL_FOLDER [--json]`.

Each line is a probe: a worker of its own, three steps on rows of one length, growth of its peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner_tui.config.spec import (
    DataSpec,
    FullTuning,
    LoraTuning,
    MachineSpec,
    ModelSpec,
    Precision,
    RunSpec,
    TrainingSpec,
)

if TYPE_CHECKING:
    from tuner_tui.planning.measurement import Measured

BOUND = 0.15
SHAPES = ((1, 512), (4, 256), (4, 512))
"""Rows at once, and tokens of each."""
KINDS: tuple[tuple[str, Precision], ...] = (
    ("full", "fp32"), ("full", "bf16"), ("lora", "fp32"), ("lora", "bf16"), ("lora", "nf4"),
)  # fmt: skip
"""Full tuning in fp32 mixes in bf16 where the CPU is fast at it."""


def main() -> int:
    """Print what was measured beside what was estimated; 1 when one of them is off by more than the bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="a folder with config.json, tokenizer and safetensors")
    parser.add_argument("--kind", action="append", help="such as lora-nf4; absent: all")
    parser.add_argument(
        "--times",
        type=int,
        default=1,
        help="probes of each, of which the median counts: malloc is not the same twice",
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    asked = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TUNER_TUI_HOME": folder, "HF_HUB_OFFLINE": "1"}
        for tuning, precision in KINDS:
            if asked.kind and f"{tuning}-{precision}" not in asked.kind:
                continue
            for rows, length in SHAPES:
                probes = [
                    probe(Path(folder), asked.model, tuning, precision, rows, length)
                    for _ in range(asked.times)
                ]
                measured = sorted(probes, key=lambda each: each.allocated_bytes)[len(probes) // 2]
                error = measured.predicted_bytes / measured.allocated_bytes - 1
                found.append(
                    {
                        "tuning": tuning, "precision": precision, "rows": rows, "length": measured.length,
                        "measured_bytes": measured.allocated_bytes, "predicted_bytes": measured.predicted_bytes,
                        "error": round(error, 4), "seconds_per_step": measured.seconds_per_step,
                    }
                )  # fmt: skip
                if not asked.json:
                    print(
                        f"{tuning:<5}{precision:<6}{rows:>2} x {measured.length:<6}"
                        f"{measured.allocated_bytes / 1e9:>8.2f} GB measured{measured.predicted_bytes / 1e9:>8.2f} GB "
                        f"estimated{100 * error:>+8.1f} %",
                        flush=True,
                    )
    if asked.json:
        json.dump(found, sys.stdout, indent=1)
    worst = max(abs(each["error"]) for each in found)
    print(f"worst {100 * worst:.1f} % of at most {100 * BOUND:g} %", file=sys.stderr)
    return 0 if worst <= BOUND else 1


def probe(home: Path, model: Path, tuning: str, precision: Precision, rows: int, length: int) -> Measured:
    """What three steps of one shape take."""
    from tuner_tui.keeper.probe import run_probe

    spec = RunSpec(
        model=ModelSpec(source=str(model), precision=precision),
        data=DataSpec(train=str(data_of(home / f"rows-{length}.jsonl", length))),
        tuning=FullTuning() if tuning == "full" else LoraTuning(),
        training=TrainingSpec(batch_size=rows, micro_batch=rows, max_length=length),
        machine=MachineSpec(device="cpu"),
    )
    return run_probe(spec).measured


def data_of(path: Path, length: int) -> Path:
    """Rows of about a length, with room for the template's own tokens: a short word is one token."""
    answer = " ".join(["the"] * (length - 48))
    path.write_text(json.dumps({"prompt": "Go on.", "completion": answer}) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
