"""Rank, alpha and the modules that get adapters, of settings that depend on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.importing.values import has_option, number, plain_number, switch, words

if TYPE_CHECKING:
    from tuner_tui.importing.rules import Given, Rules

NEVER_ADAPTED = ("lm_head", "embed_tokens")


def adapter(rules: Rules) -> None:
    """Rank, alpha and the modules that get adapters."""
    rank, alpha = rules.role("rank"), rules.role("alpha")
    for given, key in ((rank, "tuning.rank"), (alpha, "tuning.alpha")):
        if given and has_option(key, rules.method, rules.tuning):
            rules.take(given, {key: plain_number(given.value)})
        elif given:
            rules.skip(given, rules.no_option(key))
    if rules.role_default("rank") is not None:
        rules.set_default("tuning.rank", rules.role_default("rank"), rules.default_reason("rank"))
    if (per_rank := rules.role_default("alpha_per_rank")) and alpha is None:
        width = number(rules.ledger.spec.get("tuning.rank", 16)) or 16
        rules.set_default(
            "tuning.alpha",
            float(per_rank * width),
            f"{rules.default_reason('alpha_per_rank')}: {per_rank} x rank",
        )
    _targets(rules)


def _targets(rules: Rules) -> None:
    every, given = rules.role("targets_all"), rules.role("targets")
    has_targets = has_option("tuning.targets", rules.method, rules.tuning)
    for setting in (every, given):
        if setting and not has_targets:
            rules.skip(setting, rules.no_option("tuning.targets"))
    if not has_targets:
        return
    if every and switch(every.value):
        rules.take(every, {"tuning.targets": "all-linear"}, "all linear layers but the head")
        if given:
            rules.skip(given, "all linear layers have adapters")
        return
    if every:
        rules.skip(every, "off or empty")
    if given:
        _take_targets(rules, given)
        return
    default = rules.role_default("targets")
    if default == "peft":
        reason = f"{rules.default_reason('targets')}, from PEFT: queries and values, named as in Llama, Qwen and Gemma"
        rules.set_default("tuning.targets", ["q_proj", "v_proj"], reason)
    elif default and default not in ("all", "all-linear"):
        rules.set_default("tuning.targets", words(default), rules.default_reason("targets"))


def _take_targets(rules: Rules, given: Given) -> None:
    names = words(given.value)
    if names is not None and [name.lower() for name in names] in (["all"], ["all-linear"], ["all_linear"]):
        rules.take(
            given,
            {"tuning.targets": "all-linear"},
            "" if names == ["all-linear"] else "all linear layers but the head",
        )
    elif not names or any(not name.replace("_", "").replace(".", "").isalnum() for name in names):
        rules.refuse(given, "expected names of modules, such as q_proj; patterns are not supported")
    else:
        adaptable_names = [name for name in names if name.rpartition(".")[2] not in NEVER_ADAPTED]
        if not adaptable_names:
            rules.refuse(given, "the head and the embedding get no adapters here")
            return
        reason = (
            "without the head and the embedding, which get no adapters here"
            if adaptable_names != names
            else ""
        )
        rules.take(given, {"tuning.targets": adaptable_names}, reason)
