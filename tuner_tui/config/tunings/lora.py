"""LoRA: its options and what cannot be combined with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from tuner_tui.config.fields import TuningOptions, option
from tuner_tui.config.rule import Rule, of_tuning
from tuner_tui.config.tunings.lora_start import converted_alpha, converted_rank


class LoraTuning(TuningOptions):
    """Low-rank adapters beside frozen weights; with an int8 or nf4 base this is QLoRA."""

    kind: Literal["lora"] = option(
        "lora", "Tuning", "What is trained; lora trains small adapters beside frozen weights."
    )
    rank: int = option(
        16,
        "Rank",
        "Width of the adapter's matrices (r).",
        "Higher learns more and costs memory.",
        ge=1,
        le=1024,
    )
    alpha: float = option(
        32.0,
        "Alpha",
        "Scale of the adapter; its output is multiplied by alpha / rank (alpha / sqrt(rank) with rsLoRA).",
        "Acts like a learning rate of its own: twice the rank is a usual start.",
        gt=0,
        le=4096,
    )
    dropout: float = option(
        0.0,
        "Dropout",
        "Share of adapter inputs zeroed while training.",
        "Reduces overfitting on small datasets.",
        ge=0,
        lt=1,
    )
    targets: Literal["all-linear", "attention"] | tuple[str, ...] = option(
        "all-linear",
        "Targets",
        "Which layers get adapters: all-linear (all but the head), attention (q, k, v, o), or a list of "
        'module names such as ["q_proj", "v_proj"]; never the head (lm_head) or embed_tokens.',
        "all-linear learns best; attention alone is smaller and faster.",
    )
    rslora: bool = option(
        False,
        "rsLoRA",
        "Divide alpha by sqrt(rank) instead of rank.",
        "Ranks above 32 train faster with it.",
    )
    dora: bool = option(
        False,
        "DoRA",
        "Train direction and magnitude of each weight separately. Not on an int8 base.",
        "Often a little better at low rank; noticeably slower and heavier.",
    )

    def works_on(self, precision: str) -> bool:
        """All but DoRA on an int8 base."""
        return not (self.dora and precision == "int8")

    def continued(self, settings: Mapping[str, Any]) -> Self:
        """The options with the rank, alpha and targets of an earlier adapter, by its adapter_config.json."""
        targets = settings.get("target_modules")
        is_list = isinstance(targets, list) and all(isinstance(name, str) for name in targets)
        if settings.get(
            "target_parameters"
        ):  # experts of a mixture, which PEFT adapts with all linear layers
            is_list = False
        init, is_rslora = settings.get("init_lora_weights"), settings.get("use_rslora") is True
        changes = {
            "rank": converted_rank(settings.get("r") or self.rank, init),
            "alpha": converted_alpha(settings.get("lora_alpha") or self.alpha, init, is_rslora=is_rslora),
            "dora": settings.get("use_dora") is True,
            "targets": tuple(targets) if isinstance(targets, list) and is_list else "all-linear",
        }
        return self.model_copy(update=changes)


def _targets(tuning: LoraTuning) -> tuple[str, ...] | None:
    """The last parts of the listed module names; None for "all-linear" and "attention"."""
    if isinstance(tuning.targets, str):
        return None
    return tuple(target.rpartition(".")[2].strip() for target in tuning.targets)


RULES = (
    Rule(
        ("tuning.dora", "model.precision"),
        of_tuning(LoraTuning, lambda tuning, spec: not tuning.works_on(spec.model.precision)),
        "DoRA does not work on an int8 base",
        'Set precision = "nf4" or "bf16", or dora = false.',
    ),
    Rule(
        ("tuning.targets",),
        of_tuning(LoraTuning, lambda tuning, _: _targets(tuning) == () or "" in (_targets(tuning) or ())),
        "names no module, so nothing would be trained",
        'Set "all-linear", "attention" or module names such as ["q_proj", "v_proj"].',
    ),
    Rule(
        ("tuning.targets",),
        of_tuning(LoraTuning, lambda tuning, _: "lm_head" in (_targets(tuning) or ())),
        "the output head (lm_head) cannot have an adapter: the loss reads its weights directly",
        'Remove "lm_head".',
    ),
    Rule(
        ("tuning.targets",),
        of_tuning(LoraTuning, lambda tuning, _: "embed_tokens" in (_targets(tuning) or ())),
        "an adapter on embed_tokens saves the whole embedding matrix with it, and merging it changes the "
        "output head of models that share the two",
        'Remove "embed_tokens".',
    ),
)
