"""The [data] table of a run spec: the training rows, how they are read, and allowed findings."""

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
    "merge_system",
]
"""Steps that fix rows while they are read; implemented in data/recognition/fixes.py."""
Allowed = Literal[
    "nothing_trained", "end_never_trained", "end_masked", "doubled_start", "template_missing",
    "template_changed", "template_drops_turns", "tokens_unknown", "beyond_context", "odd_first_loss",
]  # fmt: skip
"""Findings of the pre-flight checks that may be allowed."""


FEWEST_BYTES = 200
"""The smallest chunk of a document that can be asked for: some 50 tokens."""
_HOW = re.compile(r"^(?P<file>.+?)(?P<how>\s+(?:weight|rows)=\S+)?$", re.DOTALL)


def split_source(line: str) -> tuple[str, str]:
    """A line of data.also as its file and the rest, with the space before it."""
    match = _HOW.match(line.strip())
    return (match["file"], match["how"] or "") if match else (line, "")


class DataSpec(Section):
    """The rows to train on."""

    train: str = option(
        ...,
        "Training data",
        "A file of rows (JSONL, JSON, CSV, TSV, Parquet, Arrow, text or PDF, also gzip or zstd), a folder of such "
        'files, or "hub:owner/name" for a Hub data set that is on this machine; a relative path is relative to the '
        'folder of run.toml. "demo" is the shipped demo data.',
        min_length=1,
    )
    split: str | None = option(
        None, "Split", "Which split of the training data; if unset and there are splits, train."
    )
    also: tuple[str, ...] = option(
        (),
        "Further sources",
        'More training data, one per line: "FILE weight=0.5" makes its rows that share of the mixture, '
        '"FILE rows=200" draws that many rows; FILE alone takes all.',
        "An epoch is then one pass over the mixture as it was drawn.",
    )
    evaluation: str | None = option(
        None,
        "Evaluation data",
        "Held-out rows that are never trained on, in the same format as the training data.",
    )
    evaluation_share: float = option(
        0.0,
        "Evaluation share",
        "Share of the training rows held out, when there is no evaluation file.",
        "More rows give a better measurement and leave less to train on.",
        ge=0.0,
        le=0.5,
    )
    hold_out_by: Literal["seed", "prompt"] = option(
        "seed",
        "Hold out by",
        "seed draws rows; prompt holds out all rows of a prompt together, by a hash of it, so that nothing leaks.",
        "prompt keeps the same rows held out when rows are added; the share is met only roughly.",
    )
    shape: DataShape = option(
        "auto",
        "Dataset type",
        "messages (chat turns), instruction (question or instruction, input, answer), prompt_completion or "
        "text for sft; preference (pairs: prompt, chosen, rejected) and rated (prompt, completion, label) for the "
        "preference methods; prompts (prompt-only); auto detects it from the first rows.",
    )
    mapping: tuple[str, ...] = option(
        (),
        "Mapping",
        "How columns map to parts when the detection is wrong, one per line, such as "
        '"prompt = {question}\\n{context}". Parts: messages, system, user, assistant, prompt, completion, text, '
        "chosen, rejected, label, first, second, verdict, tools, reasoning, chat_template_kwargs. "
        '"verdict = {preference} < 4" prefers the first of two answers below 4, the second above.',
    )
    fixes: tuple[Fix, ...] = option(
        (),
        "Fixes",
        "Steps that fix rows while they are read; the file stays as it is. drop_broken, drop_empty, drop_duplicates, "
        "drop_same_sides, drop_secrets, drop_leaked (rows that are in the evaluation data), trim, clean, "
        "merge_system (put the system prompt in the first user turn).",
    )
    encoding: str | None = option(
        None,
        "Encoding",
        "Of text files that are not UTF-8, such as cp1252; UTF-16 is recognised by its byte order mark.",
    )
    chunk_bytes: int | None = option(
        None,
        "Chunk size",
        "Of text, Markdown and PDF files: paragraphs are joined to rows of at most this many bytes of UTF-8, and "
        "longer ones are split between sentences; about 3 to 4 bytes make a token. If unset, each paragraph is a row.",
        "Longer rows keep more context together and take more memory; those beyond the length limit are truncated.",
        ge=FEWEST_BYTES,
    )
    template: str | None = option(
        None,
        "Chat template",
        'A file with a chat template to use in place of the model\'s, or "chatml"; for models that have none.',
        "The model has to learn a template that it was not trained with.",
    )
    allow: tuple[Allowed, ...] = option(
        (),
        "Allowed findings",
        "Names of findings to allow; by default they stop the run before its first step.",
        "Each means that the run is likely wasted; the report lists them.",
    )
    limit: int | None = option(None, "Row limit", "Use only this many rows, from the start.", ge=1)
