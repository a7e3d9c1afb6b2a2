"""A collection as a run's data set: `feedback:NAME` becomes files of its current rows.

The files are named by a hash of their content and stay, so that a run can be resumed or repeated on the same rows while
the collection grows.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.config.methods.traits import TRAITS, method_traits
from tuner_tui.errors import InputError
from tuner_tui.feedback.card import data_card
from tuner_tui.feedback.checking import left_out_lines
from tuner_tui.feedback.collections import feedback_dir, open_collection
from tuner_tui.feedback.exporting import (
    ExportRow,
    Filters,
    Kind,
    available_kind,
    export_rows,
    nothing_to_export,
    split_by_prompt,
    write_rows,
)
from tuner_tui.files import make_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.config.spec import DataSpec, RunSpec
    from tuner_tui.feedback.store import Store

PREFIX = "feedback:"


def is_collection(name: str | None) -> bool:
    """Whether a spec's data.train or data.evaluation names a collection."""
    return name is not None and name.startswith(PREFIX)


def with_collections(spec: RunSpec) -> RunSpec:
    """The spec with collections replaced by files; an evaluation share is split off by prompt, never within one.

    Raises InputError for a method that does not train on feedback, and for a collection without usable rows.
    """
    data = data_for(spec.data, spec.method.kind)
    return spec if data is spec.data else spec.model_copy(update={"data": data})


def data_for(data: DataSpec, method: str) -> DataSpec:
    """A data section with collections replaced by files for a method; unchanged when it names none."""
    if not is_collection(data.train) and not is_collection(data.evaluation):
        return data
    kind = method_traits(method).feedback
    if kind is None:
        fitting = [other for other, traits in TRAITS.items() if traits.feedback is not None]
        raise InputError(
            "The method does not train on feedback",
            f"method.kind is {method}.",
            f"Use one of: {', '.join(fitting)}.",
        )
    changes: dict[str, object] = {}
    if is_collection(data.train):
        share = data.evaluation_share if data.evaluation is None else 0.0
        train, evaluation = _files(data.train, kind, share)
        changes["train"] = str(train)
        if evaluation is not None:
            changes |= {"evaluation": str(evaluation), "evaluation_share": 0.0}
    if data.evaluation is not None and is_collection(data.evaluation):
        changes["evaluation"] = str(_files(data.evaluation, kind, 0.0)[0])
    return data.model_copy(update=changes)


def left_out(data: DataSpec) -> list[str]:
    """What of the collections that a data section names cannot be read, and so is in none of its rows.

    Raises as `data_for` does for a collection that cannot be opened.
    """
    names = {name: None for name in (data.train, data.evaluation) if name is not None and is_collection(name)}
    return [line for name in names for line in left_out_of(name)]


def left_out_of(name: str) -> list[str]:
    """The same for one collection, such as `feedback:evening`."""
    with open_collection(name.removeprefix(PREFIX)) as store:
        return left_out_lines(name.removeprefix(PREFIX), store.contents().problems)


def file_of(name: str) -> Path:
    """A collection as a file of the rows that it has most of, to be checked and looked at. Raises InputError."""
    with open_collection(name.removeprefix(PREFIX)) as store:
        filters = Filters()
        kind = available_kind(store, filters)
        return _write(store, kind, export_rows(store, kind, filters), filters, "train")


def _files(name: str, kind: Kind, share: float) -> tuple[Path, Path | None]:
    collection = name.removeprefix(PREFIX)
    filters = Filters()
    with open_collection(collection) as store:
        rows = export_rows(store, kind, filters)
        if not rows:
            raise nothing_to_export(store, f"of the kind that this method trains on ({kind})")
        train, evaluation = split_by_prompt(rows, share)
        return (
            _write(store, kind, train, filters, "train"),
            _write(store, kind, evaluation, filters, "evaluation") if evaluation else None,
        )


def _write(store: Store, kind: Kind, rows: list[ExportRow], filters: Filters, part: str) -> Path:
    content = b"\n".join(msgspec.json.encode(row.columns) for row in rows)
    digest = hashlib.sha256(content).hexdigest()[:12]
    folder = feedback_dir() / "exports"
    make_folder(folder)
    path = folder / f"{store.path.stem}-{kind}-{part}-{digest}.jsonl"
    if not path.exists():
        write_rows(rows, path, data_card(store, kind, rows, filters))
    return path
