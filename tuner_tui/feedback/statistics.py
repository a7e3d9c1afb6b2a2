"""The rater's mirror: pace, what pulls at the choices besides quality, agreement with oneself, and who wins."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Literal, NamedTuple

from tuner_tui.feedback.intervals import Share, chance, wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.feedback.records import Entry, Item, Judgement, Proposal

SURE_BELOW = 0.01
"""A bias is called clear when a fair coin would do this rarely."""
HINT_BELOW = 0.05
LEAST_FOR_BIAS = 20
LEAST_REPEATS = 5
PAUSE_SECONDS = 120.0
"""Longer than this one did something else; such judgements are left out of the pace."""
FIRST_TRAINING = 50
"""Preferences after which a first training is worth its time; more of them help further."""
BiasVerdict = Literal["too few", "none seen", "perhaps", "clear"]


class Bias(NamedTuple):
    """How often a choice went one way, where each way should come half the time."""

    share: Share
    verdict: BiasVerdict


class WinRate(NamedTuple):
    """How one side fared against another; a tie or both bad counts as half a win for each."""

    side: str
    against: str
    wins: int
    losses: int
    ties: int
    share: Share


class Mirror(NamedTuple):
    """What a rater's judgements say about themselves."""

    kept: int
    preferences: int
    """Comparisons with a winner."""
    ties: int
    set_aside: int
    undone: int
    imported: int
    """Preferences that came with files; they count for training and say nothing about the rater."""
    seconds: float | None
    """Median seconds a judgement took."""
    position: Bias
    """How often the answer in the first place was chosen."""
    place_counts: tuple[int, ...]
    """How often each place won."""
    length: Bias
    """How often the longer answer was chosen, of two of unequal length (in characters)."""
    agreement: Share
    """How often the same choice was made when an item came back, swapped; a coin agrees half the time."""
    win_rates: tuple[WinRate, ...]
    proposals: int
    accepted: int
    """Proposals of a judge model that a person's judgement agreed with."""
    overruled: int

    @property
    def is_enough(self) -> bool:
        """Whether a first training is worth trying."""
        return self.preferences + self.imported >= FIRST_TRAINING

    def remarks(self) -> list[str]:
        """What the figures mean, in sentences; the most important first."""
        said = []
        if self.position.verdict == "clear":
            where = "first" if self.position.share.share > 0.5 else "later"
            said.append(
                f"You choose the {where} place far more often than chance would: read both before you choose."
            )
        if self.length.verdict == "clear":
            which = "longer" if self.length.share.share > 0.5 else "shorter"
            said.append(
                f"You choose the {which} answer far more often than chance would: is it better, or only {which}?"
            )
        if self.agreement.total >= LEAST_REPEATS and not self.agreement.excludes(0.5):
            said.append(
                "When items come back you agree with yourself no more often than a coin would: "
                "these choices look random."
            )
        for name, bias in (("place", self.position), ("length", self.length)):
            if bias.verdict == "perhaps":
                said.append(f"The {name} of an answer may pull at your choice; more judgements will tell.")
        if self.is_enough:
            said.append("There is enough to try a first training.")
        else:
            missing = FIRST_TRAINING - self.preferences - self.imported
            said.append(f"{missing} more preferences until a first training is worth trying.")
        return said


def mirror(items: Sequence[Item], entries: Sequence[Entry], rater: str | None = None) -> Mirror:
    """The figures from a collection's items and its whole record; of one rater, or of all persons."""
    undone = {entry.undoes for entry in entries if entry.undoes is not None}
    standing = [entry for entry in entries if entry.undoes is None and entry.id not in undone]
    judged = [
        (entry.item, entry.judgement)
        for entry in standing
        if entry.judgement is not None and entry.rater_kind == "person" and rater in (None, entry.rater)
    ]
    kept = [(item, judgement) for item, judgement in judged if not judgement.is_set_aside]
    once = [(item, judgement) for item, judgement in kept if not judgement.is_repeat]
    by_id = {item.id: item for item in items}
    decided = [
        judgement for _, judgement in once if judgement.best() is not None and judgement.written is None
    ]
    times = [judgement.seconds for _, judgement in kept if 0 < judgement.seconds < PAUSE_SECONDS]
    proposals = {entry.id: entry.proposal for entry in standing if entry.proposal is not None}
    accepted, overruled = _answered_proposals(once, proposals)
    return Mirror(
        kept=len(kept),
        preferences=sum(judgement.best() is not None for _, judgement in once),
        ties=sum(judgement.verdict in ("tie", "both_bad") for _, judgement in once),
        set_aside=len(judged) - len(kept),
        undone=len(undone),
        imported=sum(
            entry.rater_kind == "import"
            and entry.judgement is not None
            and entry.judgement.best() is not None
            for entry in standing
        ),
        seconds=statistics.median(times) if times else None,
        position=_position(decided),
        place_counts=_places(decided),
        length=_length(once, by_id),
        agreement=_agreement(kept),
        win_rates=win_rates(once, by_id),
        proposals=len(proposals),
        accepted=accepted,
        overruled=overruled,
    )


def _position(decided: Sequence[Judgement]) -> Bias:
    pairs = [judgement for judgement in decided if len(judgement.shown) == 2]
    return _bias(sum(judgement.best() == judgement.shown[0] for judgement in pairs), len(pairs))


def _places(decided: Sequence[Judgement]) -> tuple[int, ...]:
    most = max((len(judgement.shown) for judgement in decided), default=0)
    return tuple(
        sum(place < len(each.shown) and each.best() == each.shown[place] for each in decided)
        for place in range(most)
    )


def _length(once: Sequence[tuple[int, Judgement]], items: dict[int, Item]) -> Bias:
    longer = count = 0
    for item, judgement in once:
        best = judgement.best()
        if best is None or len(judgement.shown) != 2 or judgement.written is not None:
            continue
        lengths = {answer.id: len(answer.text) for answer in items[item].answers}
        other = next(number for number in judgement.shown if number != best)
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


def _agreement(kept: Sequence[tuple[int, Judgement]]) -> Share:
    first: dict[int, Judgement] = {}
    same = count = 0
    for item, judgement in kept:
        if not judgement.is_repeat:
            first[item] = judgement
        elif item in first:
            count += 1
            same += (first[item].best(), first[item].verdict) == (judgement.best(), judgement.verdict)
    return wilson(same, count)


def win_rates(once: Sequence[tuple[int, Judgement]], items: dict[int, Item]) -> tuple[WinRate, ...]:
    """Every pair of sides that met: wins, losses, ties, and the first one's share with its interval."""
    found: dict[tuple[str, str], list[int]] = {}
    for item, judgement in once:
        if len(judgement.shown) < 2:
            continue
        sides = {answer.id: answer.maker.side for answer in items[item].answers}
        ranks = judgement.rank_of() or dict.fromkeys(judgement.shown, 1)
        for place, first in enumerate(judgement.shown):
            for second in judgement.shown[place + 1 :]:
                if judgement.written in (first, second) or sides[first] == sides[second]:
                    continue
                one, other = sorted((first, second), key=lambda number: sides[number])
                record = found.setdefault((sides[one], sides[other]), [0, 0, 0])
                difference = ranks[one] - ranks[other]
                record[0 if difference < 0 else 1 if difference > 0 else 2] += 1
    return tuple(
        WinRate(one, other, wins, losses, ties, wilson(wins + ties / 2, wins + losses + ties))
        for (one, other), (wins, losses, ties) in sorted(found.items())
    )


def _answered_proposals(
    once: Sequence[tuple[int, Judgement]], proposals: dict[int, Proposal]
) -> tuple[int, int]:
    accepted = overruled = 0
    for _, judgement in once:
        proposal = proposals.get(judgement.proposal or 0)
        if proposal is not None and proposal.choice is not None:
            if judgement.best() == proposal.choice:
                accepted += 1
            else:
                overruled += 1
    return accepted, overruled
