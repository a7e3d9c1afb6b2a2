"""The [method] table of a run spec: the options of every method, told apart by their kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tuner_tui.config.methods import alphapo, cpo, dpo, kto, orpo, reward, sft
from tuner_tui.config.rule import Rule

Method = Annotated[
    sft.SftMethod
    | dpo.DpoMethod
    | cpo.CpoMethod
    | kto.KtoMethod
    | orpo.OrpoMethod
    | reward.RewardMethod
    | alphapo.AlphapoMethod,
    Field(discriminator="kind"),
]
METHOD_RULES: tuple[Rule, ...] = (*sft.RULES, *dpo.RULES, *cpo.RULES, *alphapo.RULES)
"""The methods' own rules."""
