"""A collection as rows in TRL's formats: preferences, unpaired preferences and demonstrations, with their origin.

Formats: https://huggingface.co/docs/trl/dataset_formats ("preference", "unpaired preference", "prompt-completion").
A truncated answer has `..._finished: false` and no EOS token; trainers that append EOS to every answer would teach a
model to stop there, so such rows can be left out.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from tuner_tui.config.methods.traits import Feedback
from tuner_tui.errors import InputError, TunerError
from tuner_tui.feedback.records import Annotation, AnnotatorKind, Answer, Contents, Entry, Item, Mode
from tuner_tui.files import replacing, write_atomic
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tuner_tui.feedback.store import Store

Kind = Feedback
KINDS: tuple[Kind, ...] = get_args(Feedback)
GOOD_FROM, BAD_TO = 4, 2
"""Scores of 4 and more are good, of 2 and less bad; 3 is neutral and left out."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What an export leaves out."""

    person_only: bool = False
    """Only annotations by a person here: none imported, none by a judge model."""
    with_ai: bool = False
    """Also a judge model's proposals that no person has annotated."""
    clear_only: bool = False
    """Leave out slight preferences."""
    agreed_only: bool = False
    """No items on which annotations disagree (own repeats, or two annotators)."""
    finished_only: bool = False
    """No truncated answers."""


class ExportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row: TRL's columns first, then its origin."""

    columns: dict[str, Any]
    prompt_key: str
    """A hash of the prompt, to split by."""
    annotator_kind: AnnotatorKind
    is_unfinished: bool
    strength: str


def export_rows(store: Store, kind: Kind, filters: Filters, *, is_text: bool = False) -> list[ExportRow]:
    """A collection's rows of one kind, without those with an empty answer or two equal ones."""
    return rows_of(store.contents(), kind, filters, is_text=is_text)


def rows_of(contents: Contents, kind: Kind, filters: Filters, *, is_text: bool = False) -> list[ExportRow]:
    """The rows of one kind; rows in `contents.problems` cannot be read and are not included."""
    items = {item.id: item for item in contents.items}
    rows: list[ExportRow] = []
    for entry, annotation in chosen_annotations(contents.active_entries, filters):
        item = items[entry.item]
        for columns, used in _ROWS[kind](item, annotation, is_text):
            is_unfinished = any(answer.is_finished is False for answer in used)
            if (filters.finished_only and is_unfinished) or not all(answer.text.strip() for answer in used):
                continue
            origin = {
                "strength": annotation.strength,
                "rater": entry.annotator,
                "rater_kind": entry.annotator_kind,
                "ai_proposed": annotation.proposal is not None,
                "item": item.id,
            }
            rows.append(
                ExportRow(
                    columns=columns | origin,
                    prompt_key=hashlib.sha256(item.prompt_text.encode()).hexdigest(),
                    annotator_kind=entry.annotator_kind,
                    is_unfinished=is_unfinished,
                    strength=annotation.strength,
                )
            )
    return rows


def available_kind(store: Store, filters: Filters) -> Kind:
    """The kind of the collection's mode, else the one with most rows. Raises InputError when there are none."""
    fitting = _KIND_OF_MODE[store.settings().mode]
    contents = store.contents()
    row_counts = {kind: len(rows_of(contents, kind, filters)) for kind in KINDS}
    if row_counts[fitting]:
        return fitting
    best = max(KINDS, key=lambda kind: row_counts[kind])
    if not row_counts[best]:
        raise nothing_to_export(store, "of any kind")
    return best


def nothing_to_export(store: Store, what: str) -> InputError:
    """Why an export would be empty."""
    unreadable = len(store.contents().problems)
    also = f" {unreadable} of its rows cannot be read." if unreadable else ""
    return InputError(
        "Nothing to export",
        f"{store.path.stem} has {store.annotation_count()} annotations, and no row {what} with these filters.{also}",
        f"Annotate some: {shell_command('feedback collect', store.path.stem)}",
    )


def chosen_annotations(active_entries: Sequence[Entry], filters: Filters) -> list[tuple[Entry, Annotation]]:
    """Each annotator's last annotation of each unit that passes the filters, in order, without flagged items."""
    flagged: set[int] = set()
    last: dict[tuple[int, str, tuple[int, ...]], tuple[Entry, Annotation]] = {}
    choices: dict[int, set[object]] = {}
    judged: set[int] = set()
    for entry in active_entries:
        annotation = entry.annotation
        if annotation is None:
            continue
        if annotation.verdict == "flag":
            flagged.add(entry.item)
        if annotation.is_set_aside:
            continue
        judged.add(entry.item)
        unit = annotation.shown if annotation.scores else ()
        last[entry.item, entry.annotator, unit] = (entry, annotation)
        if not annotation.scores and annotation.written is None:
            choices.setdefault(entry.item, set()).add((annotation.verdict, annotation.best()))
    if filters.with_ai and not filters.person_only:
        for entry in active_entries:
            proposed = _as_annotation(entry)
            if proposed is not None and entry.item not in judged:
                last[entry.item, entry.annotator, ()] = (entry, proposed)
    return [
        (entry, annotation)
        for entry, annotation in sorted(last.values(), key=lambda pair: pair[0].id)
        if entry.item not in flagged
        and (not filters.person_only or entry.annotator_kind == "person")
        and (not filters.clear_only or annotation.strength == "clear")
        and (not filters.agreed_only or len(choices.get(entry.item, ())) <= 1)
    ]


def write_rows(rows: Sequence[ExportRow], path: Path, card: str) -> None:
    """Write rows as JSONL or Parquet, by the suffix, and the data card beside them. Raises TunerError."""
    columns = [row.columns for row in rows]
    try:
        if path.suffix == ".parquet":
            _write_parquet(columns, path)
        else:
            write_atomic(
                path, b"".join(msgspec.json.encode(row) + b"\n" for row in columns), is_private=False
            )
        write_atomic(card_path(path), card, is_private=False)
    except OSError as error:
        raise TunerError(
            "The export cannot be written",
            f"{path}: {error.strerror or error}.",
            "Name another place with --out.",
        ) from error


def card_path(path: Path) -> Path:
    """The path of an export's data card."""
    return path.with_name(f"{path.stem}.card.md")


def split_by_prompt(rows: Sequence[ExportRow], share: float) -> tuple[list[ExportRow], list[ExportRow]]:
    """(training, evaluation) rows: all rows of a prompt in one of them, deterministically."""
    keys = sorted({row.prompt_key for row in rows})
    count = round(len(keys) * share)
    if share > 0 and len(keys) > 1:
        count = min(max(1, count), len(keys) - 1)
    held_out = set(keys[:count])
    return [row for row in rows if row.prompt_key not in held_out], [
        row for row in rows if row.prompt_key in held_out
    ]


def _write_parquet(columns: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    with replacing(path, is_private=False) as making:
        parquet.write_table(arrow.Table.from_pylist(columns), making)


Used = tuple[dict[str, Any], tuple[Answer, ...]]


def _pairs(item: Item, annotation: Annotation, is_text: bool) -> list[Used]:
    by_id = {answer.id: answer for answer in item.answers}
    ranked = [(by_id[number], rank) for number, rank in annotation.rank_of().items()]
    pairs: list[Used] = []
    for better, high in ranked:
        for worse, low in ranked:
            if high < low and better.text.strip() != worse.text.strip():
                columns = {
                    "prompt": _prompt(item, is_text),
                    "chosen": _side(better, is_text),
                    "rejected": _side(worse, is_text),
                    "chosen_finished": better.is_finished is not False,
                    "rejected_finished": worse.is_finished is not False,
                    "chosen_model": better.maker.side,
                    "rejected_model": worse.maker.side,
                }
                pairs.append((columns, (better, worse)))
    return pairs


def _rated(item: Item, annotation: Annotation, is_text: bool) -> list[Used]:
    by_id = {answer.id: answer for answer in item.answers}
    labels: list[tuple[Answer, bool]] = []
    if annotation.verdict == "thumbs":
        labels = [(by_id[n], bool(s)) for n, s in zip(annotation.shown, annotation.scores, strict=True)]
    elif annotation.verdict == "scores":
        scored = zip(annotation.shown, annotation.scores, strict=True)
        labels = [(by_id[n], s >= GOOD_FROM) for n, s in scored if s >= GOOD_FROM or s <= BAD_TO]
    elif annotation.verdict == "both_bad":
        labels = [(by_id[number], False) for number in annotation.shown]
    elif annotation.ranks and len(set(annotation.ranks)) > 1:
        labels = [
            (by_id[n], rank == 1)
            for n, rank in annotation.rank_of().items()
            if rank in (1, max(annotation.ranks))
        ]
    return [
        (
            {
                "prompt": _prompt(item, is_text),
                "completion": _side(answer, is_text),
                "label": label,
                "completion_finished": answer.is_finished is not False,
                "completion_model": answer.maker.side,
            },
            (answer,),
        )
        for answer, label in labels
    ]


def _demonstrations(item: Item, annotation: Annotation, is_text: bool) -> list[Used]:
    written = next((answer for answer in item.answers if answer.id == annotation.written), None)
    if written is None:
        return []
    columns = {
        "prompt": _prompt(item, is_text),
        "completion": _side(written, is_text),
        "completion_model": written.maker.side,
        "completion_finished": True,
    }
    return [(columns, (written,))]


_KIND_OF_MODE: dict[Mode, Kind] = {
    "pairs": "pairs",
    "ranking": "pairs",
    "thumbs": "rated",
    "scores": "rated",
    "demonstrations": "demonstrations",
}
_ROWS = {"pairs": _pairs, "rated": _rated, "demonstrations": _demonstrations}


def _as_annotation(entry: Entry) -> Annotation | None:
    if entry.proposal is None or entry.proposal.choice is None:
        return None
    ranks = tuple(1 if answer == entry.proposal.choice else 2 for answer in entry.proposal.answers)
    return Annotation(verdict="choice", shown=entry.proposal.answers, ranks=ranks, proposal=entry.id)


def _prompt(item: Item, is_text: bool) -> Any:
    if is_text:
        return item.prompt_text
    return [{"role": turn.role, "content": turn.content} for turn in item.prompt]


def _side(answer: Answer, is_text: bool) -> Any:
    return answer.text if is_text else [{"role": "assistant", "content": answer.text}]
