"""Checking and tokenising a million rows, here and with `datasets`: `python -m tests.benchmarks.data`.

Each job is a process of its own, so that its peak memory is its own; ours and theirs take turns. `datasets` does what
is usual: `load_dataset`, then a batched `map` with the same checks (the very same functions for the single row) or the
same tokenising; its cache starts empty, as ours does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SEED = 7
MODEL = "tiny"


def main() -> int:
    """Make the data, run every job and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tokenised-rows", type=int, help="Rows that are tokenised; all when left out.")
    parser.add_argument("--file", type=Path, help="A file that was made before, or is to be kept.")
    parser.add_argument("--jobs", default="first-look,check,check-datasets,tokenise,tokenise-datasets")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        print(json.dumps(JOBS[asked.job](asked.file, asked.folder)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = asked.file or folder / "rows.jsonl"
        if not path.exists():
            make_rows(path, asked.rows)
        part = folder / "part.jsonl"
        first_lines(path, part, asked.tokenised_rows)
        make_model(folder / MODEL)
        report(asked.jobs.split(","), path, part, folder)
    return 0


def report(jobs: list[str], path: Path, part: Path, folder: Path) -> None:
    """Run the jobs and print rows a second and peak memory."""
    print(f"{path.stat().st_size / 1e9:.2f} GB; {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}")
    for job in jobs:
        file = part if job.startswith("tokenise") else path
        home = folder / f"home-{job}"
        child = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.benchmarks.data",
                "--job",
                job,
                "--file",
                str(file),
                "--folder",
                str(folder),
            ],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"HF_HOME": str(home), "TUNER_TUI_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        )
        if child.returncode:
            print(f"{job:<20} failed: {child.stderr[-2000:]}")
            continue
        told = json.loads(child.stdout.splitlines()[-1])
        rate = told["rows"] / told["seconds"]
        print(
            f"{job:<20} {told['rows']:>9,} rows {told['seconds']:>8.1f} s {rate:>9,.0f} rows/s"
            f" {told['peak_mb']:>7,.0f} MB  {told.get('found', '')}"
        )


def make_rows(path: Path, count: int) -> None:
    """Conversations of about a kilobyte; a few of them are bad in each of the usual ways."""
    draw = random.Random(SEED)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(5000)]
    texts = [" ".join(draw.choices(words, k=80)) for _ in range(4000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            asked = f"{draw.choice(words)} {number} {draw.choice(texts)[: draw.randint(50, 350)]}?"
            answer = f"{draw.choice(texts)}\n{draw.choice(texts)[: draw.randint(0, 450)]}."
            match number % 5000:
                case 17:
                    answer = ""
                case 18:
                    answer += " write to ann.bee@mail.somewhere.org"
                case 19:
                    answer += " \u202e"
                case 20:
                    asked, answer = "the same question", "the same answer"
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": turns}) + "\n")


def first_lines(path: Path, part: Path, count: int | None) -> None:
    """The first rows of a file; all of them through a link."""
    if count is None:
        part.symlink_to(path)
        return
    with path.open("rb") as file, part.open("wb") as out:
        for _, line in zip(range(count), file, strict=False):
            out.write(line)


def make_model(folder: Path) -> None:
    """A tokenizer of 8,000 tokens with a chat template."""
    from transformers import AutoTokenizer

    from tests.tiny_model import make_tiny_model

    make_tiny_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    draw = random.Random(SEED)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(5000)]
    trained = tokenizer.train_new_from_iterator([words], 8000)
    trained.chat_template = tokenizer.chat_template
    trained.save_pretrained(folder)


def measured(rows: int, began: float, **more: Any) -> dict[str, Any]:
    """Seconds since `began` and this process's peak."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": rows, "seconds": time.perf_counter() - began, "peak_mb": peak, **more}


def first_look(path: Path, _: Path) -> dict[str, Any]:
    """Shape and first rows, as the screen shows them at once."""
    from itertools import islice

    from tuner_tui.data.recognition.reading import Reading, plain_rows

    began = time.perf_counter()
    rows = list(islice(plain_rows(Reading(path)).strict(), 3))
    return measured(len(rows), began)


def check_ours(path: Path, _: Path) -> dict[str, Any]:
    from tuner_tui.data.checking.checks import check
    from tuner_tui.data.recognition.reading import Reading

    began = time.perf_counter()
    result = check(Reading(path))
    found = {problem.kind: problem.count for problem in result.problems}
    return measured(result.rows, began, found=dict(sorted(found.items())))


def check_datasets(path: Path, _: Path) -> dict[str, Any]:
    from datasets import load_dataset

    from tuner_tui.data.checking.checks import is_in_order
    from tuner_tui.data.checking.scan import KINDS, is_clean, suspicions
    from tuner_tui.data.rows.content import content_key, is_empty, texts_of
    from tuner_tui.data.rows.near_duplicates import near_duplicates

    def look(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        rows = [{"messages": turns} for turns in batch["messages"]]
        kinds = [
            {kind for text in texts_of(row) if not is_clean(text) for kind in suspicions(text)}
            for row in rows
        ]
        return {
            "key": [content_key(row) for row in rows],
            "empty answers": [is_empty(row) for row in rows],
            "roles out of order": [not is_in_order(row["messages"]) for row in rows],
            **{name: [name in each for each in kinds] for name in KINDS},
        }

    began = time.perf_counter()
    rows = load_dataset("json", data_files=str(path), split="train")
    flags = rows.map(look, batched=True, remove_columns=rows.column_names)
    keys = flags.with_format("numpy")["key"][:]
    names = [name for name in flags.column_names if name != "key"]
    found = {name: int(flags.with_format("numpy")[name][:].sum()) for name in names}
    found["exact duplicates"] = len(keys) - len(set(keys.tolist()))
    sample = rows.select(random.Random(0).sample(range(len(rows)), min(2000, len(rows))))
    near_duplicates([" ".join(texts_of(row)) for row in sample])
    return measured(len(rows), began, found={name: count for name, count in sorted(found.items()) if count})


def tokenise_ours(path: Path, folder: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.data.rows.types import iterate_examples
    from tuner_tui.worker.text import token_cache
    from tuner_tui.worker.text.tokens import tokenise_many

    tokenizer = AutoTokenizer.from_pretrained(folder / MODEL)
    count = 0
    began = time.perf_counter()
    reading = Reading(path.resolve())
    token_cache.cache_key(reading, tokenizer, 1024, "answers")
    _, examples = iterate_examples(reading)

    def counted() -> Any:
        nonlocal count
        for row in tokenise_many(examples, tokenizer, 1024, "answers"):
            count += 1
            yield row

    token_cache.write(folder / "ours.tokens.arrow", counted(), str(path))
    return measured(count, began)


def tokenise_datasets(path: Path, folder: Path) -> dict[str, Any]:
    """TRL's way with prompt and completion, batched: where the prompt ends is where the answer's labels begin."""
    from datasets import load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / MODEL)

    def tokenise(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        prompts = [
            tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
            for turns in batch["messages"]
        ]
        wholes = [tokenizer.apply_chat_template(turns, tokenize=False) for turns in batch["messages"]]
        begins = [len(ids) for ids in tokenizer(prompts, add_special_tokens=False)["input_ids"]]
        ids = [each[:1024] for each in tokenizer(wholes, add_special_tokens=False)["input_ids"]]
        labels = [[-100] * begin + each[begin:] for begin, each in zip(begins, ids, strict=True)]
        return {"input_ids": ids, "labels": labels}

    began = time.perf_counter()
    rows = load_dataset("json", data_files=str(path.resolve()), split="train")
    made = rows.map(tokenise, batched=True, remove_columns=rows.column_names)
    return measured(len(made), began)


JOBS = {
    "first-look": first_look,
    "check": check_ours,
    "check-datasets": check_datasets,
    "tokenise": tokenise_ours,
    "tokenise-datasets": tokenise_datasets,
}


if __name__ == "__main__":
    sys.exit(main())
