"""A judge model's proposals: asked in both orders with written principles; no proposal when the orders disagree."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tuner_tui.errors import InputError, TunerError
from tuner_tui.feedback.records import Proposal
from tuner_tui.generation.client import new_id
from tuner_tui.generation.messages import Candidate, Generate, Sampling, Turn

if TYPE_CHECKING:
    from tuner_tui.feedback.records import Answer, Item
    from tuner_tui.feedback.store import Store
    from tuner_tui.generation.client import Generators

Ask = Callable[[tuple[Turn, ...]], str]
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
MOST_FAILURES = 3
"""Consecutive failures after which judging stops."""
_OBJECT = re.compile(r"\{[^{}]*\}", re.DOTALL)


class Verdict(NamedTuple):
    """One reply of a judge; `better` is 0, 1, or None for a tie or an unreadable reply."""

    better: int | None
    certainty: float
    reason: str


class JudgeReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a round of judging."""

    proposed: int = 0
    undecided: int = 0
    """Left to the person: the two orders disagree, or a reply could not be read."""
    failed: int = 0
    """Items on which the judge gave no reply."""
    last_failure: str = ""
    """Why it gave none the last time."""

    @property
    def is_unanswered(self) -> bool:
        """Whether the judge was asked, and never replied."""
        return bool(self.failed) and not (self.proposed or self.undecided)


def propose(item: Item, first: Answer, second: Answer, ask: Ask, judge: str, principles: str) -> Proposal:
    """Ask in both orders. Raises TunerError when the judge cannot be asked."""
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

    Each proposal is saved at once. Raises TunerError when the judge fails several times in a row.
    """
    report = JudgeReport()
    in_a_row = 0
    contents = store.contents()
    handled = {
        entry.item
        for entry in contents.active_entries
        if entry.annotation is not None or entry.proposal is not None or entry.problem
    }
    waiting = [
        (item, answers)
        for item in contents.items
        if item.id not in handled and len(answers := item.model_answers) >= 2
    ]
    for item, answers in waiting[:most]:
        try:
            proposal = propose(item, answers[0], answers[1], ask, judge, principles)
        except InputError:  # a retry cannot succeed
            raise
        except TunerError as error:
            why = ": ".join(filter(None, (error.title, error.message)))
            report = msgspec.structs.replace(report, failed=report.failed + 1, last_failure=why)
            in_a_row += 1
            if in_a_row >= MOST_FAILURES:
                raise
            tell(report)
            continue
        in_a_row = 0
        store.propose(item.id, proposal)
        if proposal.choice is None:
            report = msgspec.structs.replace(report, undecided=report.undecided + 1)
        else:
            report = msgspec.structs.replace(report, proposed=report.proposed + 1)
        tell(report)
    return report


def read_verdict(text: str) -> Verdict:
    """The verdict in a reply: the last JSON object that has one; any other reply is a tie."""
    for candidate in reversed(_OBJECT.findall(text)):
        try:
            reply = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        better = reply.get("better")
        if isinstance(better, str) and better.strip().upper() in ("A", "B", "TIE"):
            reason = reply.get("reason")
            return Verdict(
                {"A": 0, "B": 1}.get(better.strip().upper()),
                _certainty(reply.get("certainty")),
                reason[:1000] if isinstance(reason, str) else "",
            )
    return Verdict(None, 0.0, "the reply could not be read")


def local_judge(generators: Generators, candidate: Candidate) -> Ask:
    """A judge in the generation worker."""

    def ask(turns: tuple[Turn, ...]) -> str:
        request = Generate(
            id=new_id(),
            turns=candidate.turns(turns),
            sampling=Sampling(max_new_tokens=200, temperature=0),
            seed=0,
            adapter=candidate.adapter,
        )
        return generators.of(candidate.base).ask(request, LOCAL_PATIENCE_SECONDS).text

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


def _certainty(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0.5
    return min(1.0, max(0.0, value / 100))
