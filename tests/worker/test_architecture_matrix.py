"""What is said of an architecture before a run is what two real training steps, saving, merging and reading back do."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from tests.tiny_architectures import save_tiny
from tests.worker.merging import merges_as_peft
from tests.worker.preferences import rows_for
from tuner_tui.cli.models import show
from tuner_tui.cli.train import train as train_command
from tuner_tui.config.spec_file import read_spec
from tuner_tui.models.facts import read_facts
from tuner_tui.models.source import find_source
from tuner_tui.planning.place import Place, workload_of
from tuner_tui.planning.refusals import refusal_of
from tuner_tui.planning.shape import FAMILIES, shape_of
from tuner_tui.planning.states import trained_numbers
from tuner_tui.planning.table import memory_table
from tuner_tui.runs.events import ChoicesMade, ModelLoaded, RunFailed, RunFinished

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

QUICK = ("gpt2", "mamba", "granitemoe", "gpt_oss", "mistral3", "qwen3_5")
OTHERS = (
    "afmoe", "apertus", "arcee", "bamba", "bloom", "cohere", "cohere2", "deepseek_v3", "ernie4_5", "ernie4_5_moe",
    "exaone4", "falcon", "falcon_h1", "falcon_mamba", "gemma", "gemma2", "gemma3", "gemma3_text", "glm", "glm4",
    "glm4_moe", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "granite", "granitemoehybrid", "granitemoeshared",
    "helium", "hunyuan_v1_dense", "idefics3", "internvl", "jamba", "jetmoe", "lfm2", "lfm2_moe", "lfm2_vl", "llama",
    "llava", "llava_next", "llava_onevision", "mamba2", "ministral3", "mistral", "mixtral", "mpt", "nemotron",
    "nemotron_h", "olmo", "olmo2", "olmoe", "opt", "paligemma", "phi", "phi3", "phimoe", "qwen2", "qwen2_5_vl",
    "qwen2_moe", "qwen2_vl", "qwen3", "qwen3_5_moe", "qwen3_moe", "qwen3_next", "qwen3_vl", "recurrent_gemma",
    "seed_oss", "smollm3", "smolvlm", "stablelm", "starcoder2",
    "aria", "bailing_hybrid", "exaone_moe", "flex_olmo", "glm_moe_dsa", "kimi_linear",
    "olmo_hybrid", "qwen3_vl_moe", "step3p7",
    "aria_text", "bart", "beam", "bert-generation", "biogpt", "bitnet", "codegen", "deepseek_v2", "deepseek_vl",
    "diffllama", "doge", "fuyu", "gemma3n_text", "gemma4", "gemma4_text", "glm4v", "glm4v_moe", "got_ocr2",
    "gpt_neox_japanese", "hunyuan_v1_moe", "idefics2", "kimi_k25", "lighton_ocr", "marian", "minimax_m2", "mistral4",
    "moshi", "nanochat", "olmo3", "openai-gpt", "persimmon", "phi4_multimodal", "qwen2_audio", "qwen3_5_text", "rwkv",
    "vaultgemma", "video_llava", "vipllava", "voxtral", "whisper", "xglm", "xlnet", "zamba2",
)  # fmt: skip
REFUSED = ("llama4", "mllama", "cohere2_vision", "idefics")
REFUSED_BEFORE_ALONE = ("bert", "xlm-roberta")
"""Their output layer has a part that TRL's fused loss leaves out, which random weights are too even to show."""
READ = {"mamba": "dt_proj", "gemma3n_text": "correction_coefs"}
"""Layers whose weights a model's code reads past their modules."""
STILL = {
    "doge": frozenset(("dt_proj",)),
    "gemma3n_text": frozenset(("per_layer_input_gate", "per_layer_model_projection", "per_layer_projection")),
}
"""Layers that a fresh model multiplies by parameters that begin with zeros; a trained one does not."""
BUFFERS = 300
"""Numbers in the files that are no parameters, such as biases that routers count with."""


@pytest.fixture
def make_model(tmp_path: Path, tiny_model: Path) -> Callable[..., Path]:
    return lambda kind, **own: save_tiny(kind, tmp_path / kind, tiny_model, **own)


def checked(tmp_path: Path, folder: Path, precision: str = "fp32", **tuning: Any) -> str:
    """What `train --check` says: its refusal, or nothing."""
    rows = tmp_path / "checked.jsonl"
    rows.write_text(json.dumps({"question": "a", "answer": "b"}) + "\n")
    options = "".join(f"{name} = {json.dumps(value)}\n" for name, value in tuning.items())
    (tmp_path / "run.toml").write_text(
        f'[model]\nsource = "{folder}"\nprecision = "{precision}"\n[data]\ntrain = "{rows}"\n'
        f'[tuning]\nkind = "lora"\n{options}'
    )
    outcome = CliRunner().invoke(train_command, [str(tmp_path / "run.toml"), "--check"])
    if outcome.exit_code == 0:
        return ""
    return f"{outcome.exception and vars(outcome.exception)}"


def shown(folder: Path) -> dict[str, Any]:
    outcome = CliRunner().invoke(show, [str(folder), "--json"])
    assert outcome.exit_code == 0, outcome.output
    found: dict[str, Any] = json.loads(outcome.output)
    return found


def agrees(kind: str, folder: Path, train: Callable[..., Run], tmp_path: Path) -> None:
    """All that is said of one model, against a run."""
    assert checked(tmp_path, folder) == ""
    run = train(
        model={"source": str(folder), "precision": "fp32"}, training={"max_steps": 2, "batch_size": 2}
    )
    assert run.last(RunFinished).step == 2
    assert all(loss is not None for loss in run.losses)

    spec, loaded = read_spec(run.folder.spec), run.last(ModelLoaded)
    facts = read_facts(find_source(str(folder)))
    said = shown(folder)
    assert said["training_problem"] is None
    in_base = loaded.parameters - loaded.trainable_parameters
    assert in_base <= said["facts"]["parameters"] <= in_base + BUFFERS
    table = memory_table(spec, facts, Place(True, "GPU", 8 * 10**9, 8 * 10**9))
    assert table.rows, table.note
    shape = shape_of(facts)
    assert shape is not None
    is_verified = (facts.model_type in FAMILIES or facts.text_type in FAMILIES) and not shape.doubt
    assert {row.estimate.is_known for row in table.rows} == {is_verified}
    counted = trained_numbers(shape, workload_of(spec, Place()))
    assert counted == loaded.trainable_parameters
    tensors = load_file(run.folder.adapter / "adapter_model.safetensors")
    assert counted == sum(tensor.numel() for tensor in tensors.values())
    require_all_moved(tensors, STILL.get(kind, frozenset()))

    merges_as_peft(folder, run.folder.adapter, tmp_path / "merged")


def require_all_moved(tensors: dict[str, Any], still: frozenset[str]) -> None:
    """Adapters of every kind of layer have learned something, in one of the layers at least: B begins with zeros."""
    moved: dict[str, bool] = {}
    for name, tensor in tensors.items():
        if "lora_B" in name:
            module = name.partition(".lora_")[0].rpartition(".")[2]
            moved[module] = moved.get(module, False) or bool(tensor.any())
    assert {name for name, has_moved in moved.items() if not has_moved} == still
    assert len(moved) > len(still)


@pytest.mark.parametrize("kind", QUICK)
def test_what_is_said_is_what_training_does(
    train: Callable[..., Run], make_model: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    agrees(kind, make_model(kind), train, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_said_of_many_is_what_training_does(
    train: Callable[..., Run], make_model: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    agrees(kind, make_model(kind), train, tmp_path)


@pytest.mark.parametrize("kind", REFUSED_BEFORE_ALONE)
def test_a_loss_that_is_not_the_models_is_refused_before(
    make_model: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    folder = make_model(kind)
    assert f"TRL's trainers do not give the loss of {kind} on text" in checked(tmp_path, folder)
    assert shown(folder)["training_problem"]


def refuses(folder: Path, train: Callable[..., Run], tmp_path: Path) -> None:
    problem = checked(tmp_path, folder)
    assert problem and shown(folder)["training_problem"]
    run = train(
        model={"source": str(folder), "precision": "fp32"}, training={"max_steps": 2, "batch_size": 2}
    )
    assert run.last(RunFailed)
    table = memory_table(read_spec(run.folder.spec), read_facts(find_source(str(folder))), Place())
    assert not table.rows and table.note


def test_what_cannot_be_trained_is_refused_before(
    train: Callable[..., Run], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    refuses(make_model("cohere2_vision"), train, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
def test_what_of_many_cannot_be_trained_is_refused_before(
    train: Callable[..., Run], make_model: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    refuses(make_model(kind), train, tmp_path)


@pytest.mark.parametrize(
    ("kind", "tuning", "words"),
    [
        ("mamba", {"targets": ["in_proj", "out_proj"]}, "does not adapt out_proj of mamba"),
        ("mamba", {"targets": ["in_proj", "dt_proj"]}, "does not adapt dt_proj of mamba"),
        ("jamba", {"targets": ["dt_proj"]}, "does not adapt dt_proj of jamba"),
        ("mamba", {"targets": "attention"}, "attention layers are unknown"),
        ("mamba", {"targets": ["in_proj", "x_proj"]}, ""),
        ("gpt2", {"targets": ["q_proj"]}, "names q_proj, which the model does not have"),
        ("gpt2", {"targets": "attention"}, ""),
    ],
)
def test_targets_are_refused_where_the_worker_refuses_them(
    train: Callable[..., Run], make_model: Callable[..., Path], tmp_path: Path, kind: str, tuning: dict[str, Any],
    words: str,
) -> None:  # fmt: skip
    folder = make_model(kind)
    problem = checked(tmp_path, folder, **tuning)
    assert words in problem and bool(words) is bool(problem)
    run = train(
        model={"source": str(folder), "precision": "fp32"},
        tuning={"kind": "lora", **tuning},
        training={"max_steps": 1, "batch_size": 2},
    )
    assert run.last(RunFailed if words else RunFinished)


@pytest.mark.parametrize("precision", ["nf4", "int8"])
@pytest.mark.parametrize("kind", READ)
def test_a_model_that_reads_its_own_weights_is_not_quantised(
    train: Callable[..., Run], make_model: Callable[..., Path], tmp_path: Path, kind: str, precision: str
) -> None:
    folder = make_model(kind)
    facts = read_facts(find_source(str(folder)))
    problem = checked(tmp_path, folder, precision)
    run = train(
        model={"source": str(folder), "precision": precision}, training={"max_steps": 1, "batch_size": 2}
    )
    table = memory_table(read_spec(run.folder.spec), facts, Place(True, "GPU", 8 * 10**9, 8 * 10**9))
    assert f"its code reads the weights of {READ[kind]} itself" in problem and not table.rows
    assert run.last(RunFailed)
    assert checked(tmp_path, folder, "auto") == ""
    spec = read_spec(tmp_path / "run.toml")
    small = memory_table(spec, facts, Place(True, "GPU", 10**6, 10**6))
    assert {row.loaded_as for row in small.rows} == {"fp32", "bf16"} and small.chosen == "bf16"
    stored = refusal_of(spec, dataclasses.replace(facts, quantisation="bitsandbytes"))
    assert stored is not None and stored.hint == "Use the unquantised model."


@pytest.mark.parametrize("precision", ["nf4", "int8"])
@pytest.mark.parametrize("kind", ["falcon_mamba", "jamba"])
def test_a_model_that_asks_whether_it_is_quantised_is_trained(
    train: Callable[..., Run], make_model: Callable[..., Path], tmp_path: Path, kind: str, precision: str
) -> None:
    folder = make_model(kind)
    assert checked(tmp_path, folder, precision) == ""
    run = train(
        model={"source": str(folder), "precision": precision}, training={"max_steps": 1, "batch_size": 2}
    )
    assert run.last(RunFinished) and run.last(ModelLoaded).precision == precision


@pytest.mark.parametrize("kind", ["opt", "gpt_bigcode"])
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_dropout_in_a_models_own_code_is_off_where_a_reference_has_none(
    train: Callable[..., Run], make_model: Callable[..., Path], kind: str, method: str
) -> None:
    run = train(
        rows_for(method),
        model={"source": str(make_model(kind)), "precision": "fp32"},
        method={"kind": method},
        training={"max_steps": 1, "batch_size": 4},
    )
    assert run.last(RunFinished)
    assert run.losses[0] == pytest.approx({"dpo": math.log(2), "kto": 0.5}[method], abs=1e-4)


def test_a_router_loss_that_cannot_be_computed_is_off_and_said(
    train: Callable[..., Run], make_model: Callable[..., Path]
) -> None:
    def router(kind: str) -> list[str]:
        run = train(
            model={"source": str(make_model(kind)), "precision": "fp32"},
            training={"max_steps": 1, "batch_size": 2},
        )
        assert run.last(RunFinished)
        choices = [choice for event in run.all(ChoicesMade) for choice in event.choices]
        return [choice.value for choice in choices if choice.name == "router loss"]

    assert router("granitemoe") == ["off"]
    assert router("mixtral") == []


def test_a_pad_token_beyond_the_embedding_is_refused(
    train: Callable[..., Run], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_model("llama")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    pad = {
        "id": 259,
        "content": "[PAD]",
        "special": True,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
    }
    tokenizer["added_tokens"].append(pad | {"normalized": False})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "[PAD]"}))
    problem = checked(tmp_path, folder)
    assert "the pad token [PAD] has the ID 259, and the model's embedding has 259 rows" in problem
    run = train(
        model={"source": str(folder), "precision": "fp32"}, training={"max_steps": 1, "batch_size": 2}
    )
    failed = run.last(RunFailed)
    assert (
        failed.title == "The tokenizer has tokens that the model does not have" and "[PAD]" in failed.message
    )


def test_a_tower_that_is_not_loaded_is_not_counted(make_model: Callable[..., Path]) -> None:
    folder = make_model("qwen3_5")
    stored = load_file(folder / "model.safetensors")
    tower = sum(tensor.numel() for name, tensor in stored.items() if "visual" in name)
    facts = read_facts(find_source(str(folder)))
    assert tower > 0 and facts.parameters == sum(tensor.numel() for tensor in stored.values()) - tower
    assert facts.weights is not None and facts.weights.tower == 0


def test_a_type_that_nobody_knows_needs_its_own_code(make_model: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_model("llama")
    config = json.loads((folder / "config.json").read_text())
    for own, words in (
        ({"model_type": "brand_new"}, "has no language model of the type brand_new"),
        ({"model_type": "clip"}, "has no language model of the type clip"),
        (
            {"model_type": "brand_new", "auto_map": {"AutoModelForCausalLM": "modeling.New"}},
            "its repository has Python code for it",
        ),
    ):
        (folder / "config.json").write_text(json.dumps(config | own))
        assert words in checked(tmp_path, folder)
        refusal = refusal_of(read_spec(tmp_path / "run.toml"), read_facts(find_source(str(folder))))
        assert refusal is not None
