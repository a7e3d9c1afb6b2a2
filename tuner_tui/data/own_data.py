"""What a new run on a person's own rows begins with: rows held out, and sample prompts from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.spec_paths import DEMO
from tuner_tui.data.recognition.reading import evaluation_reading, training_reading
from tuner_tui.data.rows.for_method import read_for
from tuner_tui.data.rows.preference import PairExample, RatedExample
from tuner_tui.data.rows.types import Example
from tuner_tui.errors import TunerError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.data.rows.for_method import AnyExample
    from tuner_tui.data.rows.preference import Side

SHARE = 0.1
FEWEST_ROWS = 20
"""With fewer rows each is worth more in training than a loss on one or two."""
PROMPTS = 3
LONGEST_PROMPT = 300
"""Characters of a sample prompt, which is to be read on a screen."""
READ_ROWS = 20_000


def own_data_options(spec: RunSpec) -> dict[str, str]:
    """Options, as a form's texts, for a run on data of one's own; none for the demo, collections and few rows.

    A share of the prompts is held out by hash, so that the rows are known before the run and nothing leaks; the sample
    prompts are some of theirs. What is set already stays.
    """
    data = spec.data
    if data.train == DEMO or data.train.startswith("feedback:") or data.evaluation is not None:
        return {}
    if data.evaluation_share:
        return {}
    held = spec.data.model_copy(update={"evaluation_share": SHARE, "hold_out_by": "prompt"})
    try:
        kept_rows = _rows(spec, replace(training_reading(held, spec.training.seed), limit=READ_ROWS))
        reading = evaluation_reading(held, spec.training.seed)
        held_rows = _rows(spec, replace(reading, limit=READ_ROWS)) if reading else []
    except (TunerError, OSError):  # what is wrong with the data is shown where they are chosen
        return {}
    if not held_rows or len(kept_rows) + len(held_rows) < FEWEST_ROWS:
        return {}
    options = {"data.evaluation_share": f"{SHARE:g}", "data.hold_out_by": "prompt"}
    prompts = sample_prompts(held_rows)
    if prompts and method_traits(spec.method.kind).output != "scores":
        options["samples.prompts"] = "\n".join(prompts)
    return options


def sample_prompts(rows: Iterable[AnyExample], most: int = PROMPTS) -> list[str]:
    """The first few different prompts of rows that fit on a screen, each on one line."""
    prompts: dict[str, None] = {}
    for row in rows:
        prompt = " ".join(_prompt_of(row).split())
        if prompt and len(prompt) <= LONGEST_PROMPT:
            prompts[prompt] = None
        if len(prompts) == most:
            break
    return list(prompts)


def _rows(spec: RunSpec, reading: Reading) -> list[AnyExample]:
    return list(read_for(spec.method.kind, reading)[1])


def _prompt_of(row: AnyExample) -> str:
    """What a row asks first: its prompt, or its first user turn; empty for plain text."""
    if isinstance(row, PairExample | RatedExample):
        return _of_side(row.prompt)
    if isinstance(row, Example) and row.messages:
        return next((turn.content for turn in row.messages if turn.role == "user"), "")
    return row.prompt if isinstance(row, Example) else ""


def _of_side(side: Side) -> str:
    if isinstance(side, str):
        return side
    return next((turn.content for turn in side if turn.role == "user"), "")
