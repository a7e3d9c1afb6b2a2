"""Numbers as options of commands: in a range, and never NaN, which no comparison keeps out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click import Context, Parameter

LENGTH = click.IntRange(8, 1_048_576)
"""A length limit in tokens: the bounds of training.max_length."""


class Finite(click.FloatRange):
    """A number in a range; `click.FloatRange` lets "nan" pass."""

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> Any:
        """The number. Fails for one that is not in the range, infinite or NaN."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number
