"""Collections for tests: small, of known content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.feedback.records import CollectionSettings, Maker, NewAnswer
from tuner_tui.feedback.store import Store
from tuner_tui.generation.messages import Turn

if TYPE_CHECKING:
    from pathlib import Path


def answer(text: str, model: str = "base", *, is_finished: bool | None = True) -> NewAnswer:
    return NewAnswer(text=text, maker=Maker(kind="model", model=model, seed=1), is_finished=is_finished)


def make_store(path: Path, items: int = 0, settings: CollectionSettings | None = None) -> Store:
    """A collection of items with two answers each, the second one longer, by two models."""
    store = Store.create(path, settings or CollectionSettings())
    for number in range(items):
        store.add_item(
            [Turn("user", f"Question {number}?")],
            f"test:{number}",
            [answer(f"Short {number}."), answer(f"A longer answer {number}.", "tuned")],
        )
    return store
