"""What the sections of a run spec are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field


def option(default: Any, title: str, help: str, trade: str = "", **bounds: Any) -> Any:  # noqa: A002
    """A field of the spec; `trade` says what a higher or other value costs, `bounds` are pydantic's."""
    return Field(default, title=title, description=help, json_schema_extra={"trade": trade}, **bounds)


class Section(BaseModel):
    """A table of run.toml; unknown keys are problems, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class TuningOptions(Section):
    """The options of a tuning."""

    def continued(self, settings: Mapping[str, Any]) -> Self:
        """The options with those that an earlier adapter brings along, by its adapter_config.json."""
        return self
