"""What people fine-tune for, and the recipes for it: data in assets/goals.toml, whose methods and tunings exist."""

from __future__ import annotations

import difflib
import json
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.config import paths
from tuner_tui.config.toml_records import bad_record, read_records
from tuner_tui.errors import NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.config.spec import RunSpec

TITLE = "The goals cannot be read"


class GoalSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One option that a recipe sets, and why."""

    key: str
    value: bool | int | float | str
    why: str


class GoalRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A way to a goal: method, tuning and settings, each with its reason."""

    method: str
    method_why: str
    tuning: str
    tuning_why: str
    set: tuple[GoalSetting, ...] = ()


class Goal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"recipes": "recipe"}):
    """Something to fine-tune for."""

    name: str
    title: str
    words: str
    """What it is, in a line."""
    data: str
    """What rows it needs."""
    data_why: str
    usual_rows: int
    """Rows that a person usually has, for the time."""
    usual_tokens: int
    """Their usual length."""
    fewest_rows: int
    """With fewer rows it rarely works."""
    instead: str
    """When fine-tuning is not the answer, and what is."""
    system_prompt: str
    """What to try in a chat first."""
    wants: tuple[str, ...]
    """What a model should be good at, as the table of models says it."""
    recipes: tuple[GoalRecipe, ...]


class _Goals(msgspec.Struct, forbid_unknown_fields=True, rename={"goals": "goal"}):
    goals: tuple[Goal, ...]


@cache
def list_goals() -> tuple[Goal, ...]:
    """The goals, in the order in which they are shown."""
    return read_goals(paths.shipped_dir("assets") / "goals.toml")


def read_goals(path: Path) -> tuple[Goal, ...]:
    """The goals of a file. Raises InputError that names file and key, also for settings that do not go together."""
    from tuner_tui.config.spec_file import SpecError

    goals = read_records(path, _Goals, TITLE).goals
    for goal in goals:
        for number, recipe in enumerate(goal.recipes, 1):
            key = f"goal {goal.name}, recipe {number}"
            try:
                recipe_spec(recipe, "demo", "demo")
            except SpecError as error:
                raise bad_record(path, TITLE, key, error.problems[0].message) from None
    return goals


def find_goal(name: str) -> Goal:
    """The goal with a name. Raises NotFoundError that suggests the nearest."""
    goals = {goal.name: goal for goal in list_goals()}
    if name in goals:
        return goals[name]
    matches = difflib.get_close_matches(name[:60].lower(), goals, n=1)
    hint = f"Did you mean {matches[0]}?" if matches else f"Available: {', '.join(goals)}."
    raise NotFoundError("No such goal", name, hint)


def recipe_spec(recipe: GoalRecipe, source: str, data: str) -> RunSpec:
    """The run spec of a recipe on a model and data. Raises SpecError for settings that are not valid."""
    from tuner_tui.config.single_option import set_option
    from tuner_tui.config.spec import RunSpec

    spec = RunSpec.model_validate({"model": {"source": source}, "data": {"train": data}})
    kinds = (("method.kind", recipe.method), ("tuning.kind", recipe.tuning))
    for key, value in (*kinds, *((setting.key, setting.value) for setting in recipe.set)):
        spec = set_option(spec, key, json.dumps(value, ensure_ascii=False))
    return spec
