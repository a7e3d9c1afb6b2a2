"""Goals and the table of models: the shipped ones are whole and true, and a person's own table is read or refused."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from tuner_tui.config import paths
from tuner_tui.config.goals import find_goal, list_goals, read_goals, recipe_spec
from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.rules import check_rules
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.models.open_models import own_table_file, read_open_models
from tuner_tui.planning.shape import shape_of

if TYPE_CHECKING:
    from pathlib import Path

MODEL = """
[[model]]
name = "me/mine"
parameters = 1_000
licence = "mit"
context = 2048
good_at = ["chat"]
config = { model_type = "llama", hidden_size = 64, num_hidden_layers = 2, num_attention_heads = 4, intermediate_size = 128, vocab_size = 256 }
"""  # noqa: E501


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))


def own_table(text: str) -> None:
    own_table_file().parent.mkdir(parents=True, exist_ok=True)
    own_table_file().write_text(text)


@pytest.mark.parametrize("goal", list_goals(), ids=lambda goal: goal.name)
def test_a_goals_recipes_follow_the_rules(goal: Any) -> None:
    assert goal.recipes and goal.instead and goal.system_prompt
    for recipe in goal.recipes:
        spec = recipe_spec(recipe, "demo", "rows.jsonl")
        assert check_rules(spec) == ()
        assert (spec.method.kind, spec.tuning.kind) == (recipe.method, recipe.tuning)
        assert method_traits(recipe.method).dataset_types
        for setting in recipe.set:
            section, _, key = setting.key.partition(".")
            assert getattr(getattr(spec, section), key) == setting.value


def test_the_goals_are_those_whose_methods_exist() -> None:
    assert [goal.name for goal in list_goals()] == ["style", "facts", "format", "ratings"]
    with pytest.raises(NotFoundError) as caught:
        find_goal("facst")
    assert "facts" in caught.value.hint


def test_each_wish_of_a_goal_is_met_by_some_model() -> None:
    good_at = {word for model in read_open_models().models for word in model.good_at}
    assert {word for goal in list_goals() for word in goal.wants} <= good_at


def test_a_recipe_with_a_method_that_does_not_exist_is_named(tmp_path: Path) -> None:
    text = (paths.shipped_dir("assets") / "goals.toml").read_text()
    bad = tmp_path / "goals.toml"
    bad.write_text(text.replace('method = "dpo"', 'method = "distill"'))
    with pytest.raises(InputError, match=r"goals.toml, goal ratings, recipe 1: ") as caught:
        read_goals(bad)
    assert "distill" in caught.value.message
    bad.write_text(text.replace("training.epochs", "training.epoch", 1))
    with pytest.raises(InputError, match="goal style, recipe 1"):
        read_goals(bad)


def test_the_shipped_table_is_dated_and_whole() -> None:
    table = read_open_models()
    assert table.date.year >= 2025
    assert len(table.models) >= 15
    for model in table.models:
        assert model.licence and model.good_at
        assert shape_of(model.facts) is not None
        assert model.facts.context_length == model.context


def test_the_presets_models_are_in_the_table() -> None:
    from tuner_tui.config.presets import list_presets, preset_spec

    sources = {preset_spec(preset).model.source for preset in list_presets()}
    assert sources - {model.name for model in read_open_models().models} == {"demo"}


def test_a_table_of_ones_own_replaces_the_shipped_one() -> None:
    own_table(f"date = 2026-11-01\n{MODEL}")
    table = read_open_models()
    assert (str(table.date), [model.name for model in table.models]) == ("2026-11-01", ["me/mine"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("date = ", "line 1"),
        (MODEL, "it lacks the key date"),
        (f'date = "soon"\n{MODEL}', "models.toml, date: "),
        (
            f"date = 2026-11-01\n{MODEL.replace('2048', 'true')}",
            "model 1 (me/mine), context: expected a whole number",
        ),
        (
            f"date = 2026-11-01\n{MODEL.replace('2048', '0')}",
            "model 1 (me/mine), context: expected a number above 0",
        ),
        (
            f"date = 2026-11-01\n{MODEL.replace('licence', 'license')}",
            "model 1 (me/mine): it has the unknown key license",
        ),
        (
            f"date = 2026-11-01\n{MODEL.replace('vocab_size', 'vocabulary')}",
            "(me/mine), config: it does not say: vocab",
        ),
        (
            f"date = 2026-11-01\n{MODEL.replace('= 64', '= true')}",
            "(me/mine), config: it does not say: hidden_size",
        ),
        (f"date = 2026-11-01\n{MODEL}{MODEL}", "model 2 (me/mine), name: it is in the table twice"),
        (f"date = 2026-11-01\n{MODEL.replace('me/mine', '../up')}", "name: expected a repository"),
    ],
)
def test_a_bad_table_is_refused_by_file_and_key(text: str, words: str) -> None:
    own_table(text)
    with pytest.raises(InputError) as caught:
        read_open_models()
    assert str(own_table_file()) in caught.value.message
    assert words in caught.value.message
    assert caught.value.hint


def test_a_table_that_is_a_pipe_is_refused_at_once() -> None:
    import os

    own_table_file().parent.mkdir(parents=True)
    os.mkfifo(own_table_file())
    with pytest.raises(InputError, match="table of models"):
        read_open_models()


def test_the_shipped_files_are_plain_toml() -> None:
    for name in ("goals", "models"):
        assert tomllib.loads((paths.shipped_dir("assets") / f"{name}.toml").read_text("utf-8"))
