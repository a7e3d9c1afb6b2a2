"""A mapping made by choosing: its types are those that mappings make, and its lines are read as they were meant."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tuner_tui.data.recognition.mapping import SHAPES_OF_PARTS, parse_mapping, shape_of_mapping
from tuner_tui.data.recognition.mapping_form import TYPES, MappingForm, MappingType, column_samples
from tuner_tui.data.recognition.reading import Reading, plain_rows

if TYPE_CHECKING:
    from pathlib import Path


def test_every_set_of_parts_that_makes_a_dataset_type_can_be_chosen() -> None:
    assert {(frozenset(each.needed), frozenset(each.optional)) for each in TYPES} == {
        (needed, allowed) for needed, allowed, _ in SHAPES_OF_PARTS
    }


@pytest.mark.parametrize("chosen", TYPES, ids=lambda each: each.name)
def test_a_form_is_read_back_as_it_was(chosen: MappingType) -> None:
    form = MappingForm().with_type(chosen.name)
    assert form.missing == chosen.needed
    for part in chosen.parts:
        form = form.with_part(part, f"{{{part}_column}}\n")
    assert not form.missing
    mapping = parse_mapping(form.lines)
    shape_of_mapping(mapping)
    again = MappingForm.of_mapping(mapping)
    assert (again.type, again.mapping) == (chosen, mapping)


def test_columns_stay_with_parts_that_stand_for_the_same() -> None:
    form = MappingForm().with_part("user", "{q}").with_part("assistant", "{a}").with_part("history", "{h}")
    pairs = form.with_type("preference")
    assert pairs.mapping == {"prompt": "{q}", "chosen": "{a}"} and pairs.missing == ("rejected",)
    assert pairs.with_type("instruction").mapping == form.mapping
    assert form.with_part("assistant", "").missing == ("assistant",)


def test_columns_and_what_lies_inside_them_are_offered_with_a_value(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    first = {"title": None, "answers": {"text": ["Denver", "Paris"], "start": [3]}, "{odd}": "x"}
    path.write_text(json.dumps([first, {"title": "A  title\nof two lines", "answers": {"text": []}}]))
    samples = {sample.path: sample.sample for sample in column_samples(Reading(path))}
    assert samples["title"] == "A title of two lines"
    assert samples["answers.text.0"] == "Denver" and samples["answers.text.1"] == "Paris"
    assert "{odd}" not in samples  # a template cannot name it
    template = next(each.template for each in column_samples(Reading(path)) if each.path == "answers.text.0")
    mapped = plain_rows(Reading(path, mapping=("user = {title}?", f"assistant = {template}")))
    row = next(mapped.rows).row
    assert isinstance(row, dict) and row["messages"][1]["content"] == "Denver"


def test_a_verdict_takes_the_columns_as_rows_are_read(tmp_path: Path) -> None:
    """A file of an annotation tool has its columns inside; lines with a verdict name them as they are read."""
    path = tmp_path / "tasks.json"
    task = {
        "data": {"prompt": "Why?", "answer1": "So.", "answer2": "No."},
        "annotations": [
            {"result": [{"from_name": "comparison", "type": "pairwise", "value": {"selected": "left"}}]}
        ],
    }
    path.write_text(json.dumps([task] * 3))
    assert "data" in {sample.path for sample in column_samples(Reading(path))}
    by_verdict = {sample.path for sample in column_samples(Reading(path), by_verdict=True)}
    assert {"prompt", "answer1", "answer2"} <= by_verdict
