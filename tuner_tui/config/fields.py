"""What the sections of a run spec are made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def option(default: Any, title: str, help: str, trade: str = "", **bounds: Any) -> Any:  # noqa: A002
    """A field of the spec; `trade` says what a higher or other value costs, `bounds` are pydantic's."""
    return Field(default, title=title, description=help, json_schema_extra={"trade": trade}, **bounds)


class Section(BaseModel):
    """A table of run.toml; unknown keys are problems, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)
