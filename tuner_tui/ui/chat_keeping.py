"""What a chat saves to a collection, each with the words that confirm it. All raise TunerError."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.generation.conversation import Conversation


def keep_thumb(name: str, talk: Conversation, place: int, is_good: bool) -> str:
    """Save the last answer of one model as good or bad."""
    from tuner_tui.feedback.from_chat import keep_thumb as keep

    count = keep(name, talk, place, is_good=is_good)
    return f"{'Good' if is_good else 'Bad'}; saved to {name} ({count} in total)"


def keep_better(name: str, talk: Conversation, place: int) -> str:
    """Save which of the last answers is best."""
    from tuner_tui.feedback.from_chat import keep_better as keep

    return f"{place + 1} is better; saved to {name} ({keep(name, talk, place)} in total)"


def keep_prompts(name: str, talk: Conversation) -> str:
    """Save the questions as prompts."""
    from tuner_tui.feedback.from_chat import keep_prompts as keep

    return f"{counted(keep(name, talk), 'new prompt')} in {name}"
