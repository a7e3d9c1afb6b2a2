"""How far the generation of answers is: prompts done of all, tokens per second, and the time left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from tuner_tui.text import counted, duration

if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST_SECONDS = 0.5
"""No speed is given before."""
SHORTEST_LEFT = 0.5
"""Seconds left that would be shown as 0 s while answers are open: the estimate was too short."""


class GenerationProgress(NamedTuple):
    """A moment of a round of answers."""

    done_prompts: int
    total_prompts: int
    tokens: int
    """Generated in this round, in answers that are not complete too."""
    tokens_per_second: float | None = None
    """Since the first token, without the time of loading the model; None while that is too short."""
    seconds_left: float | None = None
    is_at_most: bool = False
    """Whether the time left is for answers of the greatest length, since none of this round is complete."""

    @property
    def words(self) -> str:
        """Such as "3 of 12 prompts answered, 14.2 tokens/s, 1 min 5 s left", or "taking longer than estimated"."""
        parts = [f"{self.done_prompts} of {counted(self.total_prompts, 'prompt')} answered"]
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:.1f} tokens/s")
        if self.seconds_left is not None and self.seconds_left < SHORTEST_LEFT:
            parts.append("taking longer than estimated")
        elif self.seconds_left is not None:
            parts.append(f"{'at most ' if self.is_at_most else ''}{duration(self.seconds_left)} left")
        return ", ".join(parts)


class AnswerMeter:
    """Measures one round; the caller takes care that one thread at a time uses it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Begin another round."""
        self.done_prompts = 0
        self._total_prompts = self._answers_left = self._longest = 0
        self._open: dict[str, int] = {}
        """Tokens so far of each answer that is not complete, by its request."""
        self._complete_answers = self._complete_tokens = 0
        self._first_at: float | None = None
        self._first_tokens = 0
        """Tokens that were there when the clock began."""

    def plan(self, prompts_left: int, answers_left: int, longest: int) -> None:
        """What is left of the round, from now on; `longest` is the most tokens of an answer."""
        self._total_prompts = self.done_prompts + prompts_left
        self._answers_left, self._longest = answers_left, longest

    def grew(self, request: str, tokens: int) -> None:
        """An answer has so many tokens so far."""
        self._open[request] = tokens
        if self._first_at is None:
            self._first_at, self._first_tokens = self._clock(), self._tokens

    def answered(self, request: str, tokens: int) -> None:
        """An answer is complete."""
        self.grew(request, tokens)
        del self._open[request]
        self._complete_answers += 1
        self._complete_tokens += tokens
        self._answers_left -= 1

    def given_up(self, request: str) -> None:
        """An answer was cancelled or has failed."""
        self._open.pop(request, None)

    @property
    def _tokens(self) -> int:
        return self._complete_tokens + sum(self._open.values())

    def look(self) -> GenerationProgress:
        """The current figures."""
        now, begun = self._clock(), self._first_at
        moved = self._tokens - self._first_tokens
        if begun is None or now - begun < SHORTEST_SECONDS or moved <= 0:
            return GenerationProgress(self.done_prompts, self._total_prompts, self._tokens)
        speed = moved / (now - begun)
        is_at_most = not self._complete_answers
        usual = self._longest if is_at_most else self._complete_tokens / self._complete_answers
        to_begin = max(0, self._answers_left - len(self._open)) * usual
        tokens_left = to_begin + sum(max(0.0, usual - tokens) for tokens in self._open.values())
        seconds_left = tokens_left / speed if self._answers_left > 0 else None
        return GenerationProgress(
            self.done_prompts, self._total_prompts, self._tokens, speed, seconds_left, is_at_most
        )
