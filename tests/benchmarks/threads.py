"""What the worker's environment does on this machine: `python -m tests.benchmarks.threads`.

Interleaved child processes, each with another environment, make the same training steps: waiting threads that sleep or
spin, one thread or all, alone and beside a busy neighbour with the same settings, and freed memory given back or kept.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from tuner_tui.hardware.environment import MALLOC_THRESHOLD_BYTES
from tuner_tui.hardware.system import usable_cpu_count

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(MALLOC_THRESHOLD_BYTES)}
MALLOC = {
    f"the worker's {MALLOC_THRESHOLD_BYTES >> 10} KiB": GIVES_BACK,
    "256 KiB": {"MALLOC_MMAP_THRESHOLD_": str(256 << 10)},
    "glibc's default": {},
}
SETTINGS = (*PASSIVE, *GIVES_BACK, "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> int:
    """Measure every setting several times and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--neighbour", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.neighbour:
        return keep_busy()
    if asked.child:
        print(json.dumps(train(asked.steps)))
        return 0
    report(asked.repeats, asked.steps)
    return 0


def report(repeats: int, steps: int) -> None:
    """Print two tables: threads and waiting, then memory."""
    cores = usable_cpu_count()
    counts = sorted({1, max(1, cores - 1), cores})
    kinds = [
        (threads, waiting, beside)
        for threads in counts
        for waiting in ("passive", "default")
        for beside in ("alone", "busy neighbour")
    ]
    taken = defaultdict(list)
    memory = defaultdict(list)
    for _ in range(repeats):
        for threads, waiting, beside in kinds:
            settings = {
                "OMP_NUM_THREADS": str(threads),
                **(PASSIVE if waiting == "passive" else {}),
                **GIVES_BACK,
            }
            with neighbour(settings) if beside == "busy neighbour" else contextlib.nullcontext():
                taken[threads, waiting, beside].append(run_child(settings, steps)["step_ms"])
        for name, malloc in MALLOC.items():
            settings = {"OMP_NUM_THREADS": str(cores), **PASSIVE, **malloc}
            memory[name].append(run_child(settings, steps))
    print(f"{cores} cores, medians of {repeats} runs of {steps} steps, ms a step")
    print(f"{'threads':<9}{'waiting':<10}{'alone':>10}{'busy neighbour':>17}")
    for threads in counts:
        for waiting in ("passive", "default"):
            alone, busy = (
                statistics.median(taken[threads, waiting, beside]) for beside in ("alone", "busy neighbour")
            )
            print(f"{threads:<9}{waiting:<10}{alone:>10.1f}{busy:>17.1f}")
    print(f"\n{'blocks go back from':<24}{'peak MiB':>10}{'ms a step':>12}")
    for name, runs in memory.items():
        peak, step = (statistics.median(run[key] for run in runs) for key in ("peak_mib", "step_ms"))
        print(f"{name:<24}{peak:>10.0f}{step:>12.1f}")


def child_environment(settings: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in SETTINGS} | settings


def run_child(settings: dict[str, str], steps: int) -> dict[str, float]:
    """Train in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.threads", "--child", "--steps", str(steps)]
    answer = subprocess.run(command, env=child_environment(settings), stdout=subprocess.PIPE, check=True)
    figures: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return figures


@contextlib.contextmanager
def neighbour(settings: dict[str, str]) -> Iterator[None]:
    """A second process with a thread pool of torch's, busy all the while."""
    command = [sys.executable, "-m", "tests.benchmarks.threads", "--neighbour"]
    process = subprocess.Popen(command, env=child_environment(settings), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it is at work
        yield
    finally:
        process.kill()
        process.communicate()


def keep_busy() -> int:
    """Multiply matrices until killed."""
    import torch

    left, right = torch.randn(512, 512), torch.randn(512, 512)
    print("busy", flush=True)
    while True:
        torch.mm(left, right)


def train(steps: int) -> dict[str, float]:
    """Some steps of a small random Llama; the median step and the peak of resident memory."""
    import resource
    import time

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4096,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    taken = []
    for step in range(steps):
        ids = torch.randint(0, 4096, (4, 96 + 16 * (step % 3)))  # lengths vary, as those of batches do
        started = time.perf_counter()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        taken.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"step_ms": 1000 * statistics.median(taken[3:]), "peak_mib": peak}


if __name__ == "__main__":
    sys.exit(main())
