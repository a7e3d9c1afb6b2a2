"""A conversation with several candidates at once: the same questions, each with its own answers."""

from __future__ import annotations

from typing import Literal

import msgspec

from tuner_tui.generation.messages import Answered, Candidate, Sampling, Turn
from tuner_tui.text import counted

Stopped = Literal["", "limit", "context", "request"]
"""Why an answer ended without EOS: at `max_new_tokens`, at the context length, or cancelled; empty with EOS."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, possibly partial."""

    text: str = ""
    is_done: bool = False
    is_finished: bool = False
    """Whether the model ended it with EOS."""
    stopped: Stopped = ""
    tokens: int = 0
    tokens_per_second: float | None = None
    seed: int = 0
    template: str = ""
    problem: str = ""
    """Why there is no answer."""

    @property
    def stopped_words(self) -> str:
        """Such as "stopped at 256 new tokens"; empty where the model ended the answer."""
        tokens = counted(self.tokens, "new token")
        return {
            "": "",
            "limit": f"stopped at {tokens}",
            "context": f"stopped at {tokens}: the context is full",
            "request": "stopped on request",
        }[self.stopped]


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """Questions, and each candidate's replies; immutable."""

    candidates: tuple[Candidate, ...]
    sampling: Sampling = Sampling()
    questions: tuple[str, ...] = ()
    replies: tuple[tuple[Reply, ...], ...] = ()
    """One tuple for each question, with a reply for each candidate."""

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is still being generated."""
        return bool(self.replies) and not all(reply.is_done for reply in self.replies[-1])

    def asking(self, question: str) -> Conversation:
        """With one more question."""
        empty = tuple(Reply() for _ in self.candidates)
        return msgspec.structs.replace(
            self, questions=(*self.questions, question), replies=(*self.replies, empty)
        )

    def up_to(self, count: int) -> Conversation:
        """With only the first `count` questions, to continue differently."""
        return msgspec.structs.replace(self, questions=self.questions[:count], replies=self.replies[:count])

    def replying(self, number: int, place: int, reply: Reply) -> Conversation:
        """With one candidate's current reply to one question."""
        row = list(self.replies[number])
        row[place] = reply
        rows = list(self.replies)
        rows[number] = tuple(row)
        return msgspec.structs.replace(self, replies=tuple(rows))

    def with_candidates(self, candidates: tuple[Candidate, ...]) -> Conversation:
        """With other candidates: remaining ones keep their answers, new ones have none."""
        rows = []
        for row in self.replies:
            replies = dict(zip(self.candidates, row, strict=True))
            rows.append(tuple(replies.get(candidate, Reply(is_done=True)) for candidate in candidates))
        return msgspec.structs.replace(self, candidates=candidates, replies=tuple(rows))

    def turns(self, place: int, count: int | None = None) -> tuple[Turn, ...]:
        """One candidate's own conversation, up to a question."""
        question_count = len(self.questions) if count is None else count
        turns: list[Turn] = []
        for number in range(question_count):
            turns.append(Turn("user", self.questions[number]))
            if number < question_count - 1 and self.replies[number][place].text:
                turns.append(Turn("assistant", self.replies[number][place].text))
        return self.candidates[place].turns(tuple(_alternating(turns)))


def why_stopped(answer: Answered, sampling: Sampling) -> Stopped:
    """Why an answer ended without EOS."""
    if answer.is_finished:
        return ""
    if answer.is_cancelled:
        return "request"
    return "limit" if answer.tokens >= sampling.max_new_tokens else "context"


def _alternating(turns: list[Turn]) -> list[Turn]:
    """Unanswered questions are joined to the next one, since templates need alternating roles."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role == "user":
            merged[-1] = Turn("user", f"{merged[-1].content}\n\n{turn.content}")
        else:
            merged.append(turn)
    return merged


def parse_sampling(text: str, before: Sampling) -> Sampling:
    """Settings such as `temperature=0.7 max_new_tokens=200` over the previous ones. Raises ValueError."""
    changes: dict[str, float | int] = {}
    kinds = {field.name: field.type for field in msgspec.structs.fields(Sampling)}
    for part in text.split():
        name, equals, value = part.partition("=")
        if not equals or name not in kinds:
            raise ValueError(f"{part!r} is not known; known: {', '.join(kinds)}")
        try:
            changes[name] = int(value) if kinds[name] is int else float(value)
        except ValueError:
            raise ValueError(f"{name} must be a number, not {value!r}") from None
    after = msgspec.structs.replace(before, **changes)
    problem = after.problem()
    if problem:
        raise ValueError(problem)
    return after


def sampling_text(sampling: Sampling) -> str:
    """The settings as `parse_sampling` reads them."""
    values = msgspec.structs.asdict(sampling)
    return " ".join(f"{name}={value:g}" for name, value in values.items())
