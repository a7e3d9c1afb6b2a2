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
    "pos",
    "accept",
    "accepted",
    "chosen",
    "👍",
    "like",
}
BAD = {
    "false", "bad", "no", "undesirable", "thumbs_down", "down", "negative", "neg", "reject", "rejected", "👎",
    "dislike",
}  # fmt: skip


SCALES_FROM_0 = ((0.0, 1.0), (0.0, 4.0), (0.0, 5.0), (0.0, 10.0), (0.0, 100.0))
SCALES_FROM_1 = ((1.0, 5.0), (0.0, 10.0), (0.0, 100.0))
"""The usual scales; the first one that holds the first rows' scores is taken."""


@dataclass(frozen=True)
class LabelReader:
    """Tells good from bad: by its words, or by a limit that a score on a scale must be above."""

    name: str
    limit: float | None = None
    least: float = -math.inf
    most: float = math.inf
    """The ends of the scale whose middle is the limit."""

    @property
    def rule(self) -> str:
        """Such as " > 3"; empty for words."""
        return "" if self.limit is None else f" > {self.limit:g}"

    def __call__(self, value: Any) -> bool:
        """Whether a value is good. Raises RowFault for one that is neither, or that another scale has."""
        if isinstance(value, bool):
            return value
        given = value
        if isinstance(value, str):
            word = value.strip().lower()
            if word in GOOD or word in BAD:
                return word in GOOD
            try:
                value = float(word)
            except ValueError:
                value = None
        if isinstance(value, int | float) and not math.isnan(value):
            if not self.least <= value <= self.most:
                raise self._other_scale(value)
            return bool(value > (0 if self.limit is None else self.limit))
        if is_absent(given):
            raise RowFault(
                "A label is missing",
                f"`{self.name}` says neither good nor bad.",
                "Label the row, or leave it out (data.fixes: drop_broken).",
            )
        raise RowFault(
            "Unknown label", f"`{self.name}` is {given!r}.", "Labels are true or false, or scores."
        )

    def _other_scale(self, value: float) -> RowFault:
        return RowFault(
            "A score is outside the scale of earlier rows",
            f"`{self.name}` is {value:g}, and the first rows have {self.least:g} to {self.most:g}, so what is good is "
            "not certain.",
            f"State it: --map 'label={{{self.name}}} > LIMIT', with --map lines for prompt and completion "
            "beside it (in run.toml: data.mapping).",
        )


def is_absent(value: Any) -> bool:
    """Whether a row has no label: its reader then refuses the row, and the others are read."""
    if isinstance(value, str):
        return value.strip().lower() in ("", "nan", "none", "null", "<na>")
    return value is None or (isinstance(value, float) and math.isnan(value))


def label_reader(
    values: list[Any], name: str, scale: tuple[float, float] | None = None
) -> LabelReader | None:
    """How a column of labels is read; None when it holds neither labels nor scores.

    Scores are good above the middle of `scale`, else of the usual scale that holds them all: 0 to 1, -1 to 1, 0 to 4,
    1 to 5, 0 to 5, 0 to 10 or 0 to 100.
    """
    numbers: list[float] = []
    values = [value for value in values if not is_absent(value)]
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
    if scale is not None:
        return LabelReader(name, sum(scale) / 2, *scale)
    if not numbers:
        return LabelReader(name)
    if set(numbers) <= {0.0, 1.0} or set(numbers) <= {-1.0, 1.0}:
        return LabelReader(name, None, -1.0, 1.0)
    if min(numbers) < 0:
        return LabelReader(name, 0.0)
    scales = SCALES_FROM_0 if min(numbers) < 1 else SCALES_FROM_1
    usual = next((each for each in scales if max(numbers) <= each[1]), None)
    if usual is None:
        return LabelReader(name, (min(numbers) + max(numbers)) / 2)
    return LabelReader(name, sum(usual) / 2, *usual)
