"""The tables against the libraries that are installed, and against our own options."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tuner_tui.config.sections import all_options, kinds_of
from tuner_tui.importing.table import TOOLS, Table, table

NAMES = (*(tool for tool in TOOLS if tool != "folder"), "trainer", "adapter", "state")


def fields(module: str, *classes: str) -> dict[str, Any]:
    """Fields of dataclasses with the source of their defaults, read without importing the library."""
    package, _, rest = module.partition(".")
    found = find_spec(package)
    assert found is not None and found.submodule_search_locations
    path = Path(found.submodule_search_locations[0], *rest.split(".")).with_suffix(".py")
    made: dict[str, Any] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and (not classes or node.name in classes):
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    made[line.target.id] = _default(line.value)
    return made


def _default(value: ast.expr | None) -> Any:
    if isinstance(value, ast.Call):
        value = next((each.value for each in value.keywords if each.arg == "default"), None)
    try:
        return None if value is None else ast.literal_eval(value)
    except ValueError:
        return None


TRL_CONFIGS = (
    "trl.trainer.sft_config", "trl.trainer.dpo_config", "trl.trainer.kto_config", "trl.trainer.reward_config",
    "trl.experimental.orpo.orpo_config", "trl.experimental.cpo.cpo_config", "trl.trainer.model_config",
    "trl.trainer.base_config",
)  # fmt: skip


@pytest.mark.parametrize("module", TRL_CONFIGS)
def test_every_argument_of_trl_is_known(module: str) -> None:
    assert [key for key in fields(module) if not table("trl").knows(key)] == []


def test_every_script_argument_of_trl_is_known() -> None:
    keys = fields("trl.scripts.utils", "ScriptArguments", "DatasetMixtureConfig")
    assert len(keys) > 5 and [key for key in keys if not table("trl").knows(key)] == []


@pytest.mark.parametrize("name", ["trainer", "trl", "llama-factory"])
def test_every_argument_of_the_trainer_is_known(name: str) -> None:
    keys = fields("transformers.training_args", "TrainingArguments")
    assert len(keys) > 90 and [key for key in keys if not table(name).knows(key)] == []


def test_every_field_of_an_adapter_is_known() -> None:
    keys = fields("peft.tuners.lora.config", "LoraConfig") | fields(
        "peft.config", "PeftConfigMixin", "PeftConfig"
    )
    assert len(keys) > 25 and [key for key in keys if not table("adapter").knows(key)] == []


def test_every_field_of_a_state_is_known() -> None:
    keys = fields("transformers.trainer_callback", "TrainerState")
    assert len(keys) > 10 and [key for key in keys if not table("state").knows(key)] == []


def test_defaults_are_those_of_the_libraries() -> None:
    trainer = fields("transformers.training_args", "TrainingArguments")
    known = table("trainer")
    assert known.defaults["training.learning_rate"] == trainer["learning_rate"]
    assert known.defaults["training.schedule"] == trainer["lr_scheduler_type"]
    assert known.defaults["training.weight_decay"] == trainer["weight_decay"]
    assert known.defaults["training.max_grad_norm"] == trainer["max_grad_norm"]
    assert known.defaults["training.seed"] == trainer["seed"]
    assert known.role_defaults["micro_batch"] == trainer["per_device_train_batch_size"]
    assert known.role_defaults["accumulation"] == trainer["gradient_accumulation_steps"]
    assert known.role_defaults["epochs"] == trainer["num_train_epochs"]
    trl = table("trl")
    adapter = fields("trl.trainer.model_config", "ModelConfig")
    assert trl.tuning_defaults["lora"] == {
        "tuning.rank": adapter["lora_r"],
        "tuning.alpha": adapter["lora_alpha"],
        "tuning.dropout": adapter["lora_dropout"],
    }
    for kind, module in zip(("sft", "dpo", "kto", "reward", "orpo", "cpo"), TRL_CONFIGS, strict=False):
        config = fields(module)
        assert trl.method_defaults[kind]["training.learning_rate"] == config["learning_rate"], kind
        assert trl.defaults["training.max_length"] == config["max_length"]
        assert trl.method_defaults[kind].get("method.beta") == config.get("beta"), kind


@pytest.mark.parametrize("name", NAMES)
def test_tables_name_our_options_and_kinds(name: str) -> None:
    known = table(name)
    ours: dict[str, Any] = dict.fromkeys(known.take.values())
    for defaults in (known.defaults, *known.tuning_defaults.values(), *known.method_defaults.values()):
        ours |= defaults
    assert [key for key in ours if key not in all_options()] == []
    for words in known.words:
        for word in words.values.values():
            assert [key for key in word.ours if key not in all_options()] == [], words.key
            for section in ("method", "tuning"):
                if f"{section}.kind" in word.ours:
                    assert word.ours[f"{section}.kind"] in kinds_of(section)
    assert set(known.method_defaults) <= set(kinds_of("method"))
    assert set(known.tuning_defaults) <= set(kinds_of("tuning"))


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_has_one_place_in_a_table(name: str) -> None:
    known: Table = table(name)
    places = [*known.take, *(words.key for words in known.words)]
    places += [key for keys in known.roles.values() for key in keys]
    assert sorted(key for key in set(places) if places.count(key) > 1) == []
    assert [left.reason for left in known.left if not left.reason] == []
