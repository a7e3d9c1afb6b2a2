"""A run on its way: options read off the spec, and drafts that keep what cannot be used yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner_tui.config.draft import Draft, changed_settings
from tuner_tui.config.options import as_text, as_toml, find_option, options_of, value_of
from tuner_tui.config.presets import find_preset, list_presets
from tuner_tui.config.single_option import set_option
from tuner_tui.config.spec import LoraTuning
from tuner_tui.config.spec_file import parse_spec


@pytest.fixture
def draft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Draft:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    return Draft.of_preset(find_preset("first-try"))


def test_every_option_has_what_a_form_needs(draft: Draft) -> None:
    options = options_of(draft.spec)
    assert len({option.key for option in options}) == len(options)
    for option in options:
        assert option.title, option.key
        assert option.help, option.key
        assert bool(option.choices) == (option.kind in ("choice", "words")), option.key


def test_each_value_survives_the_form(draft: Draft) -> None:
    """What a form shows and gives back unchanged means the same value."""
    for preset in list_presets():
        spec = Draft.of_preset(preset).spec
        for option in options_of(spec):
            text = as_text(option, value_of(spec, option.key))
            assert set_option(spec, option.key, as_toml(option, text)) == spec, (preset.name, option.key)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("tuning.rank", " 8 ", 8),
        ("tuning.dropout", ".1", 0.1),
        ("training.learning_rate", "2e-4", 2e-4),
        ("training.learning_rate", "", None),
        ("training.epochs", "", 3.0),
        ("tuning.targets", "attention", "attention"),
        ("tuning.targets", "q_proj, v_proj", ("q_proj", "v_proj")),
        ("tuning.targets", '["q_proj"]', ("q_proj",)),
        ("tuning.dora", "true", True),
        ("name", "true", "true"),
        ("name", 'a "b" \\ c', 'a "b" \\ c'),
        ("samples.prompts", "one\n\n two ", ("one", "two")),
        ("model.precision", "nf4", "nf4"),
        ("training.learning_rate", "auto", None),
        ("training.max_steps", "08", 8),
        ("data.evaluation_share", "00", 0),
    ],
)
def test_typed_text_becomes_a_value(draft: Draft, key: str, text: str, value: object) -> None:
    changed = draft.with_option(key, text)
    assert changed.rejected == {}
    assert value_of(changed.spec, key) == value


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("tuning.rank", "0", "at least 1"),
        ("tuning.rank", "many", "whole number"),
        ("tuning.rank", "auto", "whole number"),
        ("tuning.dropout", "1", "below 1"),
        ("name", "x" * 61, "at most 60 characters"),
        ("model.source", " ", "must be given"),
        ("tuning.nonsense", "1", "does not apply"),
    ],
)
def test_what_is_no_value_is_kept_with_its_problem(draft: Draft, key: str, text: str, says: str) -> None:
    changed = draft.with_option(key, text)
    assert changed.spec == draft.spec
    assert changed.typed(key) == text
    (problem,) = changed.problems
    assert problem.key == key
    assert says in problem.message
    assert changed.is_changed


def test_another_kind_drops_what_does_not_apply(draft: Draft) -> None:
    changed = draft.with_option("tuning.rank", "x").with_option("training.epochs", "x")
    changed = changed.with_option("tuning.kind", "full")
    assert set(changed.rejected) == {"training.epochs"}
    assert find_option(changed.spec, "tuning.rank") is None


def test_a_blank_draft_asks_for_model_and_data() -> None:
    blank = Draft.blank()
    assert {problem.key for problem in blank.problems} == {"model.source", "data.train"}
    filled = blank.with_option("model.source", "demo").with_option("data.train", "demo")
    assert filled.problems == ()
    assert parse_spec(filled.toml(), "run.toml") == filled.spec


def test_broken_text_hides_the_rest_until_it_is_mended(draft: Draft) -> None:
    broken = draft.with_text("[model\nsource = 1")
    assert broken.spec == draft.spec
    assert broken.toml() == "[model\nsource = 1"
    assert broken.problems[0].line == 1
    assert broken.without_broken() == draft
    fixed = broken.with_text(draft.toml().replace("rank = 16", "rank = 2"))
    assert fixed.broken is None
    assert isinstance(fixed.spec.tuning, LoraTuning)
    assert fixed.spec.tuning.rank == 2


def test_the_command_starts_the_same_run(draft: Draft) -> None:
    assert draft.command() == "tuner-tui train first-try"
    changed = draft.with_option("tuning.rank", "4").with_option("training.learning_rate", "")
    changed = changed.with_option("samples.prompts", "It's?").with_option("data.train", "my rows.jsonl")
    settings = changed_settings(draft.spec, changed.spec)
    assert settings is not None
    again = draft.spec
    for setting in settings:
        key, _, value = setting.partition("=")
        again = set_option(again, key, value)
    assert again == changed.spec
    assert "'data.train=my rows.jsonl'" in changed.command()


def test_the_command_changes_kinds_first(draft: Draft) -> None:
    full = draft.with_option("tuning.kind", "full")
    assert full.command() == "tuner-tui train first-try --set tuning.kind=full"
    assert Draft.of_spec(draft.spec).command() == "tuner-tui train run.toml"
