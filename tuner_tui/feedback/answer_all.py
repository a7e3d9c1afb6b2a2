"""Answers all prompts of a collection that lack answers, without a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tuner_tui.errors import InputError
from tuner_tui.feedback.answering import Prefetcher
from tuner_tui.feedback.session import Session, wanted_answers
from tuner_tui.text import counted, shell_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.errors import TunerError
    from tuner_tui.feedback.answer_meter import GenerationProgress
    from tuner_tui.feedback.store import Store
    from tuner_tui.generation.client import Generators

TELL_EVERY_SECONDS = 0.25


class AnswerReport(NamedTuple):
    """What a call has generated."""

    answered: int
    """Prompts that have all their answers now, and had not before."""
    left: int
    """Prompts that still lack answers."""
    problem: TunerError | None = None
    """Why the last one that failed did."""

    @property
    def words(self) -> str:
        """The counts in words."""
        left = f", {self.left} left" if self.left else ""
        return f"{counted(self.answered, 'prompt')} answered{left}"


def answer_all(
    store: Store,
    annotator: str,
    generators: Generators,
    tell: Callable[[GenerationProgress], None] = lambda progress: None,
) -> AnswerReport:
    """Generate all missing answers; each item's are saved once they are complete.

    What is complete is saved on an interruption too, and a second call continues. Raises InputError for a collection
    without models, MachineBusy, and TunerError when no answer can be generated.
    """
    name = store.path.stem
    if not wanted_answers(store.settings()):
        raise InputError(
            "No model is set",
            f"{name} has no models that answer its prompts.",
            f"Set one: {shell_command('feedback generate', name, options=['--side', 'demo'])}",
        )
    session = Session(store, annotator)
    before = len(session.missing_answers())
    problems: list[TunerError] = []
    prefetcher = Prefetcher(session, generators, lambda: None, problems.append, ahead=None)
    try:
        prefetcher.fill()
        while not prefetcher.idle.wait(TELL_EVERY_SECONDS):
            tell(prefetcher.progress())
    finally:
        prefetcher.close()
    left = len(session.missing_answers())
    if problems and left == before:
        raise problems[-1]
    return AnswerReport(before - left, left, problems[-1] if problems else None)
