"""`train` without a file, and its options beside a file or a preset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tuner_tui.cli import train as train_module
from tuner_tui.cli.train import OPTIONS, train
from tuner_tui.config.sections import all_options
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.spec_file import SpecError

SPEC = """
[model]
source = "demo"
[data]
train = "rows.jsonl"
[method]
kind = "dpo"
beta = 0.3
[training]
epochs = 2
learning_rate = 1e-5
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the command would check, with these words."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "run.toml").write_text(SPEC)

    def ask(*words: str) -> RunSpec:
        seen: list[RunSpec] = []

        class Nothing:
            warnings = ()

        def check(spec: RunSpec) -> type[Nothing]:
            seen.append(spec)
            return Nothing

        monkeypatch.setattr("tuner_tui.keeper.launch.check", check)
        outcome = CliRunner().invoke(
            train, [*words, "--check"], catch_exceptions=False, standalone_mode=False
        )
        if outcome.exception is not None:
            raise outcome.exception
        return seen[0]

    return ask


def test_a_model_and_data_are_enough(asked: Any, tmp_path: Path) -> None:
    spec = asked("--model", "owner/name", "--data", "rows.jsonl")
    assert spec == RunSpec.model_validate(
        {"model": {"source": "owner/name"}, "data": {"train": str(tmp_path / "rows.jsonl")}}
    )


def test_each_option_sets_what_it_says(asked: Any, tmp_path: Path) -> None:
    spec = asked(
        *("--model", "demo", "--data", "rows.jsonl", "--eval-data", "held.jsonl", "--method", "sft"),
        *("--tuning", "lora", "--precision", "nf4", "--epochs", "1.5", "--max-steps", "7", "--rank", "4"),
        *("--learning-rate", "3e-4", "--batch-size", "16", "--max-length", "300", "--name", "mine"),
        *("--set", "tuning.dropout=0.1", "--set", "tuning.rank=5"),
    )
    assert (spec.method.kind, spec.tuning.kind, spec.model.precision) == ("sft", "lora", "nf4")
    assert (spec.training.epochs, spec.training.max_steps, spec.training.learning_rate) == (1.5, 7, 3e-4)
    assert (spec.training.batch_size, spec.training.max_length, spec.name) == (16, 300, "mine")
    assert (spec.tuning.rank, spec.tuning.dropout) == (5, 0.1)  # --set counts more
    assert spec.data.evaluation == str(tmp_path / "held.jsonl")


def test_options_replace_what_a_file_says(asked: Any, tmp_path: Path) -> None:
    spec = asked("run.toml", "--epochs", "1", "--model", "owner/name")
    assert (spec.training.epochs, spec.training.learning_rate, spec.model.source) == (1, 1e-5, "owner/name")
    assert (spec.method.kind, spec.method.beta) == ("dpo", 0.3)
    other = asked("run.toml", "--method", "orpo")
    assert other.method.kind == "orpo" and other.training.learning_rate == 1e-5


def test_options_replace_what_a_preset_says(asked: Any, tmp_path: Path) -> None:
    spec = asked("qlora-8gb", "--model", "owner/name", "--data", "rows.jsonl")
    assert (spec.model.source, spec.model.precision) == ("owner/name", "nf4")
    assert spec.data.train == str(tmp_path / "rows.jsonl")


def test_what_is_missing_is_named(asked: Any) -> None:
    for words, missing in (((), "--model, --data"), (("--model", "demo"), "missing: --data")):
        with pytest.raises(click.UsageError) as caught:
            asked(*words)
        assert missing in caught.value.message


def test_a_value_that_is_none_is_refused_with_its_key(asked: Any) -> None:
    with pytest.raises(SpecError) as caught:
        asked("--model", "demo", "--data", "rows.jsonl", "--epochs", "many")
    assert "training.epochs" in str(caught.value)


def test_options_name_options_of_a_run() -> None:
    assert [key for key in OPTIONS.values() if key not in all_options()] == []
    parameters = {parameter.name for parameter in train_module.train.params}
    assert set(OPTIONS) <= parameters
