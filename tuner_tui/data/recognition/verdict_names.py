"""Names of fields by which they may hold an answer, or say how good one is, in formats that nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.data.recognition.answer_columns import tokens_of

if TYPE_CHECKING:
    from tuner_tui.data.rows.unused import UnusedFields

JUDGING = {
    "winner", "winning", "wins", "preferred", "preference", "better", "best", "chosen", "rejected", "choice", "verdict",
    "vote", "votes", "selected", "ranking", "judgment", "judgement", "loser", "worse", "worst",
}  # fmt: skip
"""Words of a field's name by which it may hold a verdict, whatever the last one is, as in winner_model."""
GRADING = {
    "rating", "ratings", "score", "scores", "rank", "ranks", "thumbs", "feedback", "label", "labels", "grade",
    "grades", "stars", "annotation", "annotations", "critique", "helpfulness",
}  # fmt: skip
"""Words by which it may say how good one answer is."""
ANSWERING = {
    "response", "answer", "output", "completion", "generation", "reply", "summary", "candidate", "assistant",
    "continuation", "translation", "solution",
}  # fmt: skip
"""Words by which it may hold an answer."""


def may_hold_verdict(name: str) -> bool:
    """Whether a field may say how good an answer is, by its name, such as if_chosen or messages[].rank."""
    return not (JUDGING | GRADING).isdisjoint(tokens_of(name))


def may_hold_answer(name: str) -> bool:
    """Whether a field may hold an answer, by its name, such as edited_response; one of its id or model does not."""
    words = tokens_of(name)
    return bool(words) and words[-1].removesuffix("s") in ANSWERING


ANSWERED = ("messages", "instruction", "prompt_completion")
"""Dataset types whose answers are all trained on."""


def unused_verdicts(unused: UnusedFields, shape: str) -> list[str]:
    """Fields that may say how good an answer is, and that nobody takes, of rows whose answers are all trained on."""
    return [name for name in unused.names if may_hold_verdict(name)] if shape in ANSWERED else []
