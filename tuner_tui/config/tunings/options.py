"""The [tuning] table of a run spec: the options of every tuning, told apart by their kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tuner_tui.config.rule import Rule
from tuner_tui.config.tunings import full, ia3, lora

Tuning = Annotated[lora.LoraTuning | full.FullTuning | ia3.Ia3Tuning, Field(discriminator="kind")]
TUNING_RULES: tuple[Rule, ...] = (*lora.RULES, *full.RULES, *ia3.RULES)
"""The tunings' own rules."""
