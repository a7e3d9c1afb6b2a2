"""Pairs and rated answers as tokens: a finished answer ends with its end token, one that was cut off does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.worker.kinds import KINDS, Kind, make_tokenizer
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.worker.text.preference_tokens import tokenise_answers, tokenise_pairs


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def written(folder: Path, rows: list[dict[str, Any]]) -> Reading:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Reading(path)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name.replace(" ", "-").replace(",", "") for kind in KINDS])
@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_an_answer_that_was_cut_off_has_no_end(tmp_path: Path, kind: Kind, method: Any) -> None:
    tokenizer = make_tokenizer(kind)
    pair = {"prompt": user("Hi"), "chosen": said("Yo"), "rejected": said("Bye")}
    reading = written(tmp_path, [pair, pair | {"rejected_finished": False, "chosen_finished": True}])
    whole, cut = tokenise_pairs(reading, tokenizer, 200, method).rows
    assert whole.chosen == cut.chosen and whole.prompt == cut.prompt
    assert tokenizer.eos_token_id in whole.rejected and tokenizer.eos_token_id not in cut.rejected
    assert whole.rejected[: len(cut.rejected)] == cut.rejected
    assert tokenizer.decode(cut.rejected).strip().endswith("Bye")


def test_text_that_was_cut_off_has_no_end(tmp_path: Path, tokenizer: Any) -> None:
    rated = {"prompt": "Hi ", "completion": "Yo", "label": True}
    rows = [rated, rated | {"label": False, "completion_finished": False}]
    found = {
        row.label: row for row in tokenise_answers(written(tmp_path, rows), tokenizer, 200, "kto", 1).rows
    }
    assert found[True].completion == [*found[False].completion, tokenizer.eos_token_id]


def test_sides_of_a_pair_stay_cut_off_as_rated_answers(tmp_path: Path, tokenizer: Any) -> None:
    pair = {"prompt": user("Hi"), "chosen": said("Yo"), "rejected": said("Bye"), "chosen_finished": False}
    found = {
        row.label: row for row in tokenise_answers(written(tmp_path, [pair]), tokenizer, 200, "kto", 1).rows
    }
    end = tokenizer.eos_token_id
    assert end not in found[True].completion and end in found[False].completion
