"""The [data] table of a run spec: which rows are learnt from, how they are read, and what may pass the checks."""

from __future__ import annotations

import re
from typing import Literal

from tuner_tui.config.fields import Section, option

DataShape = Literal[
    "auto", "messages", "instruction", "prompt_completion", "text", "preference", "rated", "prompts"
]
Fix = Literal[
    "drop_broken",
    "drop_empty",
    "drop_duplicates",
    "drop_same_sides",
    "drop_secrets",
    "drop_leaked",
    "trim",
    "clean",
]
"""Steps that mend rows while they are read; data/fixes.py says what each does."""
Allowed = Literal[
    "nothing_trained", "end_never_trained", "end_masked", "doubled_start", "template_missing",
    "template_changed", "template_drops_turns", "tokens_unknown", "beyond_context", "odd_first_loss",
]  # fmt: skip
"""Findings of the pre-flight that a run may be started in spite of."""


_HOW = re.compile(r"^(?P<file>.+?)(?P<how>\s+(?:weight|rows)=\S+)?$", re.DOTALL)


def split_source(line: str) -> tuple[str, str]:
    """A line of data.also as its file and the rest, with the space before it."""
    match = _HOW.match(line.strip())
    return (match["file"], match["how"] or "") if match else (line, "")


class DataSpec(Section):
    """The rows that are learnt from."""

    train: str = option(
        ...,
        "Training data",
        "A file of rows (JSONL, JSON, CSV, TSV, Parquet, Arrow or text, also gzip or zstd), a folder of such files, or "
        '"hub:owner/name" for a Hub data set that is on this machine; a relative path counts from the folder of '
        'run.toml. "demo" is the shipped demo data.',
        min_length=1,
    )
    split: str | None = option(
        None, "Split", "Which split of the training data; train when absent, and there are splits."
    )
    also: tuple[str, ...] = option(
        (),
        "Further sources",
        'More training data, one a line: "FILE weight=0.5" draws so many of its rows for one of the whole mixture, '
        '"FILE rows=200" so many rows; FILE alone takes all.',
        "An epoch is then one pass over the mixture as it was drawn.",
    )
    evaluation: str | None = option(
        None, "Evaluation data", "Held-out rows that are never trained on, kept like the training data."
    )
    evaluation_share: float = option(
        0.0,
        "Evaluation share",
        "Share of the training rows held out, when there is no evaluation file.",
        "More rows measure better and teach less.",
        ge=0.0,
        le=0.5,
    )
    hold_out_by: Literal["seed", "prompt"] = option(
        "seed",
        "Hold out by",
        "seed draws rows; prompt holds out all rows of a prompt together, by a hash of it, so that nothing leaks.",
        "prompt keeps the same rows held out whatever is added, and meets the share only roughly.",
    )
    shape: DataShape = option(
        "auto",
        "Shape",
        "messages (chat turns), instruction (question or instruction, input, answer), prompt_completion or "
        "text for sft; preference (pairs: prompt, chosen, rejected) and rated (prompt, completion, label) for the "
        "methods that learn from what people prefer; prompts; auto reads it off the first rows.",
    )
    mapping: tuple[str, ...] = option(
        (),
        "Mapping",
        "What is made of which columns when the guess is wrong, one a line, such as "
        '"prompt = {question}\\n{context}". Parts: messages, system, user, assistant, prompt, completion, text, '
        "chosen, rejected, label, tools.",
    )
    fixes: tuple[Fix, ...] = option(
        (),
        "Fixes",
        "Steps that mend rows while they are read; the file stays as it is. drop_broken, drop_empty, drop_duplicates, "
        "drop_same_sides, drop_secrets, drop_leaked (rows that are in the evaluation data), trim, clean.",
    )
    encoding: str | None = option(
        None, "Encoding", "Of text files that are not UTF-8, such as cp1252; UTF-16 is told by its mark."
    )
    template: str | None = option(
        None,
        "Chat template",
        'A file with a chat template to use in place of the model\'s, or "chatml"; for models that have none.',
        "Another template than the one that the base was taught with has to be learnt first.",
    )
    allow: tuple[Allowed, ...] = option(
        (),
        "Allowed findings",
        "Findings that would stop the run before its first step, by name, to go on in spite of.",
        "Each stands for a run that is likely to be wasted; the report keeps them.",
    )
    limit: int | None = option(None, "Row limit", "Use only the first so many rows.", ge=1)
