"""What can be chosen as data, with a preview: files, Hub data sets and feedback collections."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuner_tui.config.methods.traits import TRAITS
from tuner_tui.data.files.listing import (
    CHECKED_ROWS,
    DataListing,
    DataLook,
    list_data,
    list_documents,
    look_at_reading,
)
from tuner_tui.data.ready import refused_rows
from tuner_tui.data.recognition.reading import (
    Reading,
    evaluation_reading,
    no_rows_left,
    plain_rows,
    training_reading,
)
from tuner_tui.data.rows.for_method import OtherMethod
from tuner_tui.errors import InputError, TunerError
from tuner_tui.feedback.as_data import PREFIX, data_for, is_collection, left_out, with_collections
from tuner_tui.feedback.collections import list_collections

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.feedback.collections import CollectionSummary


def list_all(folder: Path, *, documents: bool = False) -> list[DataListing]:
    """The demo, the data files in a folder and its subfolders, and collections with annotations.

    With `documents` what plain text can be read from: files of text, and folders of them.
    """
    if documents:
        return list_documents(folder)
    listings = list_data(folder)
    try:
        collections = list_collections()
    except (TunerError, OSError):
        collections = []
    usable = [
        DataListing(f"{PREFIX}{summary.name}", None, _collection_words(summary))
        for summary in collections
        if summary.judged or summary.problem
    ]
    return [*listings[:1], *usable, *listings[1:]]


def _collection_words(summary: CollectionSummary) -> str:
    if not summary.is_usable:
        return f"your feedback, cannot be used: {summary.problem}"
    return f"your feedback: {summary.judged:,} annotated" + (
        f", {summary.problem}" if summary.problem else ""
    )


def of_file(spec: RunSpec, name: str) -> RunSpec:
    """A spec with other training data, without the mapping and splits of the previous data."""
    if spec.data.train == name:
        return spec
    fresh = type(spec.data)(train=name)
    unchanged_keys = {
        key: getattr(spec.data, key)
        for key in ("evaluation", "evaluation_share", "hold_out_by", "limit", "chunk_bytes")
    }
    return spec.model_copy(update={"data": fresh.model_copy(update=unchanged_keys)})


def reading_of(spec: RunSpec) -> Reading:
    """How a spec reads its training rows. Raises TunerError."""
    return training_reading(with_collections(spec).data, spec.training.seed)


def look_at_training(spec: RunSpec) -> DataLook:
    """A preview of a spec's training rows for its method, or their problem."""
    try:
        reading = reading_of(spec)
        look = look_at_reading(reading, spec.method.kind)
        if look.problem is None:
            look = replace(look, problem=_refusal(spec, reading))
        return replace(look, left_out=tuple(left_out(spec.data)))
    except TunerError as error:
        other = _for_other_method(spec) if is_collection(spec.data.train) else None
        return other or DataLook(problem=error)
    except OSError as error:  # not a valid file name
        return DataLook(
            problem=InputError("The data file cannot be read", f"{spec.data.train}: {error.strerror}.")
        )


def _refusal(spec: RunSpec, reading: Reading) -> TunerError | None:
    """What the check calls an error in the rows that are read here; the start reads all. Raises TunerError."""
    some = replace(reading, limit=min(reading.limit or CHECKED_ROWS, CHECKED_ROWS))
    try:
        evaluation = evaluation_of(spec)
    except TunerError:  # shown with the evaluation data
        evaluation = None
    return _nothing_held(some) or refused_rows(some, evaluation, spec.method.kind)


def _nothing_held(reading: Reading) -> TunerError | None:
    """The error where a share of the prompts leaves no row of these for evaluation. Raises TunerError."""
    if reading.part != "kept":
        return None
    held = replace(reading, part="held")
    if next(plain_rows(held).rows, None) is not None:
        return None
    rows = sum(1 for _ in plain_rows(replace(reading, part="all", fixes=())).rows)
    return no_rows_left(held) if rows < CHECKED_ROWS else None  # of more rows only the first are read here


def evaluation_of(spec: RunSpec) -> Reading | None:
    """How a separate file of held-out rows is read; None without one. Raises TunerError."""
    if spec.data.evaluation is None:
        return None
    reading = evaluation_reading(with_collections(spec).data, spec.training.seed)
    return None if reading is None else replace(reading, part="all")


def look_at_evaluation(spec: RunSpec) -> DataLook | None:
    """The same for a separate file of held-out rows; None without one."""
    try:
        reading = evaluation_of(spec)
    except TunerError as error:
        return DataLook(problem=error)
    except OSError as error:
        return DataLook(
            problem=InputError("The data file cannot be read", f"{spec.data.evaluation}: {error.strerror}.")
        )
    return None if reading is None else look_at_reading(reading, spec.method.kind)


def _for_other_method(spec: RunSpec) -> DataLook | None:
    """A preview that names the method that trains on a collection; None where none does."""
    for method in TRAITS:
        try:
            reading = training_reading(data_for(spec.data, method), spec.training.seed)
            shape = plain_rows(reading).layout.shape
        except TunerError:
            continue
        return DataLook(shape, problem=OtherMethod(spec.method.kind, shape, reading))
    return None
