"""A run that is being put together: a spec, what was typed and cannot be used yet, and where it began."""

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
"""Stands in a spec where model or data are still to be picked."""
REQUIRED = {"model.source": "Pick a model.", "data.train": "Pick training data."}


@dataclass(frozen=True)
class Rejected:
    """A text that was typed for an option and is no value of it."""

    text: str
    problem: Problem


@dataclass(frozen=True)
class BrokenText:
    """A run.toml that was edited and cannot be read; it is kept until it is mended or dropped."""

    text: str
    error: TunerError

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with it, by line."""
        if isinstance(self.error, SpecError):
            return self.error.problems
        return (Problem("run.toml", None, "", f"{self.error.title}: {self.error.message}", self.error.hint),)


@dataclass(frozen=True)
class Draft:
    """A run spec on its way; every change gives a new draft."""

    spec: RunSpec
    base: RunSpec
    """What it began as."""
    text: str | None = None
    """The TOML text whose comments and order are kept."""
    preset: str = ""
    """Name of the preset that it began with."""
    rejected: Mapping[str, Rejected] = field(default_factory=dict)
    """By key, what was typed and is no value."""
    broken: BrokenText | None = None

    @classmethod
    def blank(cls) -> Draft:
        """Nothing picked yet, everything else at its default."""
        return cls.of_spec(
            RunSpec.model_validate({"model": {"source": UNSET}, "data": {"train": UNSET}}), text=None
        )

    @classmethod
    def of_preset(cls, preset: Preset) -> Draft:
        """A preset to begin with. Raises TunerError when it cannot be read."""
        spec = preset_spec(preset)
        return cls(spec, spec, text=preset.text or None, preset=preset.name)

    @classmethod
    def of_spec(cls, spec: RunSpec, text: str | None = None) -> Draft:
        """A spec to change, such as an earlier run's; `text` is the TOML that it came from."""
        return cls(spec, spec, text=text)

    @property
    def is_changed(self) -> bool:
        """Whether leaving would lose something."""
        return self.spec != self.base or bool(self.rejected) or self.broken is not None

    @property
    def missing(self) -> tuple[str, ...]:
        """Required options that nothing was picked for."""
        return tuple(key for key in REQUIRED if value_of(self.spec, key) == UNSET)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that keeps the spec itself from running; broken text comes first, since it hides the rest."""
        if self.broken is not None:
            return self.broken.problems
        skipped = (*self.missing, *self.rejected)
        return (
            *(Problem("", None, key, REQUIRED[key]) for key in self.missing),
            *(rejected.problem for rejected in self.rejected.values()),
            *check_rules(self.spec, skipped),
        )

    def typed(self, key: str) -> str | None:
        """The text of an option that was typed and is no value; None when its value counts."""
        rejected = self.rejected.get(key)
        return rejected.text if rejected else None

    def with_option(self, key: str, text: str) -> Draft:
        """The draft with what was typed for one option; a text that is no value is kept with its problem."""
        others = {other: rejected for other, rejected in self.rejected.items() if other != key}
        option = find_option(self.spec, key)
        try:
            if option is None:
                raise SpecError(key, (Problem("", None, key, "does not apply here"),))
            spec = set_option(self.spec, key, as_toml(option, text))
        except SpecError as error:
            return replace(self, rejected={**others, key: Rejected(text, error.problems[0])})
        applicable = {option.key for option in options_of(spec)}
        kept = {other: rejected for other, rejected in others.items() if other in applicable}
        return replace(self, spec=spec, rejected=kept)

    def with_text(self, text: str) -> Draft:
        """The draft after its TOML was edited by hand; text that cannot be read is kept as broken."""
        try:
            spec = parse_spec(text, "run.toml")
        except TunerError as error:
            return replace(self, broken=BrokenText(text, error))
        return replace(self, spec=spec, text=text, rejected={}, broken=None)

    def without_broken(self) -> Draft:
        """The draft as it was before the text that cannot be read."""
        return replace(self, broken=None)

    def toml(self) -> str:
        """The run.toml of this draft."""
        return self.broken.text if self.broken else spec_text(self.spec, self.text)

    def command(self) -> str:
        """The headless command that starts the same run."""
        settings = changed_settings(self.base, self.spec) if self.preset else None
        if settings is None:
            return "tuner-tui train run.toml"
        options = [word for setting in settings for word in ("--set", setting)]
        return shell_command("train", str(self.preset), options=options)


def changed_settings(base: RunSpec, spec: RunSpec) -> list[str] | None:
    """KEY=VALUE for each option in which two specs differ; None where that cannot be said in this way."""
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
    """A value as a command line takes it: words stand bare."""
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
