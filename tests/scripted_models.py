"""Models whose answers a test sends: what the feedback screen submits and cancels, and the replies by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tuner_tui.generation.client import GenerationClient, Generators
from tuner_tui.generation.messages import Answered, Failed, Grew

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.generation.client import Listener
    from tuner_tui.generation.messages import Base, Generate


class ScriptedModels(Generators):
    """All bases in one: requests wait until the test answers them."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[str, tuple[Generate, Listener]] = {}
        self.cancelled: list[str] = []
        self.tell: Callable[[str], None] = lambda words: None

    def of(self, base: Base) -> GenerationClient:
        return cast("GenerationClient", self)

    def listen(self, on_state: Callable[[str], None]) -> None:
        self.tell = on_state

    def submit(self, request: Generate, listener: Listener) -> str:
        self.waiting[request.id] = (request, listener)
        return request.id

    def cancel(self, identity: str) -> None:
        request, listener = self.waiting.pop(identity)
        self.cancelled.append(identity)
        listener(_answered(request, "unfin", 2, is_cancelled=True))

    def close(self) -> None:
        self.waiting.clear()

    def grow(self, tokens: int) -> None:
        """Each waiting answer has so many tokens."""
        for request, listener in list(self.waiting.values()):
            listener(Grew(id=request.id, text="a " * tokens, tokens=tokens))

    def answer(self, count: int = 1, tokens: int = 10) -> list[Generate]:
        """Complete the first waiting answers."""
        done = [self.waiting.pop(identity) for identity in list(self.waiting)[:count]]
        for number, (request, listener) in enumerate(done):
            listener(_answered(request, f"answer {request.seed} {number}", tokens))
        return [request for request, _ in done]

    def fail(self) -> None:
        """The first waiting answer fails."""
        request, listener = self.waiting.pop(next(iter(self.waiting)))
        listener(Failed(id=request.id, title="Out of memory", hint="Ask for shorter answers."))


def _answered(request: Generate, text: str, tokens: int, *, is_cancelled: bool = False) -> Answered:
    return Answered(
        id=request.id,
        text=text,
        is_finished=not is_cancelled,
        tokens=tokens,
        seconds=1.0,
        batch_size=2,
        seed=request.seed,
        template="",
        is_cancelled=is_cancelled,
    )
