"""Settings of other tools: each value is accounted for once, and what is written can be trained on."""

from __future__ import annotations

import json
import math
import shutil
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.importing.conftest import CONFIGS, FOLDER_FILES, SETTINGS
from tuner_tui.cli.import_ import import_
from tuner_tui.cli.train import train
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.spec_file import read_spec
from tuner_tui.importing.imported import Imported, import_settings


def flattened(value: Any, name: str = "") -> list[str]:
    """Names of all values, by a walk that shares nothing with the product's."""
    if isinstance(value, dict) and value:
        return [
            leaf
            for key, item in value.items()
            for leaf in flattened(item, f"{name}.{key}" if name else str(key))
        ]
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return [leaf for number, item in enumerate(value) for leaf in flattened(item, f"{name}[{number}]")]
    return [name]


def imported(place: Path, name: str, **how: Any) -> Imported:
    shutil.copy(CONFIGS / name, place)
    return import_settings(place / name, **how)


def run(*words: str) -> Result:
    return CliRunner().invoke(import_, words, catch_exceptions=False)


def why(result: Imported) -> dict[str, str]:
    return {entry.key: f"{entry.account}: {entry.reason}" for entry in result.entries}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_key_is_in_exactly_one_list(place: Path, name: str) -> None:
    found = Counter(entry.key for entry in imported(place, name).entries if entry.file == name)
    assert found == Counter(flattened(yaml.safe_load((CONFIGS / name).read_text().replace("\t", " "))))


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_written_passes_the_check_of_train(place: Path, name: str) -> None:
    shutil.copy(CONFIGS / name, place)
    outcome = run(str(place / name), "--out", "run.toml")
    assert outcome.exit_code == 0, outcome.output
    assert "Not on this machine" not in outcome.output
    checked = CliRunner().invoke(train, ["run.toml", "--check"])
    assert checked.exit_code == 0, (checked.output, checked.exception, Path("run.toml").read_text())


@pytest.mark.parametrize("name", SETTINGS)
def test_the_file_says_what_the_import_says(place: Path, name: str) -> None:
    result = imported(place, name)
    run(name, "--out", "run.toml")
    assert read_spec(place / "run.toml") == result.spec
    written = tomllib.loads((place / "run.toml").read_text())
    assert {f"{head}.{key}" for head, table in written.items() for key in table} == set(result.values)


def test_an_axolotl_file(place: Path) -> None:
    result = imported(place, "axolotl-lora.yml")
    spec, reasons = result.spec, why(result)
    assert (spec.training.batch_size, spec.training.micro_batch) == (8, 2)
    assert "micro-batch 2 x accumulation 4" in reasons["micro_batch_size"]
    assert spec.training.learning_rate == 1e-4  # YAML 1.1 reads 1e-4 as text
    assert (spec.tuning.rank, spec.tuning.alpha, spec.tuning.targets) == (8, 16, "all-linear")  # type: ignore[union-attr]
    assert spec.data.evaluation_share == 0.1
    # 24 rows less 3 held out are 3 steps an epoch: 6 in all, 3 of them warm-up
    assert math.ceil(spec.training.warmup * 6) == 3 and "3 of 6 steps" in reasons["warmup_steps"]
    assert reasons["special_tokens.eos_token"].startswith("not_taken")
    assert reasons["special_tokens.pad_token"].startswith("not_needed")
    assert spec.evaluation.every_steps == 1 and "2 times in an epoch of 3 steps" in reasons["evals_per_epoch"]
    assert reasons["fp16"] == "not_needed: off or empty"
    assert reasons["datasets[0].type"].startswith("converted: rows are rendered by the model's chat template")
    assert spec.training.optimizer == "adamw_8bit"


def test_axolotl_with_quantisation_and_columns(place: Path) -> None:
    result = imported(place, "axolotl-qlora-chat.yml")
    spec, reasons = result.spec, why(result)
    assert spec.model.precision == "nf4" and spec.data.template == "chatml"
    assert spec.data.train == str(place / "data" / "sharegpt.jsonl")
    assert spec.data.evaluation == str(place / "data" / "sharegpt_held.jsonl")
    assert spec.training.schedule == "cosine_with_min_lr"
    assert (spec.training.max_steps, spec.evaluation.every_steps, spec.checkpoints.every_steps) == (
        40,
        10,
        20,
    )
    assert spec.evaluation.early_stopping == 3 and spec.training.max_grad_norm == 0.3
    assert spec.tuning.rslora  # type: ignore[union-attr]
    assert reasons["datasets[0].message_property_mappings.role"].startswith("not_needed")
    assert reasons["optimizer"].startswith("converted")


def test_axolotl_preferences(place: Path) -> None:
    spec = imported(place, "axolotl-dpo.yml").spec
    assert spec.method.model_dump() | {"kind": "dpo", "loss": "ipo", "beta": 0.2} == spec.method.model_dump()
    assert spec.tuning.targets == ("q_proj", "v_proj")  # type: ignore[union-attr]
    assert spec.data.mapping[0] == "prompt = {question}"
    thumbs = imported(place, "axolotl-kto.yml").spec
    assert (thumbs.method.desirable_weight, thumbs.method.undesirable_weight) == (1.5, 0.5)  # type: ignore[union-attr]
    assert thumbs.data.mapping == ("prompt = Q: {ask}\\nA:", "completion = {reply}", "label = {good}")


def test_plain_text_has_loss_on_all_tokens(place: Path) -> None:
    for name, column in (("axolotl-full-completion.yml", "story"), ("llama-factory-full.json", "story")):
        spec = imported(place, name).spec
        assert (spec.data.shape, spec.method.loss_on, spec.tuning.kind) == ("text", "all", "full")  # type: ignore[union-attr]
        assert spec.data.mapping == (f"text = {{{column}}}",)


def test_llama_factory_defaults_and_mixture(place: Path) -> None:
    result = imported(place, "llama-factory-lora.yaml")
    spec, reasons = result.spec, why(result)
    defaults = {default.key: default for default in result.defaults}
    assert spec.tuning.alpha == 24 and "2 x rank" in defaults["tuning.alpha"].reason  # type: ignore[union-attr]
    assert spec.data.also == (f"{place / 'data' / 'poems.jsonl'} weight=0.25",)
    assert spec.training.schedule == "cosine" and spec.training.warmup == 0.1
    assert "data show" in reasons["template"]
    chats = imported(place, "llama-factory-qlora-chat.yaml")
    defaults = {default.key: default for default in chats.defaults}
    assert defaults["training.learning_rate"].value == 5e-5
    assert defaults["training.learning_rate"].reason == "default of LLaMA-Factory 0.9.5"
    assert chats.spec.training.schedule == "linear"
    assert math.ceil(chats.spec.training.warmup * 30) == 3
    assert why(chats)["mask_history"].startswith("not_taken")
    simpo = imported(place, "llama-factory-simpo.yaml")
    kept = {"kind": "cpo", "loss": "simpo", "beta": 2.5, "margin": 1.0, "sft_weight": 0.0}
    assert simpo.spec.method.model_dump() | kept == simpo.spec.method.model_dump()
    assert why(simpo)["lr_scheduler_type"].startswith("not_taken: there is no such schedule")
    full = imported(place, "llama-factory-full.json")
    assert full.spec.model.precision == "fp32"


def test_only_the_data_sets_that_are_used_are_accounted_for(place: Path) -> None:
    result = imported(place, "llama-factory-simpo.yaml")
    info = [entry.key for entry in result.entries if entry.file == "dataset_info.json"]
    assert sorted(info) == sorted(
        [
            "pairs.file_name",
            "pairs.ranking",
            *(f"pairs.columns.{part}" for part in ("prompt", "chosen", "rejected")),
        ]
    )
    assert result.spec.data.mapping == ("prompt = {ask}", "chosen = {better}", "rejected = {worse}")


def test_unsloth(place: Path) -> None:
    result = imported(place, "unsloth-lora.yaml")
    assert result.spec.training.seed == 3407 and result.spec.training.batch_size == 8
    assert {default.key for default in result.defaults} >= {"training.optimizer", "training.schedule"}
    raw = imported(place, "unsloth-raw-full.yaml").spec
    assert (raw.training.max_steps, raw.method.loss_on) == (20, "all")  # type: ignore[union-attr]
    assert math.ceil(raw.training.warmup * 20) == 5


def test_trl(place: Path) -> None:
    sft = imported(place, "trl-sft.yaml")
    assert any("trl sft" in note for note in sft.notes)
    assert sft.spec.method.model_dump() == {"kind": "sft", "loss_on": "answers", "packing": True}
    assert sft.spec.training.batch_size == 16 and sft.spec.tuning.dropout == 0.05  # type: ignore[union-attr]
    dpo = imported(place, "trl-dpo.yaml")
    assert dpo.spec.method.kind == "dpo" and dpo.spec.method.precompute_reference
    assert dpo.spec.data.also == (f"{place / 'data' / 'pairs_more.jsonl'} weight=0.5",)
    assert dpo.spec.training.warmup == 0.1 and dpo.spec.model.precision == "int8"
    assert dpo.spec.tuning.targets == ("q_proj", "v_proj")  # type: ignore[union-attr]
    reward = imported(place, "trl-reward.yaml")
    assert reward.spec.method.model_dump() == {"kind": "reward", "center_rewards": 0.05}
    assert reward.spec.training.learning_rate == 1e-4
    assert imported(place, "trl-sft.yaml", method="orpo").spec.method.kind == "orpo"


def test_a_folder_of_settings(place: Path) -> None:
    folder = place / "old"
    folder.mkdir()
    for name in FOLDER_FILES:
        shutil.copy(CONFIGS / name, folder)
    (folder / "training_args.bin").write_bytes(b"\x80\x04cposix\nsystem\n")
    result = import_settings(folder, data="data/instruction.jsonl")
    spec = result.spec
    assert (spec.tuning.rank, spec.tuning.alpha, spec.tuning.targets) == (24, 48, ("q_proj", "v_proj"))  # type: ignore[union-attr]
    assert (spec.training.epochs, spec.training.batch_size) == (2, 8)
    assert (spec.training.learning_rate, spec.training.schedule, spec.training.seed) == (3e-4, "constant", 11)
    assert spec.training.max_steps is None
    assert any("training_args.bin" in note and "pickle" in note for note in result.notes)
    for name in FOLDER_FILES:
        values = json.loads((CONFIGS / name).read_text())
        if "log_history" in values:
            values["log_history"] = "counts as one"
        keys = Counter(entry.key for entry in result.entries if entry.file == name)
        assert keys == Counter(flattened(values))
    assert "adam_beta2" in {entry.key for entry in result.entries if entry.account == "not_taken"}


def test_which_tokens_have_loss_in_trl(place: Path) -> None:
    """SFTTrainer: all tokens of conversations and texts, only the completion of prompt-completion rows."""
    (place / "data" / "completions.jsonl").write_text(
        "".join(json.dumps({"prompt": f"One and {n}?", "completion": f"{n + 1}."}) + "\n" for n in range(8))
    )
    for data, loss_on in (("chat", "all"), ("completions", "answers"), ("stories_text", "all")):
        (place / "run.yaml").write_text(
            f"model_name_or_path: models/tiny\ndataset_name: data/{data}.jsonl\nper_device_train_batch_size: 1\n"
        )
        result = import_settings(place / "run.yaml")
        assert result.spec.method.loss_on == loss_on  # type: ignore[union-attr]
        assert result.spec.tuning.kind == "full"
        assert result.spec.training.learning_rate == 2e-5


def test_settings_that_a_tool_saved_in_its_folder(place: Path) -> None:
    folder = place / "saved"
    folder.mkdir()
    shutil.copy(CONFIGS / "llama-factory-lora.yaml", folder / "training_args.yaml")
    shutil.copy(CONFIGS / "trainer_state.json", folder)
    result = import_settings(folder)
    assert "LLaMA-Factory 0.9.5" in result.tool and result.spec.training.max_length == 300
    assert result.spec.data.train == str(place / "data" / "instruction.jsonl")
    alone = imported(place, "adapter_config.json", data="rows.jsonl")
    assert alone.spec.tuning.rank == 24 and alone.tool == "PEFT 0.21.2"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["axolotl-lora.yml", "trl-sft.yaml", "llama-factory-lora.yaml"])
def test_code_of_a_repository_is_not_trusted_by_an_import(place: Path, name: str) -> None:
    shutil.copy(CONFIGS / name, place)
    text = (place / name).read_text().replace("trust_remote_code: false\n", "")
    (place / name).write_text(f"trust_remote_code: true\n{text}")
    result = import_settings(place / name)
    assert not result.spec.model.trust_remote_code
    assert why(result)["trust_remote_code"].startswith("not_taken: it runs Python code")


def test_what_no_key_says_is_noted(place: Path) -> None:
    assert any("left out there" in note for note in imported(place, "axolotl-lora.yml").notes)


def test_missing_model_and_data_are_listed(place: Path) -> None:
    (place / "away.yml").write_text(
        "base_model: someone/away\nadapter: lora\nlora_r: 8\nlora_alpha: 8\nlearning_rate: 1e-4\n"
        "datasets:\n  - path: someone/rows\n    name: plain\n    type: alpaca\n"
    )
    outcome = run("away.yml", "--out", "run.toml", "--json")
    assert outcome.exit_code == 0
    said = json.loads(outcome.stdout)
    assert [("someone/away" in line, "hub:someone/rows/plain" in line) for line in said["missing"]] == [
        (True, False),
        (False, True),
    ]
    assert read_spec(place / "run.toml").data.train == "hub:someone/rows/plain"


def test_the_lists_are_the_same_as_json(place: Path) -> None:
    result = imported(place, "axolotl-lora.yml")
    said = json.loads(run("axolotl-lora.yml", "--json").stdout)
    for account in ("taken", "converted", "not_needed", "not_taken"):
        expected = [entry.key for entry in result.entries if entry.account == account]
        assert [entry["key"] for entry in said[account]] == expected
    assert said["taken"][0] == {
        "file": "axolotl-lora.yml",
        "line": 2,
        "key": "base_model",
        "ours": {"model.source": str(place / "models" / "tiny")},
        "reason": "",
    }


def test_no_secret_is_shown_or_written(place: Path) -> None:
    for name, secret in (("unsloth-lora.yaml", "secret-not-real"), ("llama-factory-full.json", "hf_notreal")):
        shutil.copy(CONFIGS / name, place)
        outcome = run(name, "--force")
        assert secret not in outcome.output + (place / "run.toml").read_text()
        assert secret not in run(name, "--force", "--json").output


def test_a_file_that_exists_stays(place: Path) -> None:
    shutil.copy(CONFIGS / "trl-sft.yaml", place)
    (place / "run.toml").write_text("mine")
    outcome = CliRunner().invoke(import_, ["trl-sft.yaml"])
    assert "--force" in str(getattr(outcome.exception, "hint", ""))
    assert (place / "run.toml").read_text() == "mine"
    assert run("trl-sft.yaml", "--force").exit_code == 0
    assert RunSpec.model_validate(tomllib.loads((place / "run.toml").read_text()))
