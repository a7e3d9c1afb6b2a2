"""The records of a collection: items with answers, and append-only entries about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from tuner_tui.generation.messages import Candidate, Sampling, Turn

if TYPE_CHECKING:
    from collections.abc import Sequence

Mode = Literal["pairs", "ranking", "thumbs", "scores", "demonstrations"]
MODES: tuple[Mode, ...] = ("pairs", "ranking", "thumbs", "scores", "demonstrations")
Verdict = Literal["choice", "tie", "both_bad", "ranking", "thumbs", "scores", "demonstration", "skip", "flag"]
SET_ASIDE: tuple[Verdict, ...] = ("skip", "flag")
"""Verdicts without a preference: the item was skipped, or flagged as unusable."""
Strength = Literal["clear", "slight"]
AnnotatorKind = Literal["person", "ai", "import"]


class Maker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who wrote an answer, with the settings needed to generate it again."""

    kind: Literal["model", "person", "import"]
    model: str = ""
    revision: str | None = None
    precision: str = ""
    adapter: str | None = None
    system: str = ""
    """The system prompt of this side."""
    template: str = ""
    """A fingerprint of the chat template."""
    sampling: Sampling | None = None
    seed: int | None = None
    batch_size: int | None = None
    edited_from: int | None = None
    """The answer that a person changed into this one."""

    @property
    def side(self) -> str:
        """What distinguishes the sides of a comparison: model, adapter and system prompt."""
        if self.kind != "model":
            return self.model or self.kind
        parts = [self.model, self.adapter or "", self.system]
        return " + ".join(part for part in parts if part)


def model_maker(
    candidate: Candidate, *, template: str, sampling: Sampling, seed: int | None, batch_size: int | None
) -> Maker:
    """A model with the settings that generated an answer."""
    return Maker(
        kind="model",
        model=candidate.base.source,
        revision=candidate.base.revision,
        precision=candidate.base.precision,
        adapter=candidate.adapter,
        system=candidate.system,
        template=template,
        sampling=sampling,
        seed=seed,
        batch_size=batch_size,
    )


class NewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is not stored yet."""

    text: str
    maker: Maker
    is_finished: bool | None = None
    """Whether it ends with EOS; False when it was truncated; None when unknown."""


class Answer(NewAnswer, frozen=True, kw_only=True):
    """A stored answer."""

    id: int
    item: int


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt with the answers it has."""

    id: int
    prompt: tuple[Turn, ...]
    origin: str
    """Where the prompt is from, such as a file's name and line."""
    answers: tuple[Answer, ...] = ()

    @property
    def model_answers(self) -> tuple[Answer, ...]:
        """Answers from models or files; not those that a person wrote while annotating."""
        return tuple(answer for answer in self.answers if answer.maker.kind != "person")

    @property
    def prompt_text(self) -> str:
        """The prompt as a person reads it."""
        if len(self.prompt) == 1:
            return self.prompt[0].content
        return "\n\n".join(f"{turn.role}: {turn.content}" for turn in self.prompt)


class Annotation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An annotator's verdict on an item's answers."""

    verdict: Verdict
    shown: tuple[int, ...]
    """The answers' ids in the order in which they were shown."""
    ranks: tuple[int, ...] = ()
    """The rank of each answer shown: 1 is best, ties are equal; empty when nothing was compared."""
    scores: tuple[int, ...] = ()
    """For each answer shown: 0 or 1 (thumbs), 1 to 5 (scores)."""
    strength: Strength = "clear"
    written: int | None = None
    """The answer that the annotator wrote: an edit, which is preferred, or a demonstration."""
    seconds: float = 0.0
    """Time from showing the item to the annotation."""
    is_repeat: bool = False
    """Whether the item was repeated to measure self-agreement."""
    proposal: int | None = None
    """The entry of the judge model's proposal that the annotator saw."""

    @property
    def is_set_aside(self) -> bool:
        return self.verdict in SET_ASIDE

    def best(self) -> int | None:
        """The id of the one answer that was preferred to all others, or None."""
        first = [answer for answer, rank in zip(self.shown, self.ranks, strict=False) if rank == 1]
        return first[0] if len(first) == 1 and len(self.ranks) > 1 else None

    def rank_of(self) -> dict[int, int]:
        """Rank by answer id."""
        return dict(zip(self.shown, self.ranks, strict=False))


class Proposal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A judge model's verdict on two answers, in both orders."""

    judge: str
    principles: str
    answers: tuple[int, int]
    """In the order of the first request; the second swaps them."""
    preferred: tuple[int | None, int | None]
    """The answer preferred in each order; None for a tie or an unreadable reply."""
    reasons: tuple[str, str] = ("", "")
    certainty: float = 0.0
    """0 to 1: the judge's own confidence, the lower of both orders; 0 when the orders disagree."""

    @property
    def choice(self) -> int | None:
        """The answer preferred in both orders; None when they disagree, which leaves it to the person."""
        first, second = self.preferred
        return first if first is not None and first == second else None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a collection's log; entries are never changed."""

    id: int
    item: int
    at: float
    annotator: str
    annotator_kind: AnnotatorKind
    annotation: Annotation | None = None
    proposal: Proposal | None = None
    note: str | None = None
    undoes: int | None = None
    """The entry that this one undoes."""
    problem: str = ""
    """Why its annotation or proposal cannot be read; the row itself is never changed."""

    @property
    def is_unreadable_annotation(self) -> bool:
        """Whether it is an annotation that this version cannot read; its item is not shown again."""
        return bool(self.problem) and self.annotator_kind != "ai"


class RowProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a collection that cannot be read; it stays as it is in the file."""

    table: str
    id: int
    problem: str

    def __str__(self) -> str:
        return f"{self.table} {self.id}: {self.problem}"


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """A consistent snapshot of a collection."""

    items: tuple[Item, ...]
    entries: tuple[Entry, ...]
    """All entries in order, including undone ones and those that undo them."""
    problems: tuple[RowProblem, ...]
    """Rows that cannot be read; they are in no item and no annotation."""

    @property
    def active_entries(self) -> list[Entry]:
        """Entries that were not undone."""
        return active_entries_of(self.entries)

    @property
    def judged(self) -> int:
        """The number of active annotations, without those that only skip or flag."""
        return sum(
            entry.annotation is not None and not entry.annotation.is_set_aside
            for entry in self.active_entries
        )


def active_entries_of(entries: Sequence[Entry]) -> list[Entry]:
    """Entries that were not undone."""
    undone = {entry.undoes for entry in entries if entry.undoes is not None}
    return [entry for entry in entries if entry.undoes is None and entry.id not in undone]


class CollectionSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a collection is annotated; may be changed at any time, and does not affect stored annotations."""

    mode: Mode = "pairs"
    candidates: tuple[Candidate, ...] = ()
    """The models that answer; two or more are compared blind, a single one answers several times."""
    answers_per_item: int = 2
    sampling: Sampling = Sampling(max_new_tokens=256, temperature=0.9, top_p=0.95)
    repeats: bool = True
    """Whether a few items are repeated, to measure self-agreement."""
    principles: str = ""
    """The criteria given to a judge model."""
