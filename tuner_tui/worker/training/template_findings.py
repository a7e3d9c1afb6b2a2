"""What the chat template does to the rows: whether it is the base's, and what it leaves out of them."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from tuner_tui.data.recognition.reading import plain_rows
from tuner_tui.data.rows.for_method import plain_for
from tuner_tui.data.tokens.conversations import conversations_in
from tuner_tui.data.tokens.left_out import FIELDS_HINT, PARTS_HINT, left_out_words, no_place_words
from tuner_tui.data.tokens.row_kinds import RowKinds
from tuner_tui.data.tokens.template import CHATML, template_text
from tuner_tui.errors import InputError
from tuner_tui.worker.text.rendering import look_for_parts
from tuner_tui.worker.training.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from transformers import PreTrainedTokenizerBase

    from tuner_tui.config.data_section import DataSpec
    from tuner_tui.config.methods.traits import MethodKind
    from tuner_tui.data.recognition.reading import PlainRows, Reading
    from tuner_tui.data.tokens.text_child import Conversation

FIRST_ROWS, EVERY = 200, 50
"""Of rows whose kinds of parts have been seen, the first ones and every so many are rendered."""


def choose_template(spec: DataSpec, tokenizer: PreTrainedTokenizerBase) -> list[Finding]:
    """Set the tokenizer's template to the one in data.template; a finding if that replaces or adds one."""
    own = tokenizer.chat_template
    if spec.template is not None:
        tokenizer.chat_template = template_text(spec.template)
        if own and own != tokenizer.chat_template:
            return [
                Finding(
                    "template_changed",
                    "the chat template is not the base's",
                    "The base was trained with another one and has to learn this one; other tools must use it too.",
                    "Remove data.template to use the base's own.",
                )
            ]
    elif not own and "template_missing" in spec.allow:
        tokenizer.chat_template = CHATML
    return []


def chosen_template(spec: DataSpec, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The template that a run uses instead of the base's own; None if it uses the base's."""
    template = tokenizer.chat_template
    is_invented = "template_missing" in spec.allow and template == CHATML
    return template if isinstance(template, str) and (spec.template is not None or is_invented) else None


def missing_template(spec: DataSpec, tokenizer: PreTrainedTokenizerBase, has_turns: bool) -> list[Finding]:
    """A finding if the model has no template, so that ChatML is used."""
    if not has_turns or spec.template is not None or chosen_template(spec, tokenizer) is None:
        return []
    return [
        Finding(
            "template_missing",
            "the model has no chat template",
            "ChatML is used; its special tokens are new to the base.",
            "Use an instruct model, or set data.template.",
        )
    ]


def has_turns(reading: Reading, method: MethodKind | None = None) -> bool:
    """Whether the first row is rendered by the chat template."""
    plain = _plain(reading, method)
    return any(conversations_in(found, plain.layout.shape) for found in islice(plain.rows, 1))


def dropped_turns(
    reading: Reading,
    tokenizer: PreTrainedTokenizerBase,
    loss_on: str = "answers",
    *,
    method: MethodKind | None = None,
    doubtful: Collection[int] = frozenset(),
) -> list[Finding]:
    """Findings where what the template writes lacks a part of what the rows say, or a detail of it.

    All rows are read. Those are rendered that have parts of a kind that no row before them had, or whose number is in
    `doubtful`, and a sample of the rest.
    """
    plain = _plain(reading, method)
    if plain.layout.shape == "text":
        return []
    kinds = RowKinds()
    places: deque[str] = deque()

    def chosen() -> Iterator[Conversation]:
        for index, found in enumerate(plain.rows):
            if isinstance(found.row, InputError):
                continue
            is_new = kinds.is_new(found.row)
            if is_new or index < FIRST_ROWS or index % EVERY == 0 or found.number in doubtful:
                for conversation in conversations_in(found, plain.layout.shape):
                    places.append(f"{found.file}:{found.number}")
                    yield conversation

    parts: dict[str, str] = {}
    details: dict[str, str] = {}
    for look in look_for_parts(tokenizer, chosen(), is_trained_whole=loss_on == "all"):
        where = places.popleft()
        for part in look.dropped:
            turn = "" if part.place is None else f" in turn {part.place + 1}"
            seen = details if part.is_minor else parts
            seen.setdefault(part.what, f"{where}: not in the tokens that the model receives{turn}.")
    findings = []
    if parts:
        findings.append(Finding("template_drops_turns", left_out_words(parts), _where(parts), PARTS_HINT))
    if details:
        findings.append(
            Finding(
                "template_drops_fields", no_place_words(details), _where(details), FIELDS_HINT, stops=False
            )
        )
    return findings


def _plain(reading: Reading, method: MethodKind | None) -> PlainRows:
    return plain_rows(reading) if method is None else plain_for(method, reading)


def _where(seen: dict[str, str]) -> str:
    if len(seen) == 1:
        return next(iter(seen.values()))
    return " ".join(f"{what[0].upper()}{what[1:]}: {place}" for what, place in seen.items())
