"""Fine-tuning on this CPU beside its rivals: `python -m tests.benchmarks.sft_cpu MODEL ROWS HELD_OUT`.

MODEL is a folder with safetensors, ROWS and HELD_OUT are JSONL files with question and answer. By turns, each in a
fresh process, on the same rows with the same adapter in fp32: `trl sft` at its defaults, TRL tuned by hand, a plain
loop of PyTorch and PEFT, `tuner-tui train`, and with `--against CHECKOUT` that of another checkout. Medians of the
rounds: tokens per second and per processor second after the first two steps, peak memory, seconds from start to the
first step, and the held-out loss of what was trained.

With `--method dpo` the same for DPO, where the answer of the next row is the rejected one: `trl dpo` at its defaults,
and ours; in place of a held-out loss, the mean loss of the steps, and the largest difference of a step's loss.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

WARM_UP = 2
BATCH = 4
RATE = 5e-4
RANK, ALPHA = 16, 32
LENGTH = 1024


def main() -> int:
    """Run the rounds and print the medians, and each figure as a share of the last contestant's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument(
        "--against", type=Path, help="another checkout of tuner-tui, with a .venv of its own or none"
    )
    parser.add_argument("--only", action="append", choices=["trl", "tuned", "loop", "ours", "against"])
    parser.add_argument("--method", choices=["sft", "dpo"], default="sft")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--shortest", type=int, help="take the shortest rows alone, so many")
    parser.add_argument("--child", choices=["trl", "tuned", "loop", "loss"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(CHILDREN[asked.child](asked)))
        return 0
    rivals = ["trl", "tuned", "loop"] if asked.method == "sft" else ["trl"]
    names = asked.only or [*rivals, *(["against"] if asked.against else []), "ours"]
    curves: dict[str, list[float]] = {}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        asked.rows = conversations(asked, Path(folder) / "rows", asked.steps * BATCH)
        asked.held_out = conversations(asked, Path(folder) / "held", 40, is_held_out=True)
        for number in range(asked.rounds):
            for name in names:
                out = Path(folder) / f"{name}{number}"
                out.mkdir()
                figures = measure(name, asked, out)
                curves[name] = figures.pop("losses", [])
                found[name].append(figures)
                print(name, json.dumps({key: round(value, 4) for key, value in figures.items()}), flush=True)
    medians = {name: median(all_figures) for name, all_figures in found.items()}
    for key in medians[names[-1]]:
        line = "  ".join(f"{name} {medians[name][key]:.4g}" for name in names)
        print(f"{key:<22}{line}")
    if asked.method == "dpo" and {"trl", "ours"} <= curves.keys():
        apart = max(abs(one - other) for one, other in zip(curves["trl"], curves["ours"], strict=True))
        print(f"losses of the steps differ by {apart:.2g} at the most")
    return 0


def conversations(asked: argparse.Namespace, folder: Path, count: int, *, is_held_out: bool = False) -> Path:
    """Rows of two turns in TRL's columns; the folder has one file, `train.jsonl`."""
    source = asked.held_out if is_held_out else asked.rows
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    if asked.shortest and not is_held_out:
        rows = sorted(rows, key=lambda row: len(row["question"] + row["answer"]))[: asked.shortest]
    rows = (rows * (count // len(rows) + 2))[: count + 1]
    folder.mkdir()
    with (folder / "train.jsonl").open("w") as file:
        for row, following in itertools.pairwise(rows):
            turns = {"prompt": [{"role": "user", "content": row["question"]}]}
            answers = (
                {"completion": row}
                if asked.method == "sft" or is_held_out
                else {"chosen": row, "rejected": following}
            )
            for name, answered in answers.items():
                turns[name] = [{"role": "assistant", "content": answered["answer"]}]
            file.write(json.dumps(turns) + "\n")
    return folder / "train.jsonl"


def median(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}


def measure(name: str, asked: argparse.Namespace, out: Path) -> dict[str, Any]:
    """One contestant in a process of its own, and the held-out loss of its adapter in another."""
    cores = len(os.sched_getaffinity(0))
    if name in ("ours", "against"):
        figures, adapter = train_ours(asked, out, asked.against if name == "against" else Path.cwd())
    else:
        threads = 1 if name == "trl" else cores  # accelerate's launcher, behind `trl sft`, sets one
        figures, adapter = child(name, asked, out, threads), out / "adapter"
    if asked.method == "dpo":
        return figures | {"mean_loss": statistics.mean(figures["losses"])}
    return figures | child("loss", asked, adapter, cores)


def child(name: str, asked: argparse.Namespace, out: Path, threads: int) -> dict[str, Any]:
    """Run this file once more."""
    own = [sys.executable, "-m", "tests.benchmarks.sft_cpu", asked.model, asked.rows, asked.held_out]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(
        [*map(str, own), "--child", name, "--out", str(out), "--steps", str(asked.steps), "--method", asked.method],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
    )  # fmt: skip
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def train_ours(asked: argparse.Namespace, out: Path, tree: Path) -> tuple[dict[str, Any], Path]:
    """`tuner-tui train` of a checkout, as a person types it; times are those of its events."""
    spec = out / "run.toml"
    spec.write_text(
        f'[model]\nsource = "{asked.model}"\nprecision = "fp32"\n[data]\ntrain = "{asked.rows}"\n'
        f'[method]\nkind = "{asked.method}"\n[tuning]\nkind = "lora"\nrank = {RANK}\nalpha = {ALPHA}\n'
        f'[training]\nepochs = 1\nlearning_rate = {RATE}\nschedule = "linear"\nwarmup = 0.0\n'
        f'batch_size = {BATCH}\nmax_length = {LENGTH}\n[machine]\ndevice = "cpu"\n'
    )
    python = tree / ".venv" / "bin" / "python"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))
    }
    environment |= {
        "TUNER_TUI_HOME": str(out / "home"),
        "PYTHONPATH": str(tree.resolve()),
        "HF_HUB_OFFLINE": "1",
    }
    command = [python if python.exists() else sys.executable, "-m", "tuner_tui", "train", spec, "--json"]
    began = time.time()
    running = subprocess.Popen(
        list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True, cwd=tree.resolve()
    )
    watch = Watch()
    steps: list[dict[str, Any]] = []
    first = 0.0
    assert running.stdout is not None
    for line in running.stdout:
        event = json.loads(line)
        match event.get("event") or event.get("type"):
            case "worker":
                watch.follow(event["pid"])
            case "step":
                steps.append(event | {"cpu": watch.cpu(), "now": time.time()})
                first = first or time.time() - began
    running.wait()
    watch.end()
    if len(steps) != asked.steps:
        raise RuntimeError(f"{len(steps)} of {asked.steps} steps; see {out}")
    counted = steps[WARM_UP:]
    tokens = sum(step["tokens"] for step in counted)
    result = {
        "tokens_per_second": tokens / sum(step["seconds"] for step in counted),
        "tokens_per_cpu_second": tokens / (steps[-1]["cpu"] - steps[WARM_UP - 1]["cpu"]),
        "peak_gb": watch.peak / 1e9,
        "seconds_to_step_1": first,
        "losses": [step["loss"] for step in steps],
    }
    return result, next((out / "home").glob("**/adapter_model.safetensors")).parent


class Watch(threading.Thread):
    """Follows a process's processor time and its peak memory."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.process: psutil.Process | None = None
        self.peak = 0
        self._over = threading.Event()

    def follow(self, pid: int) -> None:
        self.process = psutil.Process(pid)
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.1):
            try:
                assert self.process is not None
                lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            except OSError:
                return
            found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
            self.peak = max([self.peak, *found])  # none of a process that has ended

    def cpu(self) -> float:
        assert self.process is not None
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def end(self) -> None:
        self._over.set()


class Meter:
    """Wall and processor time of the steps after the warm-up, as a callback of transformers' Trainer."""

    def __init__(self) -> None:
        self.step = 0
        self.at: list[tuple[float, float]] = []
        self.losses: list[float] = []

    def end_step(self) -> None:
        self.at.append((time.perf_counter(), time.process_time()))

    def figures(self, tokens: float) -> dict[str, Any]:
        """`tokens`: of the steps after the warm-up."""
        (wall, cpu), (wall_end, cpu_end) = self.at[WARM_UP - 1], self.at[-1]
        return {
            "tokens_per_second": tokens / (wall_end - wall),
            "tokens_per_cpu_second": tokens / (cpu_end - cpu),
            "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
            "seconds_to_step_1": self.at[0][0] - BEGAN,
            "losses": self.losses,
        }


BEGAN = time.perf_counter()


def trl_at_defaults(asked: argparse.Namespace) -> dict[str, float]:
    """What `trl sft` runs, with its defaults for all but what every contestant is given."""
    return train_trl(asked, [])


def trl_tuned(asked: argparse.Namespace) -> dict[str, float]:
    """No activation checkpointing, and rows one by one, which pads nothing."""
    one_by_one = ("--per_device_train_batch_size", "1", "--gradient_accumulation_steps", str(BATCH))
    return train_trl(asked, ["--activation_checkpointing", "false", *one_by_one])


def train_trl(asked: argparse.Namespace, more: list[str]) -> dict[str, float]:
    """TRL's own script in this process."""
    from transformers import TrainerCallback
    from transformers import trainer as module
    from trl.scripts import dpo, sft

    class Told(TrainerCallback, Meter):
        def __init__(self) -> None:
            Meter.__init__(self)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.end_step()

        def on_log(self, *_: Any, **told: Any) -> None:
            if "loss" in told["logs"]:
                self.losses.append(float(told["logs"]["loss"]))

    meter = Told()
    module.DEFAULT_CALLBACKS.append(meter)  # type: ignore[arg-type]
    arguments = [
        "--model_name_or_path", asked.model, "--dataset_name", asked.rows.parent, "--use_peft", "--lora_r", RANK,
        "--lora_alpha", ALPHA, "--lora_dropout", 0.0, "--lora_target_modules", "all-linear", "--learning_rate", RATE,
        "--per_device_train_batch_size", BATCH, "--num_train_epochs", 1, "--max_length", LENGTH, "--use_cpu", "--bf16",
        "false", "--dtype", "float32", "--output_dir", asked.out / "adapter", "--report_to", "none", "--seed", 42,
        "--logging_steps", 1,
    ]  # fmt: skip
    script = dpo if asked.method == "dpo" else sft
    script.main(*script.make_parser().parse_args_and_config(args=[*map(str, arguments), *more]))
    return meter.figures(count_tokens(asked))


def plain_loop(asked: argparse.Namespace) -> dict[str, float]:
    """PyTorch and PEFT alone: rows grouped by length, padded, the model's own loss."""
    import torch

    model, tokenizer = loaded(asked.model)
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(42)
    model = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, target_modules="all-linear")
    )
    model.train()
    rows = sorted(tokenised(asked.rows, tokenizer), key=lambda row: len(row[0]))
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(42)).tolist()
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(batches))
    meter, tokens = Meter(), 0
    for number, index in enumerate(order):
        batch = batches[index]
        longest = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in batch])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch])
        labels = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in batch])
        model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        meter.end_step()
        tokens += sum(len(ids) for ids, _ in batch) if number >= WARM_UP else 0
    model.save_pretrained(asked.out / "adapter")
    return meter.figures(tokens)


def held_out_loss(asked: argparse.Namespace) -> dict[str, float]:
    """Mean negative log-likelihood of the answers' tokens in nats, with the adapter of `--out`."""
    import torch
    from peft import PeftModel

    base, tokenizer = loaded(asked.model)
    model = PeftModel.from_pretrained(base, asked.out).eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for ids, labels in tokenised(asked.held_out, tokenizer):
            wanted = torch.tensor(labels)[1:]
            has_loss = wanted != -100
            logits = model(torch.tensor([ids])).logits[0, :-1][has_loss].float()
            total += float(torch.nn.functional.cross_entropy(logits, wanted[has_loss], reduction="sum"))
            count += int(has_loss.sum())
    return {"held_out_loss": total / count}


def loaded(model: Path) -> tuple[Any, Any]:
    """The base in fp32 and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return base, AutoTokenizer.from_pretrained(model)


def tokenised(rows: Path, tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """Tokens and labels of each row: the answer's tokens and the end of its turn have loss."""
    made = []
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        answers = [row[name] for name in ("completion", "chosen", "rejected") if name in row]
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        for answer in answers:
            ids = tokenizer.apply_chat_template(row["prompt"] + answer, return_dict=False)
            made.append((ids, [-100] * len(prompt) + ids[len(prompt) :]))
    return made


def count_tokens(asked: argparse.Namespace) -> float:
    """Tokens of the steps after the warm-up, where each has its share: the mean of all rows."""
    from transformers import AutoTokenizer

    rows = tokenised(asked.rows, AutoTokenizer.from_pretrained(asked.model))
    return float(sum(len(ids) for ids, _ in rows) * (asked.steps - WARM_UP) / asked.steps)


CHILDREN = {"trl": trl_at_defaults, "tuned": trl_tuned, "loop": plain_loop, "loss": held_out_loss}

if __name__ == "__main__":
    sys.exit(main())
