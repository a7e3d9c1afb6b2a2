"""Every number that a command takes has a range, and what is outside of it is refused by the option's name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tuner_tui.cli import tuner_tui
from tuner_tui.cli.numbers import LENGTH, Finite
from tuner_tui.config.spec import TrainingSpec


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from commands(inner, *path, name)


NUMBERS = [
    (path, option)
    for path, command in commands(tuner_tui)
    for option in command.params
    if isinstance(option, click.Option)
    and isinstance(option.type, click.types.IntParamType | click.types.FloatParamType)
]


def test_the_numbers_are_found() -> None:
    names = {(*path, option.name) for path, option in NUMBERS}
    assert {("data", "check", "length"), ("chat", "top_p"), ("runs", "list", "limit")} <= names


@pytest.mark.parametrize(
    ("path", "option"), NUMBERS, ids=[" ".join((*path, option.opts[0])) for path, option in NUMBERS]
)
def test_every_number_has_a_least_value_and_is_finite(path: tuple[str, ...], option: click.Option) -> None:
    kind = option.type
    assert isinstance(kind, click.IntRange | Finite), f"{path} {option.opts[0]}"
    assert kind.min is not None
    context = click.Context(click.Command("any"))
    for word in ("-1", "nan", "inf", "-inf", "", "one"):
        with pytest.raises(click.UsageError):
            option.type_cast_value(context, word)


@pytest.mark.parametrize("length", ["0", "-5", "7", "1048577"])
@pytest.mark.parametrize("command", [("check", "demo"), ("show", "demo", "1")])
def test_a_length_limit_that_training_would_refuse_is_refused(command: tuple[str, ...], length: str) -> None:
    result = CliRunner().invoke(tuner_tui, ["data", *command, "--length", length])
    assert result.exit_code == 2
    assert "--length" in result.output and "8<=x<=1048576" in result.output


def test_the_length_limit_is_that_of_training() -> None:
    bounds = {type(bound).__name__: bound for bound in TrainingSpec.model_fields["max_length"].metadata}
    assert (bounds["Ge"].ge, bounds["Le"].le) == (LENGTH.min, LENGTH.max)


def test_a_row_number_beyond_any_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "hello"}\n')
    result = CliRunner().invoke(tuner_tui, ["data", "show", str(path), "9" * 30])
    assert "rows are numbered from 1" in str(result.exception)
