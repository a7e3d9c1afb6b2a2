"""A judge model's proposals: asked in both orders with written principles; no proposal when the orders disagree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.errors import InputError, TunerError
from tuner_tui.feedback.judge_replies import JudgeReply, UnreadableReply, Verdict, read_verdict
from tuner_tui.feedback.records import Proposal
from tuner_tui.generation.client import new_id
from tuner_tui.generation.messages import Candidate, Generate, Sampling, Turn

if TYPE_CHECKING:
    from tuner_tui.feedback.records import Answer, Item
    from tuner_tui.feedback.store import Store
    from tuner_tui.generation.client import Generators

Ask = Callable[["tuple[Turn, ...]"], JudgeReply]
"""Sends turns to a judge and returns its reply. Raises TunerError."""
DEFAULT_PRINCIPLES = (
    "Prefer the answer that helps more, is true, is clear, and says no more than is needed. "
    "Length alone is no merit."
)
_TASK = """Two answers to the same request are compared.

Principles:
{principles}

Request:
{prompt}

Answer A:
{first}

Answer B:
{second}

Which answer is better by the principles? Reply with one JSON object and nothing else:
{{"reason": "one sentence", "better": "A" or "B" or "tie", "certainty": a number from 0 to 100}}"""
MOST_CHARACTERS = 6000
"""Longer prompts and answers are truncated for the judge, with a note in the text."""
LOCAL_PATIENCE_SECONDS = 360.0
LOCAL_TOKENS = 200
"""The limit of a reply in this machine's generation worker, unless another is asked for."""
MOST_FAILURES = 3
"""Consecutive failures after which judging stops."""
MOST_UNREADABLE = 5
"""Consecutive items with a reply that cannot be read after which judging stops."""
UNREADABLE = "the reply could not be read"
"""The reason that earlier versions saved with a proposal of such a reply, which is none."""


class JudgeReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a round of judging."""

    items: int = 0
    """Items to judge in this round."""
    proposed: int = 0
    undecided: int = 0
    """Left to the person: the two orders disagree."""
    ties: int = 0
    """Left to the person: a tie in both orders."""
    failed: int = 0
    """Items on which the judge gave no reply."""
    last_failure: str = ""
    """Why it gave none the last time."""
    unreadable: int = 0
    """Items with a reply without a verdict; nothing is saved of them, so that they stay open."""
    last_unreadable: str = ""
    """Why the last one had none."""
    hint: str = ""
    """What to do about these."""

    @property
    def done(self) -> int:
        """Items that the judge was asked about."""
        return self.proposed + self.undecided + self.ties + self.unreadable + self.failed

    @property
    def is_unanswered(self) -> bool:
        """Whether the judge was asked, and never replied with a verdict."""
        return bool(self.failed or self.unreadable) and not (self.proposed or self.undecided or self.ties)

    @property
    def words(self) -> str:
        """The counts in words."""
        outcome_counts = [f"{self.proposed} proposed", f"{self.undecided} left to you (the orders disagree)"]
        if self.ties:
            outcome_counts.append(f"{self.ties} left to you (a tie in both orders)")
        if self.unreadable:
            outcome_counts.append(f"{self.unreadable} not read and left open")
        if self.failed:
            outcome_counts.append(f"{self.failed} without a reply")
        return ", ".join(outcome_counts)


def propose(item: Item, first: Answer, second: Answer, ask: Ask, judge: str, principles: str) -> Proposal:
    """Ask in both orders. Raises UnreadableReply for a reply without a verdict, TunerError when it cannot be asked."""
    one = read_verdict(ask(_turns(item, first, second, principles)))
    two = read_verdict(ask(_turns(item, second, first, principles)))
    order = (first.id, second.id)
    preferred = (_named(one, order), _named(two, order[::-1]))
    is_sure = preferred[0] is not None and preferred[0] == preferred[1]
    return Proposal(
        judge=judge,
        principles=principles,
        answers=order,
        preferred=preferred,
        reasons=(one.reason, two.reason),
        certainty=min(one.certainty, two.certainty) if is_sure else 0.0,
    )


def judge_collection(
    store: Store,
    ask: Ask,
    judge: str,
    principles: str,
    most: int | None = None,
    tell: Callable[[JudgeReport], None] = lambda _: None,
) -> JudgeReport:
    """Propose for all items of two answers or more that have neither an annotation nor a proposal.

    Each proposal is saved at once. Raises TunerError when the judge fails, or cannot be read, several times in a row.
    """
    in_a_row = unreadable_in_a_row = 0
    contents = store.contents()
    handled = {
        entry.item
        for entry in contents.active_entries
        if entry.annotation is not None or _is_verdict(entry.proposal) or entry.problem
    }
    waiting = [
        (item, answers)
        for item in contents.items
        if item.id not in handled and len(answers := item.model_answers) >= 2
    ]
    report = JudgeReport(items=len(waiting[:most]))
    for item, answers in waiting[:most]:
        try:
            proposal = propose(item, answers[0], answers[1], ask, judge, principles)
        except InputError:  # a retry cannot succeed
            raise
        except UnreadableReply as error:
            in_a_row = 0
            unreadable_in_a_row += 1
            report = msgspec.structs.replace(
                report, unreadable=report.unreadable + 1, last_unreadable=error.message, hint=error.hint
            )
            tell(report)
            if unreadable_in_a_row >= MOST_UNREADABLE:
                raise
            continue
        except TunerError as error:
            why = ": ".join(filter(None, (error.title, error.message)))
            report = msgspec.structs.replace(report, failed=report.failed + 1, last_failure=why)
            in_a_row += 1
            if in_a_row >= MOST_FAILURES:
                raise
            tell(report)
            continue
        in_a_row = unreadable_in_a_row = 0
        store.propose(item.id, proposal)
        if proposal.preferred == (None, None):
            report = msgspec.structs.replace(report, ties=report.ties + 1)
        elif proposal.choice is None:
            report = msgspec.structs.replace(report, undecided=report.undecided + 1)
        else:
            report = msgspec.structs.replace(report, proposed=report.proposed + 1)
        tell(report)
    return report


def _is_verdict(proposal: Proposal | None) -> bool:
    return proposal is not None and UNREADABLE not in proposal.reasons


def local_judge(generators: Generators, candidate: Candidate, max_tokens: int | None = None) -> Ask:
    """A judge in the generation worker."""

    def ask(turns: tuple[Turn, ...]) -> JudgeReply:
        request = Generate(
            id=new_id(),
            turns=candidate.turns(turns),
            sampling=Sampling(max_new_tokens=max_tokens or LOCAL_TOKENS, temperature=0),
            seed=0,
            adapter=candidate.adapter,
        )
        answered = generators.of(candidate.base).ask(request, LOCAL_PATIENCE_SECONDS)
        return JudgeReply(answered.text, is_truncated=not answered.is_finished)

    return ask


def _turns(item: Item, first: Answer, second: Answer, principles: str) -> tuple[Turn, ...]:
    return (
        Turn(
            "user",
            _TASK.format(
                principles=principles,
                prompt=_truncated(item.prompt_text),
                first=_truncated(first.text),
                second=_truncated(second.text),
            ),
        ),
    )


def _truncated(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " [truncated for the judge]"


def _named(verdict: Verdict, order: tuple[int, int]) -> int | None:
    return None if verdict.better is None else order[verdict.better]
