"""The table of combinations that the stack cannot do.

What was tried for it, on a CPU with a tiny Llama, torch 2.13.0, transformers 5.23.0, TRL 1.16.0, PEFT 0.21.2,
bitsandbytes 0.50.2:
- raise: full tuning on int8 and nf4, DoRA on int8, LoRA on lm_head; a gradient scaler given fp16 parameters;
- fp16 on a CPU runs without a scaler, a paged optimizer falls back to an unpaged one;
- LoRA on embed_tokens trains, saves the whole table, and merged into a tied model moves its logits by 3.0;
- packing with sdpa or eager gave the loss of the rows taken apart, to 3e-7: there transformers sees from the
  positions where rows begin; which models do is looked at before the first step (tests/worker/test_packed_rows.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from tuner_tui.config.rules import RULES, check_rules
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.spec_file import SpecError, parse_spec, require_rules
from tuner_tui.config.spec_writer import spec_text
from tuner_tui.config.tunings import traits
from tuner_tui.config.tunings.traits import tuning_traits

FULL = {"kind": "full"}
CPU = {"device": "cpu"}


def lora(**options: Any) -> dict[str, Any]:
    return {"kind": "lora", **options}


def make(**sections: dict[str, Any]) -> RunSpec:
    model = {"source": "demo", **sections.pop("model", {})}
    data = {"train": "demo", **sections.pop("data", {})}
    if "method" in sections:
        sections["method"] = {"kind": "sft", **sections["method"]}
    return RunSpec.model_validate({"model": model, "data": data, **sections})


REFUSED: list[tuple[str, dict[str, dict[str, Any]], str]] = [
    ("full on int8", {"model": {"precision": "int8"}, "tuning": FULL}, "model.precision"),
    ("full on nf4", {"model": {"precision": "nf4"}, "tuning": FULL}, "model.precision"),
    ("full on fp16", {"model": {"precision": "fp16"}, "tuning": FULL}, "model.precision"),
    ("DoRA on int8", {"model": {"precision": "int8"}, "tuning": lora(dora=True)}, "tuning.dora"),
    ("no target", {"tuning": lora(targets=[])}, "tuning.targets"),
    ("empty target", {"tuning": lora(targets=["q_proj", " "])}, "tuning.targets"),
    ("the head", {"tuning": lora(targets=["q_proj", "lm_head"])}, "tuning.targets"),
    ("embeddings", {"tuning": lora(targets=["model.embed_tokens"])}, "tuning.targets"),
    ("flash on a CPU", {"model": {"attention": "flash_attention_2"}, "machine": CPU}, "model.attention"),
    ("flash in fp32", {"model": {"attention": "flash_attention_2", "precision": "fp32"}}, "model.attention"),
    ("fp16 on a CPU", {"model": {"precision": "fp16"}, "machine": CPU}, "model.precision"),
    (
        "paging on a CPU",
        {"training": {"optimizer": "paged_adamw_8bit"}, "machine": CPU},
        "training.optimizer",
    ),
    ("micro over batch", {"training": {"batch_size": 4, "micro_batch": 8}}, "training.micro_batch"),
    ("micro no divisor", {"training": {"batch_size": 8, "micro_batch": 3}}, "training.micro_batch"),
    ("nothing to stop on", {"evaluation": {"early_stopping": 2}}, "evaluation.early_stopping"),
    (
        "both evaluations",
        {"data": {"evaluation": "e.jsonl", "evaluation_share": 0.1}},
        "data.evaluation_share",
    ),
    ("answers of text", {"data": {"shape": "text"}}, "method.loss_on"),
    ("no time to sample", {"samples": {"prompts": ["Hi?"], "budget_percent": 0}}, "samples.budget_percent"),
    ("pairs for sft", {"data": {"shape": "preference"}}, "data.shape"),
    ("rated for dpo", {"data": {"shape": "rated"}, "method": {"kind": "dpo"}}, "data.shape"),
    ("text for a reward model", {"data": {"shape": "text"}, "method": {"kind": "reward"}}, "data.shape"),
    ("idle smoothing", {"method": {"kind": "dpo", "label_smoothing": 0.1}}, "method.label_smoothing"),
    (
        "idle smoothing of cpo",
        {"method": {"kind": "cpo", "loss": "hinge", "label_smoothing": 0.1}},
        "method.label_smoothing",
    ),
    ("exo_pair without smoothing", {"method": {"kind": "dpo", "loss": "exo_pair"}}, "method.loss"),
    ("alphapo without a shape", {"method": {"kind": "alphapo", "alpha": 0.0}}, "method.alpha"),
    ("kto row by row", {"method": {"kind": "kto"}, "training": {"micro_batch": 1}}, "training.batch_size"),
    (
        "kto by length",
        {"method": {"kind": "kto"}, "training": {"group_by_length": True}},
        "training.group_by_length",
    ),
    ("nothing to scale", {"tuning": {"kind": "ia3", "targets": []}}, "tuning.targets"),
    ("a scaled head", {"tuning": {"kind": "ia3", "targets": ["k_proj", "lm_head"]}}, "tuning.targets"),
    ("full from an adapter", {"model": {"adapter": "last"}, "tuning": FULL}, "model.adapter"),
]


@pytest.mark.parametrize(
    ("sections", "key"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_combination_is_refused_once_with_a_reason_and_a_remedy(
    sections: dict[str, dict[str, Any]], key: str
) -> None:
    (problem,) = check_rules(make(**sections))
    assert problem.key == key
    assert problem.message
    assert problem.hint.endswith(".")


def test_every_rule_has_a_case() -> None:
    specs = [make(**sections) for _, sections, _ in REFUSED]
    without = [rule for rule in RULES if not any(rule.applies(spec) for spec in specs)]
    assert [rule.keys for rule in without] == [("method.packing", "tuning.kind")]  # the test below


def test_packing_is_refused_for_tunings_with_virtual_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = make(method={"packing": True})
    assert check_rules(packed) == ()
    assert tuning_traits("prompt").has_virtual_tokens
    monkeypatch.setitem(traits._ALL, "lora", tuning_traits("prompt"))  # as if a run could use it
    (problem,) = check_rules(packed)
    assert problem.key == "method.packing"
    assert "virtual tokens" in problem.message and "packing = false" in problem.hint
    assert check_rules(make()) == ()


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": {"precision": "int8"}, "tuning": lora(rslora=True)},
        {"model": {"precision": "nf4"}, "tuning": lora(dora=True)},
        {"model": {"precision": "fp16"}},
        {"model": {"precision": "bf16"}, "tuning": FULL},
        {"model": {"attention": "flash_attention_2"}, "method": {"packing": True}},
        {"model": {"attention": "sdpa"}, "method": {"packing": True}},
        {"model": {"attention": "eager"}, "method": {"packing": True}},
        {"model": {"attention": "flash_attention_2", "precision": "fp32"}, "tuning": FULL},
        {"training": {"optimizer": "adamw_8bit"}, "machine": CPU},
        {"training": {"batch_size": 8, "micro_batch": 8}},
        {"data": {"evaluation_share": 0.1}, "evaluation": {"early_stopping": 1}},
        {"data": {"evaluation": "e.jsonl"}, "evaluation": {"early_stopping": 1}},
        {"data": {"shape": "text"}, "method": {"loss_on": "all"}},
        {"samples": {"budget_percent": 0}},
        {"tuning": lora(targets=["q_proj", "my_lm_head_norm"])},
        {"training": {"epochs": 1, "max_steps": 5}},
        {
            "method": {"kind": "dpo", "loss": "robust", "label_smoothing": 0.1},
            "data": {"shape": "preference"},
        },
        {"method": {"kind": "kto"}, "data": {"shape": "preference"}},
        {"method": {"kind": "kto"}, "data": {"shape": "rated"}, "training": {"micro_batch": 2}},
        {"method": {"kind": "cpo", "label_smoothing": 0.1}, "model": {"adapter": "last"}},
        {"method": {"kind": "orpo"}, "training": {"group_by_length": True}},
        {"model": {"adapter": "last"}, "tuning": {"kind": "ia3"}, "method": {"kind": "dpo"}},
        {"method": {"kind": "reward"}},
    ],
    ids=str,
)
def test_what_works_is_left_alone(sections: dict[str, dict[str, Any]]) -> None:
    assert check_rules(make(**sections)) == ()


def test_the_keys_of_every_rule_exist() -> None:
    from tuner_tui.config.sections import all_options

    assert {key for rule in RULES for key in rule.keys} <= all_options().keys()


def test_a_broken_rule_is_a_problem_of_the_file_with_its_line() -> None:
    text = '[model]\nsource = "demo"\nprecision = "int8"\n[data]\ntrain = "demo"\n[tuning]\nkind = "full"\n'
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "run.toml")
    (problem,) = caught.value.problems
    assert (problem.key, problem.line) == ("model.precision", 3)


def test_rules_are_looked_at_beside_other_problems() -> None:
    text = spec_text(make(training={"batch_size": 8, "micro_batch": 3})) + "\n[machine]\ndevice = 'tpu'\n"
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "run.toml")
    assert {problem.key for problem in caught.value.problems} == {"training.micro_batch", "machine.device"}


def test_a_rule_about_a_faulty_key_waits() -> None:
    text = spec_text(make()) + "\n[training]\nbatch_size = 8.5\nmicro_batch = 16\n"
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "run.toml")
    assert [problem.key for problem in caught.value.problems] == ["training.batch_size"]


def test_require_rules_names_what_was_checked() -> None:
    require_rules(make())
    with pytest.raises(SpecError, match="My form has 2 problems"):
        require_rules(
            make(tuning=lora(targets=[]), samples={"prompts": ["a"], "budget_percent": 0}), "My form"
        )
