"""Feedback in a real app, on collections of known content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.feedback.collections import collection_path
from tuner_tui.feedback.records import CollectionSettings, Maker, NewAnswer
from tuner_tui.feedback.store import Store
from tuner_tui.generation.messages import Turn

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG = " ".join(
    f"Sentence number {number} says a little more than the one before it did." for number in range(60)
)
CODE = "```python\ndef add(a: int, b: int) -> int:\n\treturn a + b  # [bold]not markup[/bold]\n```\n\x1b[31mred?\x1b[0m"
HARD_TEXTS: dict[str, tuple[str, ...]] = {
    "long": (LONG, LONG.replace("little", "lot")),
    "wide": ("全角文字がここにあります。" * 8, "漢字とかなの混ざった文章です。" * 3),
    "emoji": ("👩‍👩‍👧‍👦 family, 🇺🇳 flag, ✨ sparkles, 👍🏽 thumb", "plain words only"),
    "code": (CODE, CODE.replace("add", "plus")),
    "right-to-left": ("مرحبا بالعالم، هذا نص عربي طويل نسبيا " * 4, "שלום עולם, זה טקסט בעברית " * 4),
    "nothing": ("\n\n\n", "\x00\x07\x1b[2J"),
}


def collection(
    name: str,
    answers: Sequence[Sequence[str]],
    settings: CollectionSettings | None = None,
    prompt: str = "Why?",
) -> None:
    """Make a collection in this home; each item has these answers."""
    with Store.create(collection_path(name), settings or CollectionSettings()) as store:
        for number, texts in enumerate(answers):
            store.add_item(
                [Turn("user", f"{prompt} ({number})")],
                f"test:{number}",
                [
                    NewAnswer(
                        text=text,
                        maker=Maker(kind="model", model=f"model-{place}", seed=place),
                        is_finished=bool(place % 2),
                    )
                    for place, text in enumerate(texts)
                ],
            )
