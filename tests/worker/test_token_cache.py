"""Tokenised data are kept by all that they depend on, and made again when any of that changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from transformers import AutoTokenizer

from tests.worker.runs import write_rows
from tuner_tui.cli.data import data
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.data.rows.types import read_examples
from tuner_tui.data.tokens import token_cache as kept
from tuner_tui.worker.text import token_cache
from tuner_tui.worker.text.token_cache import tokenise_file
from tuner_tui.worker.text.tokens import tokenise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

ROWS = [{"question": f"Question {n}?", "answer": f"ünï {n} " * (n % 5 + 1)} for n in range(40)]


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(token_cache, "SMALLEST_BYTES", 0)
    return write_rows(tmp_path / "rows.jsonl", ROWS)


def test_what_is_kept_is_what_was_made(path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tokenise_file(Reading(path), tokenizer, 60, "answers")
    one_by_one = [
        row for example in read_examples(path)[1] for row in tokenise(example, tokenizer, 60, "answers")
    ]
    assert made.rows == one_by_one
    assert len(kept.list_entries()) == 1
    monkeypatch.setattr(
        "tuner_tui.worker.text.tokens._encodings", lambda *_: pytest.fail("it was made again")
    )
    assert tokenise_file(Reading(path), tokenizer, 60, "answers") == made


@pytest.mark.parametrize("change", ["content", "length", "loss", "template", "fixes", "limit", "vocabulary"])
def test_it_is_made_again_when_something_changes(path: Path, tokenizer: Any, change: str) -> None:
    before = token_cache.cache_key(Reading(path), tokenizer, 60, "answers")
    reading, length, loss_on = Reading(path), 60, "answers"
    match change:
        case "content":
            write_rows(path, ROWS[:-1])
        case "length":
            length = 61
        case "loss":
            loss_on = "all"
        case "template":
            tokenizer.chat_template += " "
        case "fixes":
            reading = Reading(path, fixes=("trim",))
        case "limit":
            reading = Reading(path, limit=7)
        case "vocabulary":
            tokenizer.add_tokens(["wombat"])
    assert token_cache.cache_key(reading, tokenizer, length, loss_on) != before


def test_a_copy_elsewhere_is_the_same(path: Path, tmp_path: Path, tokenizer: Any) -> None:
    copy = write_rows(tmp_path / "copy.jsonl", ROWS)
    keys = {token_cache.cache_key(Reading(each), tokenizer, 60, "answers") for each in (path, copy)}
    assert len(keys) == 1


def test_a_spoiled_entry_is_made_again(path: Path, tokenizer: Any) -> None:
    made = tokenise_file(Reading(path), tokenizer, 60, "answers")
    [entry] = kept.list_entries()
    entry.path.write_bytes(entry.path.read_bytes()[:-200])
    assert tokenise_file(Reading(path), tokenizer, 60, "answers") == made


def test_a_full_disk_costs_the_cache_and_not_the_run(
    path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(token_cache, "write", refuse)
    assert len(tokenise_file(Reading(path), tokenizer, 60, "answers").rows) == 40


def test_a_run_uses_it_and_it_is_listed_and_cleared(train: Callable[..., Run], path: Path) -> None:
    for _ in range(2):
        run = train(ROWS, training={"max_steps": 1, "batch_size": 2})
        assert run.exit_code == 0
    told = json.loads(CliRunner().invoke(data, ["cache", "list", "--json"]).output)
    assert [entry["source"] for entry in told["entries"]] == [str(path)]
    assert "Freed" in CliRunner().invoke(data, ["cache", "clear"]).output
    assert kept.list_entries() == []
