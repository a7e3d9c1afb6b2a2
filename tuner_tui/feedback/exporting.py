"""A collection as rows in TRL's formats: preferences, rated completions and demonstrations, each row with its origin.

Formats: https://huggingface.co/docs/trl/dataset_formats ("preference", "unpaired preference", "prompt-completion").
An answer that was cut off carries `..._finished: false` and no end token of any kind; trainers that close every answer
would teach a model to stop there, so such rows can be left out.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from tuner_tui.config.methods.traits import Feedback
from tuner_tui.errors import InputError, TunerError
from tuner_tui.feedback.records import Answer, Entry, Item, Judgement, Mode, RaterKind
from tuner_tui.files import replacing, write_atomic
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tuner_tui.feedback.store import Store

Kind = Feedback
KINDS: tuple[Kind, ...] = get_args(Feedback)
GOOD_FROM, BAD_TO = 4, 2
"""Scores from 4 up are good, up to 2 bad; 3 says neither and is left out."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What is left out of an export."""

    person_only: bool = False
    """Only what a person judged here: nothing imported, nothing by a judge model."""
    with_ai: bool = False
    """Also what a judge model proposed and no person has judged."""
    clear_only: bool = False
    """No slight preferences."""
    agreed_only: bool = False
    """No items on which judgements disagree (one's own repeats, or two raters)."""
    finished_only: bool = False
    """No answers that were cut off."""


class ExportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row: TRL's columns first, then where it is from."""

    columns: dict[str, Any]
    prompt_key: str
    """The same for the same prompt, to split by."""
    rater_kind: RaterKind
    is_unfinished: bool
    strength: str


def export_rows(store: Store, kind: Kind, filters: Filters, *, is_text: bool = False) -> list[ExportRow]:
    """A collection's rows of one kind; what has an empty answer, or two that are the same, is left out."""
    items = {item.id: item for item in store.items()}
    rows: list[ExportRow] = []
    for entry, judgement in chosen_judgements(store.standing(), filters):
        item = items[entry.item]
        for columns, used in _ROWS[kind](item, judgement, is_text):
            is_unfinished = any(answer.is_finished is False for answer in used)
            if (filters.finished_only and is_unfinished) or not all(answer.text.strip() for answer in used):
                continue
            origin = {
                "strength": judgement.strength,
                "rater": entry.rater,
                "rater_kind": entry.rater_kind,
                "ai_proposed": judgement.proposal is not None,
                "item": item.id,
            }
            rows.append(
                ExportRow(
                    columns=columns | origin,
                    prompt_key=hashlib.sha256(item.prompt_text.encode()).hexdigest(),
                    rater_kind=entry.rater_kind,
                    is_unfinished=is_unfinished,
                    strength=judgement.strength,
                )
            )
    return rows


def available_kind(store: Store, filters: Filters) -> Kind:
    """The kind that fits the collection's mode, else the one with most rows. Raises InputError when there are none."""
    fitting = _KIND_OF_MODE[store.settings().mode]
    found = {kind: len(export_rows(store, kind, filters)) for kind in KINDS}
    if found[fitting]:
        return fitting
    best = max(KINDS, key=lambda kind: found[kind])
    if not found[best]:
        raise nothing_to_export(store, "of any kind")
    return best


def nothing_to_export(store: Store, what: str) -> InputError:
    """Why an export would be empty."""
    return InputError(
        "Nothing to export",
        f"{store.path.stem} has {store.kept()} judgements, and no row {what} with these filters.",
        f"Judge some: {shell_command('feedback collect', store.path.stem)}",
    )


def chosen_judgements(standing: Sequence[Entry], filters: Filters) -> list[tuple[Entry, Judgement]]:
    """The last judgement of each rater on each unit that the filters let through, in order; flagged items are out."""
    flagged: set[int] = set()
    last: dict[tuple[int, str, tuple[int, ...]], tuple[Entry, Judgement]] = {}
    choices: dict[int, set[object]] = {}
    judged: set[int] = set()
    for entry in standing:
        judgement = entry.judgement
        if judgement is None:
            continue
        if judgement.verdict == "flag":
            flagged.add(entry.item)
        if judgement.is_set_aside:
            continue
        judged.add(entry.item)
        unit = judgement.shown if judgement.scores else ()
        last[entry.item, entry.rater, unit] = (entry, judgement)
        if not judgement.scores and judgement.written is None:
            choices.setdefault(entry.item, set()).add((judgement.verdict, judgement.best()))
    if filters.with_ai and not filters.person_only:
        for entry in standing:
            proposed = _as_judgement(entry)
            if proposed is not None and entry.item not in judged:
                last[entry.item, entry.rater, ()] = (entry, proposed)
    return [
        (entry, judgement)
        for entry, judgement in sorted(last.values(), key=lambda each: each[0].id)
        if entry.item not in flagged
        and (not filters.person_only or entry.rater_kind == "person")
        and (not filters.clear_only or judgement.strength == "clear")
        and (not filters.agreed_only or len(choices.get(entry.item, ())) <= 1)
    ]


def write_rows(rows: Sequence[ExportRow], path: Path, card: str) -> None:
    """Write rows as JSONL or, by the name's end, Parquet, and the data card beside them. Raises TunerError."""
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
    """Where the data card of an export lies."""
    return path.with_name(f"{path.stem}.card.md")


def split_by_prompt(rows: Sequence[ExportRow], share: float) -> tuple[list[ExportRow], list[ExportRow]]:
    """(training, evaluation) rows: all rows of a prompt on one side, the same ones each time."""
    keys = sorted({row.prompt_key for row in rows})
    count = round(len(keys) * share)
    if share > 0 and len(keys) > 1:
        count = min(max(1, count), len(keys) - 1)
    held = set(keys[:count])
    return [row for row in rows if row.prompt_key not in held], [
        row for row in rows if row.prompt_key in held
    ]


def _write_parquet(columns: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    with replacing(path, is_private=False) as making:
        parquet.write_table(arrow.Table.from_pylist(columns), making)


Used = tuple[dict[str, Any], tuple[Answer, ...]]


def _pairs(item: Item, judgement: Judgement, is_text: bool) -> list[Used]:
    by_id = {answer.id: answer for answer in item.answers}
    ranked = [(by_id[number], rank) for number, rank in judgement.rank_of().items()]
    found: list[Used] = []
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
                found.append((columns, (better, worse)))
    return found


def _rated(item: Item, judgement: Judgement, is_text: bool) -> list[Used]:
    by_id = {answer.id: answer for answer in item.answers}
    labels: list[tuple[Answer, bool]] = []
    if judgement.verdict == "thumbs":
        labels = [(by_id[n], bool(s)) for n, s in zip(judgement.shown, judgement.scores, strict=True)]
    elif judgement.verdict == "scores":
        scored = zip(judgement.shown, judgement.scores, strict=True)
        labels = [(by_id[n], s >= GOOD_FROM) for n, s in scored if s >= GOOD_FROM or s <= BAD_TO]
    elif judgement.verdict == "both_bad":
        labels = [(by_id[number], False) for number in judgement.shown]
    elif judgement.ranks and len(set(judgement.ranks)) > 1:
        labels = [
            (by_id[n], rank == 1)
            for n, rank in judgement.rank_of().items()
            if rank in (1, max(judgement.ranks))
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


def _demonstrations(item: Item, judgement: Judgement, is_text: bool) -> list[Used]:
    written = next((answer for answer in item.answers if answer.id == judgement.written), None)
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


def _as_judgement(entry: Entry) -> Judgement | None:
    if entry.proposal is None or entry.proposal.choice is None:
        return None
    ranks = tuple(1 if answer == entry.proposal.choice else 2 for answer in entry.proposal.answers)
    return Judgement(verdict="choice", shown=entry.proposal.answers, ranks=ranks, proposal=entry.id)


def _prompt(item: Item, is_text: bool) -> Any:
    if is_text:
        return item.prompt_text
    return [{"role": turn.role, "content": turn.content} for turn in item.prompt]


def _side(answer: Answer, is_text: bool) -> Any:
    return answer.text if is_text else [{"role": "assistant", "content": answer.text}]
