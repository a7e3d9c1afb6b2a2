"""Labels and scores as good or bad."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tuner_tui.data.rows.turns import RowFault

GOOD = {
    "true",
    "good",
    "yes",
    "desirable",
    "thumbs_up",
    "up",
    "positive",
    "accept",
    "accepted",
    "chosen",
    "1",
    "👍",
    "like",
}
BAD = {
    "false", "bad", "no", "undesirable", "thumbs_down", "down", "negative", "reject", "rejected", "0", "-1", "👎",
    "dislike",
}  # fmt: skip


@dataclass(frozen=True)
class LabelReader:
    """Tells good from bad: by its words, or by a limit that a score on a scale must be above."""

    name: str
    limit: float | None = None
    scale: tuple[float, float] = (-1.0, 1.0)

    @property
    def rule(self) -> str:
        """Such as " > 3"; empty for words."""
        return "" if self.limit is None else f" > {self.limit:g}"

    def __call__(self, value: Any) -> bool:
        """Whether a value is good. Raises RowFault for one that is neither."""
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            word = value.strip().lower()
            if word in GOOD or word in BAD:
                return word in GOOD
            try:
                value = float(word)
            except ValueError:
                value = None
        if isinstance(value, int | float):
            least, most = self.scale
            if not least <= value <= most or (self.limit is None and value not in (-1, 0, 1)):
                raise RowFault(
                    "A score is not on the scale of the first rows",
                    f"`{self.name}` is {value:g}, and the first rows have "
                    + ("0 and 1 only." if self.limit is None else f"{least:g} to {most:g}."),
                    f'Say which scores are good: data.mapping = [..., "label = {{{self.name}}} > 3"].',
                )
            return bool(value > (0 if self.limit is None else self.limit))
        raise RowFault(
            "Unknown label", f"`{self.name}` is {value!r}.", "Labels are true or false, or scores."
        )


def label_reader(values: list[Any], name: str) -> LabelReader | None:
    """How a column of labels is read; None when it holds neither labels nor scores.

    Scores are good above the middle of the usual scale that holds them all: 0 to 1, -1 to 1, 0 to 4, 1 to 5, 0 to 10
    or 0 to 100.
    """
    numbers: list[float] = []
    for value in values:
        if isinstance(value, str):
            word = value.strip().lower()
            if word in GOOD or word in BAD:
                continue
            try:
                numbers.append(float(word))
            except ValueError:
                return None
        elif isinstance(value, bool):
            continue
        elif isinstance(value, int | float):
            numbers.append(float(value))
        else:
            return None
    if not values:
        return None
    if not numbers or set(numbers) <= {0.0, 1.0} or set(numbers) <= {-1.0, 1.0}:
        return LabelReader(name)
    return LabelReader(name, *_scale(min(numbers), max(numbers)))


def _scale(least: float, most: float) -> tuple[float, tuple[float, float]]:
    """The middle and the ends of the usual scale that holds both."""
    if least < 0:
        return 0.0, (-math.inf, math.inf)
    if most <= 1:
        return 0.5, (0.0, 1.0)
    if most <= 4 and least < 1:
        return 2.0, (0.0, 4.0)
    if most <= 5:
        return 3.0, (0.0, 5.0)
    if most <= 10:
        return 5.0, (0.0, 10.0)
    if most <= 100:
        return 50.0, (0.0, 100.0)
    return (least + most) / 2, (-math.inf, math.inf)
