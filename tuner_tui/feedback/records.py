"""What a collection holds: items with answers, and the append-only entries about them."""

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
"""Verdicts that judge nothing: the item was passed over, or set aside as not fit for use."""
Strength = Literal["clear", "slight"]
RaterKind = Literal["person", "ai", "import"]


class Maker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who made an answer, and with what, so that it could be made again."""

    kind: Literal["model", "person", "import"]
    model: str = ""
    revision: str | None = None
    precision: str = ""
    adapter: str | None = None
    system: str = ""
    """The system prompt that this side was given."""
    template: str = ""
    """A fingerprint of the chat template."""
    sampling: Sampling | None = None
    seed: int | None = None
    batch_size: int | None = None
    edited_from: int | None = None
    """The answer that a person changed into this one."""

    @property
    def side(self) -> str:
        """What tells one side of a comparison from another: model, adapter and system prompt."""
        if self.kind != "model":
            return self.model or self.kind
        parts = [self.model, self.adapter or "", self.system]
        return " + ".join(part for part in parts if part)


def model_maker(
    candidate: Candidate, *, template: str, sampling: Sampling, seed: int | None, batch_size: int | None
) -> Maker:
    """A model with all that an answer of its was made by."""
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
    """An answer before it is kept."""

    text: str
    maker: Maker
    is_finished: bool | None = None
    """Whether its maker ended it; False when it was cut off; None when that is not known."""


class Answer(NewAnswer, frozen=True, kw_only=True):
    """An answer that is kept."""

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
        """Answers from models or files; not those that a person wrote while judging."""
        return tuple(answer for answer in self.answers if answer.maker.kind != "person")

    @property
    def prompt_text(self) -> str:
        """The prompt as a person reads it."""
        if len(self.prompt) == 1:
            return self.prompt[0].content
        return "\n\n".join(f"{turn.role}: {turn.content}" for turn in self.prompt)


class Judgement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was said about an item's answers."""

    verdict: Verdict
    shown: tuple[int, ...]
    """The answers' ids in the order in which they stood on the screen."""
    ranks: tuple[int, ...] = ()
    """For each answer shown its rank, 1 the best, equal for a tie; empty when none were compared."""
    scores: tuple[int, ...] = ()
    """For each answer shown: 0 or 1 (thumbs), 1 to 5 (scores)."""
    strength: Strength = "clear"
    written: int | None = None
    """The answer that the rater wrote: an edit that is preferred, or a demonstration."""
    seconds: float = 0.0
    """From the moment it was shown to the judgement."""
    is_repeat: bool = False
    """Whether the item had come back to see if the rater agrees with themselves."""
    proposal: int | None = None
    """The entry of the judge model's proposal that the rater saw."""

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
    """What a judge model said of two answers, asked in both orders."""

    judge: str
    principles: str
    answers: tuple[int, int]
    """Asked in this order first, then in the other."""
    preferred: tuple[int | None, int | None]
    """The answer preferred each time; None for a tie or an answer that could not be read."""
    reasons: tuple[str, str] = ("", "")
    certainty: float = 0.0
    """0 to 1: how sure the judge said it was in both orders; 0 when the orders disagree."""

    @property
    def choice(self) -> int | None:
        """The answer preferred in both orders; None when they disagree, which is left to the person."""
        first, second = self.preferred
        return first if first is not None and first == second else None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a collection's record; none is ever changed."""

    id: int
    item: int
    at: float
    rater: str
    rater_kind: RaterKind
    judgement: Judgement | None = None
    proposal: Proposal | None = None
    note: str | None = None
    undoes: int | None = None
    """The entry that is taken back by this one."""
    problem: str = ""
    """Why its judgement or proposal cannot be read; the row itself is never changed."""

    @property
    def is_unreadable_judgement(self) -> bool:
        """Whether something was said here that this version cannot read: the item is not asked about again."""
        return bool(self.problem) and self.rater_kind != "ai"


class RowProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a collection that cannot be read; it stays as it is in the file."""

    table: str
    id: int
    problem: str

    def __str__(self) -> str:
        return f"{self.table} {self.id}: {self.problem}"


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """All of a collection at one moment."""

    items: tuple[Item, ...]
    entries: tuple[Entry, ...]
    """The whole record, undone ones and undoings too, in order."""
    problems: tuple[RowProblem, ...]
    """What cannot be read, and is therefore in no item and no judgement."""

    @property
    def standing(self) -> list[Entry]:
        """Entries that were not taken back."""
        return standing_of(self.entries)

    @property
    def judged(self) -> int:
        """How many judgements stand; what was only skipped or flagged counts nothing."""
        return sum(
            entry.judgement is not None and not entry.judgement.is_set_aside for entry in self.standing
        )


def standing_of(entries: Sequence[Entry]) -> list[Entry]:
    """Entries that were not taken back."""
    undone = {entry.undoes for entry in entries if entry.undoes is not None}
    return [entry for entry in entries if entry.undoes is None and entry.id not in undone]


class CollectionSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a collection is worked on; may be changed at any time, and says nothing about what is kept."""

    mode: Mode = "pairs"
    candidates: tuple[Candidate, ...] = ()
    """Who answers; two or more are compared blind, one answers several times."""
    answers_per_item: int = 2
    sampling: Sampling = Sampling(max_new_tokens=256, temperature=0.9, top_p=0.95)
    repeats: bool = True
    """Whether a few items come back, to measure agreement with oneself."""
    principles: str = ""
    """What a judge model is told to look for."""
