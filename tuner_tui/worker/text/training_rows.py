"""The rows that a run trains on: tokenised, held out by seed, counted, and told from those of before a stop."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from tuner_tui.data.recognition.reading import evaluation_reading, training_reading
from tuner_tui.data.rows.faults import left_out_words
from tuner_tui.errors import InputError
from tuner_tui.runs.events import DataPrepared
from tuner_tui.text import counted
from tuner_tui.worker.text.tokens import AnyRow, TokenisedData
from tuner_tui.worker.training import preflight
from tuner_tui.worker.training.checkpoints import read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.worker.job import Job
    from tuner_tui.worker.training.common import ResolvedBase


def prepare(
    job: Job, resolved: ResolvedBase, tokenise: Callable[[Reading], TokenisedData[AnyRow]]
) -> tuple[TokenisedData[AnyRow], TokenisedData[AnyRow] | None]:
    """(training rows, evaluation rows), looked through before any training; says how many.

    Raises InputError, also when a run is resumed and its rows are no longer the same.
    """
    spec = job.spec
    training = training_reading(spec.data, spec.training.seed)
    train = tokenise(training)
    preflight.before_loading(job, training, train, resolved.tokenizer, resolved.location, resolved.revision)
    reading = evaluation_reading(spec.data, spec.training.seed)
    evaluation = tokenise(reading) if reading is not None else None
    if spec.data.evaluation_share and reading is None:
        train, evaluation = split(train, spec.data.evaluation_share, spec.training.seed)
    job.emit(
        DataPrepared(
            rows=len(train.rows),
            dropped_rows=len(train.dropped),
            cut_rows=sum(row.is_cut for row in train.rows),
            evaluation_rows=len(evaluation.rows) if evaluation else 0,
            tokens=sum(row.tokens for row in train.rows),
            trained_tokens=sum(row.trained_tokens for row in train.rows),
            longest_row=train.longest,
            shape=train.shape,
        )
    )
    for kind, dropped in (("", train.dropped), ("evaluation ", evaluation.dropped if evaluation else [])):
        if dropped:
            lines = ", ".join(str(row.line) for row in dropped[:5])
            job.warn(
                f"{counted(len(dropped), f'{kind}row has', f'{kind}rows have')} no token with loss within "
                f"{counted(spec.training.max_length, 'token')} and {'is' if len(dropped) == 1 else 'are'} left out "
                f"({'line' if len(dropped) == 1 else 'lines'} {lines}{', ...' if len(dropped) > 5 else ''}).",
                "Raise training.max_length.",
            )
    for kind, left_out in (("", train.left_out), ("evaluation ", evaluation.left_out if evaluation else {})):
        if left_out:
            job.warn(
                f"{kind}rows without a preference are left out: {left_out_words(left_out)}.".capitalize()
            )
    job.data_fingerprint = train.fingerprint
    job.held_out_fingerprint = evaluation.fingerprint if evaluation else ""
    if job.resume_from:
        _require_same(job, job.resume_from, str(training), str(reading or training))
    return train, evaluation


def _require_same(job: Job, checkpoint: Path, training: str, held_out: str) -> None:
    """Raises InputError when rows are not those of a checkpoint; older checkpoints do not tell of held-out rows."""
    manifest = read_manifest(checkpoint)
    hint = "Put the old rows back and resume, or branch a new run from that checkpoint."
    if manifest.data != job.data_fingerprint:
        raise InputError(
            "The training rows have changed",
            f"{training}: its tokens are not those that {checkpoint.name} was trained on, so part of "
            "the run would use other rows.",
            hint,
        )
    if manifest.held_out and manifest.held_out != job.held_out_fingerprint:
        raise InputError(
            "The held-out rows have changed",
            f"{held_out}: its tokens are not those that {checkpoint.name} was evaluated on, so the best "
            "evaluation would mean nothing.",
            hint,
        )


def split(
    data: TokenisedData[AnyRow], share: float, seed: int
) -> tuple[TokenisedData[AnyRow], TokenisedData[AnyRow]]:
    """Hold rows out by seed; at least one stays on each side. Raises InputError for a single row."""
    held = round(len(data.rows) * share)
    held = min(max(1, held), len(data.rows) - 1)
    if held < 1:
        raise InputError(
            "Too few rows to hold any out",
            "data.evaluation_share needs at least two rows to train on.",
            "Give more rows, or leave data.evaluation_share out.",
        )
    order = torch.randperm(len(data.rows), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = set(order[:held])
    remaining_rows = [row for index, row in enumerate(data.rows) if index not in chosen]
    out = [row for index, row in enumerate(data.rows) if index in chosen]
    return replace(data, rows=remaining_rows), TokenisedData(data.shape, out, [])
