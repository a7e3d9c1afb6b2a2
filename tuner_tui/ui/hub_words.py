"""Events of an export or a Hub process as lines: finished steps, and progress of the current one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.message import Message

from tuner_tui.runs.export_events import BytesWritten, PromptsVerified, StepEntered
from tuner_tui.text import duration
from tuner_tui.ui.widgets.transfer_line import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT_STEPS = 12


class WorkProgress(Message):
    """Progress of a piece of work; the newest replaces older ones that were not shown yet."""

    def __init__(self, steps: tuple[str, ...], transfer: Transfer | None) -> None:
        super().__init__()
        self.steps, self.transfer = steps, transfer

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, WorkProgress)


class ProgressReporter:
    """Turns events into progress messages."""

    def __init__(self, post: Callable[[Message], object]) -> None:
        from tuner_tui.sharing.pace import Pace

        self._post = post
        self._steps: list[str] = []
        self._pace = Pace()

    def __call__(self, event: Any) -> None:
        from tuner_tui.sharing.hub_protocol import Moved, Stepped, Waiting
        from tuner_tui.sharing.pace import verified_words

        transfer = None
        match event:
            case StepEntered(what=what) | Stepped(what=what):
                self._pace.begin()
                self._steps.append(what)
            case BytesWritten(done_bytes=done, total_bytes=total) | Moved(done_bytes=done, total_bytes=total):
                transfer = Transfer(done / total if total else 1.0, self._pace.words(done, total))
            case PromptsVerified(done_prompts=done, total_prompts=total):
                transfer = Transfer(done / total if total else 1.0, verified_words(event))
            case Waiting():
                self._pace.begin()
                again = f"attempt {event.attempt} of {event.attempts} in {duration(event.seconds)}"
                transfer = Transfer(None, f"{event.why}; {again}")
            case _:
                return
        *done_steps, now = self._steps[-KEPT_STEPS:] or [""]
        self._post(WorkProgress((*(f"✓ {step}" for step in done_steps), f"> {now} ..."), transfer))
