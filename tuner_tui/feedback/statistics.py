"""Annotator statistics: pace, position and length bias, self-agreement, and win rates."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Literal, NamedTuple

from tuner_tui.feedback.intervals import Share, chance, wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.feedback.records import Annotation, Entry, Item, Proposal

SURE_BELOW = 0.01
"""A bias is reported as clear when chance alone explains it with a probability below this."""
HINT_BELOW = 0.05
LEAST_FOR_BIAS = 20
LEAST_REPEATS = 5
PAUSE_SECONDS = 120.0
"""Longer times count as breaks; such annotations are left out of the pace."""
FIRST_TRAINING = 50
"""Preferences from which a first training run is worthwhile; more help further."""
BiasVerdict = Literal["too few", "none seen", "perhaps", "clear"]


class Bias(NamedTuple):
    """How often a choice went one way, where 50 % is expected."""

    share: Share
    verdict: BiasVerdict


class WinRate(NamedTuple):
    """Wins of one side against another; a tie, or both bad, counts as half a win for each."""

    side: str
    against: str
    wins: int
    losses: int
    ties: int
    share: Share


class AnnotatorStatistics(NamedTuple):
    """Statistics of a collection's annotations."""

    annotations: int
    preferences: int
    """Comparisons with a winner."""
    ties: int
    set_aside: int
    undone: int
    imported: int
    """Preferences imported from files; they count for training, not for the annotator."""
    seconds: float | None
    """Median seconds per annotation."""
    position: Bias
    """How often the answer shown first was chosen."""
    place_counts: tuple[int, ...]
    """How often the answer at each position was chosen."""
    length: Bias
    """How often the longer of two answers was chosen (in characters, unequal lengths only)."""
    agreement: Share
    """How often a repeated item, with its answers swapped, got the same choice; 50 % is chance."""
    win_rates: tuple[WinRate, ...]
    proposals: int
    accepted: int
    """Proposals of a judge model that a person agreed with."""
    overruled: int

    @property
    def is_enough(self) -> bool:
        """Whether a first training run is worthwhile."""
        return self.preferences + self.imported >= FIRST_TRAINING

    def remarks(self) -> list[str]:
        """What the figures mean, in sentences, the most important first."""
        remarks = []
        if self.position.verdict == "clear":
            where = "first" if self.position.share.share > 0.5 else "later"
            remarks.append(
                f"You choose the {where} position far more often than by chance: read all answers before you choose."
            )
        if self.length.verdict == "clear":
            which = "longer" if self.length.share.share > 0.5 else "shorter"
            remarks.append(
                f"You choose the {which} answer far more often than by chance: is it better, or only {which}?"
            )
        if self.agreement.total >= LEAST_REPEATS and not self.agreement.excludes(0.5):
            remarks.append(
                "On repeated items your choice is the same no more often than by chance: "
                "these choices look random."
            )
        for name, bias in (("position", self.position), ("length", self.length)):
            if bias.verdict == "perhaps":
                remarks.append(
                    f"The {name} of an answer may influence your choice; more annotations are needed to tell."
                )
        if self.is_enough:
            remarks.append("There are enough preferences for a first training run.")
        else:
            missing = FIRST_TRAINING - self.preferences - self.imported
            remarks.append(f"{missing} more preferences are needed for a first training run.")
        return remarks


def annotator_statistics(
    items: Sequence[Item], entries: Sequence[Entry], annotator: str | None = None
) -> AnnotatorStatistics:
    """Statistics from a collection's items and entries; of one annotator, or of all persons."""
    undone = {entry.undoes for entry in entries if entry.undoes is not None}
    active_entries = [entry for entry in entries if entry.undoes is None and entry.id not in undone]
    judged = [
        (entry.item, entry.annotation)
        for entry in active_entries
        if entry.annotation is not None
        and entry.annotator_kind == "person"
        and annotator in (None, entry.annotator)
    ]
    counted = [(item, annotation) for item, annotation in judged if not annotation.is_set_aside]
    first_time = [(item, annotation) for item, annotation in counted if not annotation.is_repeat]
    by_id = {item.id: item for item in items}
    decided = [
        annotation
        for _, annotation in first_time
        if annotation.best() is not None and annotation.written is None
    ]
    times = [annotation.seconds for _, annotation in counted if 0 < annotation.seconds < PAUSE_SECONDS]
    proposals = {entry.id: entry.proposal for entry in active_entries if entry.proposal is not None}
    accepted, overruled = _answered_proposals(first_time, proposals)
    return AnnotatorStatistics(
        annotations=len(counted),
        preferences=sum(annotation.best() is not None for _, annotation in first_time),
        ties=sum(annotation.verdict in ("tie", "both_bad") for _, annotation in first_time),
        set_aside=len(judged) - len(counted),
        undone=len(undone),
        imported=sum(
            entry.annotator_kind == "import"
            and entry.annotation is not None
            and entry.annotation.best() is not None
            for entry in active_entries
        ),
        seconds=statistics.median(times) if times else None,
        position=_position(decided),
        place_counts=_places(decided),
        length=_length(first_time, by_id),
        agreement=_agreement(counted),
        win_rates=win_rates(first_time, by_id),
        proposals=len(proposals),
        accepted=accepted,
        overruled=overruled,
    )


def _position(decided: Sequence[Annotation]) -> Bias:
    pairs = [annotation for annotation in decided if len(annotation.shown) == 2]
    return _bias(sum(annotation.best() == annotation.shown[0] for annotation in pairs), len(pairs))


def _places(decided: Sequence[Annotation]) -> tuple[int, ...]:
    most = max((len(annotation.shown) for annotation in decided), default=0)
    return tuple(
        sum(
            place < len(annotation.shown) and annotation.best() == annotation.shown[place]
            for annotation in decided
        )
        for place in range(most)
    )


def _length(first_time: Sequence[tuple[int, Annotation]], items: dict[int, Item]) -> Bias:
    longer = count = 0
    for item, annotation in first_time:
        best = annotation.best()
        if best is None or len(annotation.shown) != 2 or annotation.written is not None:
            continue
        lengths = {answer.id: len(answer.text) for answer in items[item].answers}
        other = next(number for number in annotation.shown if number != best)
        if lengths[best] != lengths[other]:
            count += 1
            longer += lengths[best] > lengths[other]
    return _bias(longer, count)


def _bias(successes: int, count: int) -> Bias:
    share = wilson(successes, count)
    if count < LEAST_FOR_BIAS:
        return Bias(share, "too few")
    likelihood = chance(successes, count)
    return Bias(
        share, "clear" if likelihood < SURE_BELOW else "perhaps" if likelihood < HINT_BELOW else "none seen"
    )


def _agreement(counted: Sequence[tuple[int, Annotation]]) -> Share:
    first: dict[int, Annotation] = {}
    same = count = 0
    for item, annotation in counted:
        if not annotation.is_repeat:
            first[item] = annotation
        elif item in first:
            count += 1
            same += (first[item].best(), first[item].verdict) == (annotation.best(), annotation.verdict)
    return wilson(same, count)


def win_rates(first_time: Sequence[tuple[int, Annotation]], items: dict[int, Item]) -> tuple[WinRate, ...]:
    """For each pair of sides that were compared: wins, losses, ties, and the first side's win rate."""
    records: dict[tuple[str, str], list[int]] = {}
    for item, annotation in first_time:
        if len(annotation.shown) < 2:
            continue
        sides = {answer.id: answer.maker.side for answer in items[item].answers}
        ranks = annotation.rank_of() or dict.fromkeys(annotation.shown, 1)
        for place, first in enumerate(annotation.shown):
            for second in annotation.shown[place + 1 :]:
                if annotation.written in (first, second) or sides[first] == sides[second]:
                    continue
                one, other = sorted((first, second), key=lambda number: sides[number])
                record = records.setdefault((sides[one], sides[other]), [0, 0, 0])
                difference = ranks[one] - ranks[other]
                record[0 if difference < 0 else 1 if difference > 0 else 2] += 1
    return tuple(
        WinRate(one, other, wins, losses, ties, wilson(wins + ties / 2, wins + losses + ties))
        for (one, other), (wins, losses, ties) in sorted(records.items())
    )


def _answered_proposals(
    first_time: Sequence[tuple[int, Annotation]], proposals: dict[int, Proposal]
) -> tuple[int, int]:
    accepted = overruled = 0
    for _, annotation in first_time:
        proposal = proposals.get(annotation.proposal or 0)
        if proposal is not None and proposal.choice is not None:
            if annotation.best() == proposal.choice:
                accepted += 1
            else:
                overruled += 1
    return accepted, overruled
