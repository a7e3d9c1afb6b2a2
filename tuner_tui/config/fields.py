"""The base classes and fields of a run spec's sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field


def option(default: Any, title: str, help: str, trade: str = "", **bounds: Any) -> Any:  # noqa: A002
    """A field of the spec; `trade` is the trade-off of other values, `bounds` are pydantic's."""
    return Field(default, title=title, description=help, json_schema_extra={"trade": trade}, **bounds)


class Section(BaseModel):
    """A table of run.toml; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class TuningOptions(Section):
    """The options of a tuning."""

    def works_on(self, precision: str) -> bool:
        """Whether these options allow a precision of the base that the tuning works on."""
        return True

    def continued(self, settings: Mapping[str, Any]) -> Self:
        """The options with those of an earlier adapter's adapter_config.json."""
        return self
