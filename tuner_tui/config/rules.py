"""The combinations of options that the libraries do not support, in one table."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from tuner_tui.config.methods.options import METHOD_RULES
from tuner_tui.config.methods.traits import TRAITS, method_traits
from tuner_tui.config.rule import Rule
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.tunings.options import TUNING_RULES
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.text import listed


@dataclass(frozen=True)
class Problem:
    """One problem of a run spec, and its place."""

    file: str
    """Name of the file; empty if the value is not from a file."""
    line: int | None
    """Line in that file; None if unknown."""
    key: str
    """The dotted key, such as tuning.rank; empty for the whole file."""
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        line = ": ".join(part for part in (where, self.key, self.message) if part)
        return f"{line}\n    {self.hint}" if self.hint else line


def _precision(*precisions: str) -> Callable[[RunSpec], bool]:
    return lambda spec: spec.model.precision in precisions


def _is_adapter(spec: RunSpec) -> bool:
    return tuning_traits(spec.tuning.kind).is_adapter


def _has_evaluation(spec: RunSpec) -> bool:
    return spec.data.evaluation is not None or spec.data.evaluation_share > 0


def _fewest_rows(spec: RunSpec) -> int:
    return method_traits(spec.method.kind).fewest_rows


def _trained_on() -> str:
    """A description of which methods train on which dataset types."""
    methods: dict[tuple[str, ...], list[str]] = {}
    for kind, traits in TRAITS.items():
        methods.setdefault(traits.dataset_types, []).append(kind)
    return "; ".join(f"{listed(kinds)}: {listed(types, 'or')}" for types, kinds in methods.items())


# The tests of each row are in tests/unit/test_rules.py; the library versions are those of constraints.txt.
GENERAL_RULES: tuple[Rule, ...] = (
    Rule(
        ("model.attention", "machine.device"),
        lambda spec: spec.model.attention == "flash_attention_2" and spec.machine.device == "cpu",
        "flash attention runs on a GPU only",
        'Set attention = "auto", or another machine.device.',
    ),
    Rule(
        ("model.attention", "model.precision", "tuning.kind"),
        lambda spec: (  # full tuning of fp32 weights computes in 16 bit
            spec.model.attention == "flash_attention_2" and _precision("fp32")(spec) and _is_adapter(spec)
        ),
        "flash attention computes in 16 bit, and adapters on an fp32 base compute in fp32",
        'Set attention = "auto", or precision = "auto" or "bf16".',
    ),
    Rule(
        ("model.precision", "machine.device"),
        lambda spec: _precision("fp16")(spec) and spec.machine.device == "cpu",
        "fp16 on a CPU has no gradient scaling, so small gradients are lost",
        'Set precision = "auto", "fp32" or "bf16".',
    ),
    Rule(
        ("training.optimizer", "machine.device"),
        lambda spec: spec.training.optimizer == "paged_adamw_8bit" and spec.machine.device == "cpu",
        "a CPU has no GPU memory to page from",
        'Set optimizer = "adamw_8bit" or "adamw".',
    ),
    Rule(
        ("training.micro_batch", "training.batch_size"),
        lambda spec: (spec.training.micro_batch or 1) > spec.training.batch_size,
        "the micro-batch is larger than batch_size",
        "Set a micro_batch of at most batch_size, or remove it to have it chosen.",
    ),
    Rule(
        ("training.micro_batch", "training.batch_size"),
        lambda spec: (
            (micro := spec.training.micro_batch or 1) <= spec.training.batch_size
            and spec.training.batch_size % micro != 0
        ),
        "batch_size must be a multiple of the micro-batch",
        "Set a micro_batch that divides batch_size, or remove it to have it chosen.",
    ),
    Rule(
        ("evaluation.early_stopping", "data.evaluation", "data.evaluation_share"),
        lambda spec: spec.evaluation.early_stopping is not None and not _has_evaluation(spec),
        "early stopping needs held-out rows to evaluate",
        "Give data.evaluation a file or data.evaluation_share a share such as 0.1, or remove it.",
    ),
    Rule(
        ("data.evaluation_share", "data.evaluation"),
        lambda spec: spec.data.evaluation is not None and spec.data.evaluation_share > 0,
        "held-out rows come from an evaluation file or from a share of the training rows, not from both",
        "Remove one of the two.",
    ),
    Rule(
        ("data.shape", "method.kind"),
        lambda spec: spec.data.shape not in ("auto", *method_traits(spec.method.kind).dataset_types),
        f"the method does not train on this dataset type ({_trained_on()})",
        'Set shape = "auto", or another method.',
    ),
    Rule(
        ("training.batch_size", "training.micro_batch", "method.kind"),
        lambda spec: (
            min(spec.training.batch_size, spec.training.micro_batch or spec.training.batch_size)
            < _fewest_rows(spec)
        ),
        "the method compares the rows of a micro-batch with each other, so one row at a time cannot be trained",
        "Set a micro_batch of at least 2; 4 or more estimates better.",
    ),
    Rule(
        ("training.group_by_length", "method.kind"),
        lambda spec: method_traits(spec.method.kind).keeps_order and spec.training.group_by_length is True,
        "the method keeps rows in one order, in which each is compared with the previous one",
        "Set group_by_length = false.",
    ),
    Rule(
        ("samples.budget_percent", "samples.prompts"),
        lambda spec: bool(spec.samples.prompts) and spec.samples.budget_percent == 0,
        "with no time for samples the prompts would never be answered",
        "Set a budget such as 5, or remove the prompts.",
    ),
)
RULES: tuple[Rule, ...] = (*GENERAL_RULES, *METHOD_RULES, *TUNING_RULES)


def check_rules(spec: RunSpec, skip: Collection[str] = ()) -> tuple[Problem, ...]:
    """The rules that a spec breaks, without those about a key in `skip` (known to be invalid)."""
    return tuple(
        Problem("", None, rule.keys[0], rule.reason, rule.remedy)
        for rule in RULES
        if not any(key in skip or key.split(".")[0] in skip for key in rule.keys) and rule.applies(spec)
    )
