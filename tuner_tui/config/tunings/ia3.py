"""IA3: its options and what cannot be combined with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from tuner_tui.config.fields import TuningOptions, option
from tuner_tui.config.rule import Rule, of_tuning


class Ia3Tuning(TuningOptions):
    """One factor for each key, value and MLP channel beside frozen weights: the smallest adapters (IA3)."""

    kind: Literal["ia3"] = option(
        "ia3", "Tuning", "What is trained; ia3 scales keys, values and the MLP beside frozen weights."
    )
    targets: Literal["auto"] | tuple[str, ...] = option(
        "auto",
        "Targets",
        "Which layers are scaled: auto (keys, values and the MLP's last matrix), or a list of module names such as "
        '["k_proj", "v_proj", "down_proj"]. Of the MLP\'s last matrix the inputs are scaled, else the outputs.',
        "auto is as published; more layers add a little capacity.",
    )

    def continued(self, settings: Mapping[str, Any]) -> Self:
        """The options with the targets of an earlier adapter, by its adapter_config.json."""
        targets = settings.get("target_modules")
        if not isinstance(targets, list) or not all(isinstance(name, str) for name in targets):
            return self
        return self.model_copy(update={"targets": tuple(sorted(targets))})


def _names_nothing(tuning: Ia3Tuning) -> bool:
    return tuning.targets != "auto" and not all(name.strip() for name in tuning.targets or ("",))


def _scales_tables(tuning: Ia3Tuning) -> bool:
    last = {name.rpartition(".")[2].strip() for name in tuning.targets} if tuning.targets != "auto" else set()
    return not last.isdisjoint(("lm_head", "embed_tokens"))


RULES = (
    Rule(
        ("tuning.targets",),
        of_tuning(Ia3Tuning, lambda tuning, _: _names_nothing(tuning)),
        "names no module, so nothing would be trained",
        'Set "auto" or module names such as ["k_proj", "v_proj", "down_proj"].',
    ),
    Rule(
        ("tuning.targets",),
        of_tuning(Ia3Tuning, lambda tuning, _: _scales_tables(tuning)),
        "the embedding and the output layer (embed_tokens, lm_head) cannot be scaled: the loss reads their weights "
        "directly",
        "Remove them.",
    ),
)
