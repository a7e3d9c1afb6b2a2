"""Whether there are rows enough for a run: to hold some out, for the method, and for a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tuner_tui.config.methods import own_options
from tuner_tui.config.methods.traits import method_traits
from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec


class TooFew(NamedTuple):
    """Why a run cannot be trained on so many rows."""

    key: str
    """The option that can change that."""
    title: str
    message: str
    hint: str


def held_out_of(spec: RunSpec, rows: int) -> int:
    """How many of these training rows are held out by data.evaluation_share, as the worker splits them."""
    share = spec.data.evaluation_share
    if not share or spec.data.evaluation is not None or spec.data.hold_out_by == "prompt":
        return 0
    return min(max(1, round(rows * share)), rows - 1)


def too_few_rows(spec: RunSpec, rows: int) -> TooFew | None:
    """What keeps a run from being trained on so many rows; None where nothing does."""
    if spec.data.evaluation_share and spec.data.evaluation is None and rows < 2:
        return TooFew(
            "data.evaluation_share",
            "Too few rows to hold any out",
            f"There is {counted(rows, 'row')}, and data.evaluation_share holds at least one out.",
            "Give more rows, or set data.evaluation_share = 0.",
        )
    least, left = method_traits(spec.method.kind).fewest_rows, rows - held_out_of(spec, rows)
    if left < least:
        return TooFew(
            "data.train",
            "Too few rows for the method",
            f"There is {counted(left, 'row')} to train on, and {spec.method.kind} compares at least {least} in a step.",
            "Give more rows, or use another method.",
        )
    return None


def part_batch(spec: RunSpec, rows: int) -> str:
    """A sentence where there are fewer rows than a batch takes; empty where there are enough."""
    left = rows - held_out_of(spec, rows)
    if own_options.is_packed(spec.method) or left >= spec.training.batch_size:
        return ""
    return (
        f"There are fewer rows to train on ({left:,}) than a batch takes ({spec.training.batch_size}): "
        "each epoch is one step on all of them."
    )
