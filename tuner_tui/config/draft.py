"""A run that is being configured: a spec, invalid input that is not applied yet, and its origin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tuner_tui.config.options import as_toml, find_option, options_of, value_of
from tuner_tui.config.presets import Preset, preset_spec
from tuner_tui.config.rules import Problem, check_rules
from tuner_tui.config.single_option import set_option
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.spec_file import SpecError, parse_spec
from tuner_tui.config.spec_writer import spec_text
from tuner_tui.errors import TunerError
from tuner_tui.text import shell_command

UNSET = "?"
"""Placeholder in a spec for a model or data that is not selected yet."""
REQUIRED = {"model.source": "Pick a model.", "data.train": "Pick training data."}


@dataclass(frozen=True)
class Rejected:
    """A text that was entered for an option and is not a valid value."""

    text: str
    problem: Problem


@dataclass(frozen=True)
class BrokenText:
    """An edited run.toml that cannot be read; kept until it is fixed or discarded."""

    text: str
    error: TunerError

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Its problems, by line."""
        if isinstance(self.error, SpecError):
            return self.error.problems
        return (Problem("run.toml", None, "", f"{self.error.title}: {self.error.message}", self.error.hint),)


@dataclass(frozen=True)
class Draft:
    """A run spec in progress; immutable, each change returns a new draft."""

    spec: RunSpec
    base: RunSpec
    """The spec that it started from."""
    text: str | None = None
    """The TOML text whose comments and order are preserved."""
    preset: str = ""
    """Name of the preset that it started from."""
    is_recipe: bool = False
    """Whether `text` is a shipped preset, as `spec_text` needs to know."""
    rejected: Mapping[str, Rejected] = field(default_factory=dict)
    """Invalid input by key."""
    broken: BrokenText | None = None

    @classmethod
    def blank(cls) -> Draft:
        """Nothing selected yet, everything else at its default."""
        return cls.of_spec(
            RunSpec.model_validate({"model": {"source": UNSET}, "data": {"train": UNSET}}), text=None
        )

    @classmethod
    def of_preset(cls, preset: Preset) -> Draft:
        """A draft from a preset. Raises TunerError when it cannot be read."""
        spec = preset_spec(preset)
        text = preset.text or None
        return cls(spec, spec, text=text, preset=preset.name, is_recipe=preset.is_shipped)

    @classmethod
    def of_spec(cls, spec: RunSpec, text: str | None = None) -> Draft:
        """A draft from a spec, such as an earlier run's; `text` is the spec's TOML."""
        return cls(spec, spec, text=text)

    @property
    def is_changed(self) -> bool:
        """Whether there are changes to lose."""
        return self.spec != self.base or bool(self.rejected) or self.broken is not None

    @property
    def missing(self) -> tuple[str, ...]:
        """Required options that are not set."""
        return tuple(key for key in REQUIRED if value_of(self.spec, key) == UNSET)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems that prevent the run; broken text first, since it hides the rest."""
        if self.broken is not None:
            return self.broken.problems
        skipped = (*self.missing, *self.rejected)
        return (
            *(Problem("", None, key, REQUIRED[key]) for key in self.missing),
            *(rejected.problem for rejected in self.rejected.values()),
            *check_rules(self.spec, skipped),
        )

    def typed(self, key: str) -> str | None:
        """The invalid text of an option; None if its value is valid."""
        rejected = self.rejected.get(key)
        return rejected.text if rejected else None

    def with_option(self, key: str, text: str) -> Draft:
        """The draft with one option changed; an invalid text is kept with its problem."""
        others = {other: rejected for other, rejected in self.rejected.items() if other != key}
        option = find_option(self.spec, key)
        try:
            if option is None:
                raise SpecError(key, (Problem("", None, key, "does not apply here"),))
            spec = set_option(self.spec, key, as_toml(option, text))
        except SpecError as error:
            return replace(self, rejected={**others, key: Rejected(text, error.problems[0])})
        applicable = {option.key for option in options_of(spec)}
        still_rejected = {other: rejected for other, rejected in others.items() if other in applicable}
        return replace(self, spec=spec, rejected=still_rejected)

    def with_text(self, text: str) -> Draft:
        """The draft with edited TOML; text that cannot be read is kept as broken."""
        try:
            spec = parse_spec(text, "run.toml")
        except TunerError as error:
            return replace(self, broken=BrokenText(text, error))
        return replace(self, spec=spec, text=text, is_recipe=False, rejected={}, broken=None)

    def without_broken(self) -> Draft:
        """The draft without the broken text."""
        return replace(self, broken=None)

    def toml(self) -> str:
        """The run.toml of this draft."""
        return self.broken.text if self.broken else spec_text(self.spec, self.text, is_recipe=self.is_recipe)

    @property
    def needs_file(self) -> bool:
        """Whether the command names a file, since options over a preset cannot express the run."""
        return not self.preset or changed_settings(self.base, self.spec) is None

    def command(self, file: str = "run.toml") -> str:
        """The command that starts the same run; `file` is the run.toml that it names where it needs one."""
        settings = changed_settings(self.base, self.spec) if self.preset else None
        if settings is None:
            return shell_command("train", file)
        options = [word for setting in settings for word in ("--set", setting)]
        return shell_command("train", str(self.preset), options=options)


def changed_settings(base: RunSpec, spec: RunSpec) -> list[str] | None:
    """KEY=VALUE for each option in which two specs differ; None if a difference cannot be expressed so."""
    before = {option.key: value_of(base, option.key) for option in options_of(base)}
    keys = [option.key for option in options_of(spec)]
    keys.sort(key=lambda key: not key.endswith(".kind"))
    settings, again = [], base
    try:
        for key in keys:
            option = find_option(again, key)
            wanted = value_of(spec, key)
            if option is None or (key in before and value_of(again, key) == wanted):
                continue
            text = "" if wanted == option.default else _bare(wanted)
            again = set_option(again, key, text)
            settings.append(f"{key}={text}")
    except SpecError:
        return None
    return settings if again == spec else None


def _bare(value: Any) -> str:
    """A value for the command line: words without quotes."""
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
