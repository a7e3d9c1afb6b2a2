"""Names of fields by which they may hold an answer, or say how good one is, in formats that nobody knows."""

from __future__ import annotations

from tuner_tui.data.recognition.answer_columns import tokens_of

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
