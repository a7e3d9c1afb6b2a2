"""Steps of one answer with a label each, as process reward models take them: recognised, and not trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner_tui.config.methods.traits import TRAITS
from tuner_tui.data.rows.faults import RowFault
from tuner_tui.text import listed

if TYPE_CHECKING:
    from tuner_tui.data.recognition.columns import Columns

TITLE = "Stepwise supervision is not trained by any method"


def stepwise_fault(columns: Columns) -> RowFault | None:
    """Why rows of TRL's stepwise supervision cannot be trained on; None for any other rows.

    Its columns are `prompt`, `completions` (the steps of one answer) and `labels` (whether each step is correct).
    https://huggingface.co/docs/trl/dataset_formats#stepwise-supervision
    """
    steps, labels = columns.find(("completions",), "texts"), columns.find(("labels",), "numbers")
    if steps is None or labels is None:
        return None
    if not all(_is_labelled(row.get(steps), row.get(labels)) for row in columns.rows):
        return None
    return RowFault(
        TITLE,
        f"`{steps}` are the steps of one answer, and `{labels}` says of each whether it is correct.",
        f"The methods are {listed([*TRAITS], 'and')}; none of them takes a label for each step. If `{steps}` are "
        f"separate answers to the prompt, rename `{labels}` to `scores`.",
    )


def _is_labelled(steps: Any, labels: Any) -> bool:
    """Whether each step has true or false; 1 and 0 stand for these, as files without booleans have them."""
    if not isinstance(steps, list) or not isinstance(labels, list):
        return steps is None and labels is None
    return len(steps) == len(labels) and all(label in (0, 1) for label in labels)
