"""A merge is PEFT's, weight by weight, whatever the base's files call its weights and however they store them."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import gguf
import pytest
import torch
from click.testing import CliRunner
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tests.tiny_architectures import save_tiny, skeleton, tiny_config
from tests.worker.merging import add_adapter, load, merges_as_peft, tensors_of
from tests.worker.test_unpacked import write_fp8, write_mxfp4
from tuner_tui.cli.train import train as train_command
from tuner_tui.errors import InputError
from tuner_tui.models.architectures import table
from tuner_tui.runs.events import RunFailed
from tuner_tui.worker.export.base_weights import BaseWeights
from tuner_tui.worker.export.gguf_write import write_gguf_adapter, write_gguf_model
from tuner_tui.worker.export.merge import MergedWeights, write_merged
from tuner_tui.worker.export.updates import read_updates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

QUICK = ("llama", "gpt2", "gpt_neox", "phi", "qwen3_5", "qwen2_5_vl", "olmo_hybrid", "hrm_text")
"""As they are, transposed, with fused projections, under other names, split and joined when they are loaded."""
WITHOUT_WEIGHTS = ("shieldgemma2",)
"""transformers does not find the weights again that it saves of a tiny one, so it cannot be loaded."""
OTHERS = tuple(
    kind
    for kind, known in table().types.items()
    if known.loader
    and known.reads_text
    and known.linear
    and not known.lost
    and kind not in (*QUICK, *WITHOUT_WEIGHTS)
)
LARGEST_MADE = 30_000_000
"""Parameters of the largest model that is made with weights."""


@pytest.fixture
def make_base(tmp_path: Path, tiny_model: Path) -> Callable[..., Path]:
    return lambda kind, **own: save_tiny(kind, tmp_path / kind, tiny_model, **own)


@pytest.mark.parametrize("kind", QUICK)
def test_the_merge_is_pefts(make_base: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    base = make_base(kind)
    changed = merges_as_peft(base, add_adapter(base, tmp_path / "adapter"), tmp_path / "merged")
    assert changed
    assert not [name for name in changed if re.search(r"vision|visual|projector|resampler", name)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_the_merge_is_pefts_for_every_type(make_base: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    if skeleton(kind).num_parameters() > LARGEST_MADE:
        pytest.skip("no tiny model can be made of it")
    base = make_base(kind)
    adapter = add_adapter(base, tmp_path / "adapter")
    assert merges_as_peft(base, adapter, tmp_path / "merged", with_logits=False)


@pytest.mark.parametrize("kind", ["laguna"])
def test_adapters_that_peft_loses_are_refused_before(
    make_base: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    base = make_base(kind)
    adapter = add_adapter(base, tmp_path / "adapter")
    read: Any = PeftModel.from_pretrained(load(base), str(adapter))
    lost = {
        name
        for name, tensor in load_file(adapter / "adapter_model.safetensors").items()
        if not torch.equal(read.state_dict()[re.sub(r"(lora_[AB])", r"\1.default", name)], tensor)
    }
    assert {".".join(name.split(".lora_")[0].split(".")[-2:]) for name in lost} == set(
        table().types[kind].lost
    )
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"question": "a", "answer": "b"}) + "\n")
    for targets, is_refused in (("all-linear", True), ("attention", False)):
        (tmp_path / "run.toml").write_text(
            f'[model]\nsource = "{base}"\n[data]\ntrain = "{rows}"\n[tuning]\nkind = "lora"\ntargets = "{targets}"\n'
        )
        outcome = CliRunner().invoke(train_command, [str(tmp_path / "run.toml"), "--check"])
        message = f"{outcome.output} {outcome.exception and vars(outcome.exception)}"
        assert ("when it reads them back" in message) is is_refused, message
        assert bool(outcome.exit_code) is is_refused


@pytest.mark.parametrize("kind", ["gemma3", "llava", "mistral3"])
def test_the_files_have_the_names_of_published_ones(
    make_base: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    base = make_base(kind)
    merges_as_peft(base, add_adapter(base, tmp_path / "adapter"), tmp_path / "merged")
    names = set(tensors_of(tmp_path / "merged"))
    assert "language_model.model.layers.0.self_attn.q_proj.weight" in names
    assert any(name.startswith("vision_tower.") for name in names)


def test_tied_embeddings_stay_tied(make_base: Callable[..., Path], tmp_path: Path) -> None:
    base = make_base("llama", tie_word_embeddings=True)
    merges_as_peft(base, add_adapter(base, tmp_path / "adapter"), tmp_path / "merged")
    assert "lm_head.weight" not in tensors_of(tmp_path / "merged")


def test_an_output_layer_of_its_own_is_merged(make_base: Callable[..., Path], tmp_path: Path) -> None:
    base = make_base("llama", tie_word_embeddings=False)
    adapter = add_adapter(base, tmp_path / "adapter", target_modules=["lm_head", "q_proj"])
    assert "base_model.model.lm_head.base_layer.weight" in load_file(adapter / "adapter_model.safetensors")
    assert "lm_head.weight" in merges_as_peft(base, adapter, tmp_path / "merged")


def rename_files(base: Path, rename: Callable[[str], str]) -> None:
    renamed = {rename(name): tensor for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(renamed, base / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("kind", "rename"),
    [
        ("gpt2", lambda name: name.removeprefix("transformer.")),  # as gpt2 is published
        ("llama", lambda name: name.removeprefix("model.")),  # saved from the model without its head
        ("gemma3", lambda name: re.sub(r"^language_model\.model\.", "model.language_model.", name)),
        ("qwen3_5", lambda name: name.replace("model.language_model.", "model.")),
    ],
    ids=["gpt2", "llama", "gemma3", "qwen3_5"],
)
def test_files_of_older_and_newer_names_are_merged_under_these(
    make_base: Callable[..., Path], tmp_path: Path, kind: str, rename: Callable[[str], str]
) -> None:
    base = make_base(kind)
    before = set(tensors_of(base))
    rename_files(base, rename)
    assert set(tensors_of(base)) != before
    merges_as_peft(base, add_adapter(base, tmp_path / "adapter"), tmp_path / "merged")


def test_an_adapter_with_names_of_an_older_transformers_is_merged(
    make_base: Callable[..., Path], tmp_path: Path
) -> None:
    base = make_base("gemma3")
    adapter = add_adapter(base, tmp_path / "adapter")
    file = adapter / "adapter_model.safetensors"
    older = {
        name.replace(".model.model.language_model.", ".model.language_model.model."): tensor
        for name, tensor in load_file(file).items()
    }
    assert older.keys() != load_file(file).keys()
    save_file(older, file)
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["target_modules"] = (
        r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    )
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert len(merges_as_peft(base, adapter, tmp_path / "merged")) == 14


def test_an_adapter_of_single_experts_is_merged(make_base: Callable[..., Path], tmp_path: Path) -> None:
    """As transformers 4 had them, each expert with layers of its own."""
    base = make_base("mixtral")
    config = AutoConfig.from_pretrained(base)
    tensors = {}
    for layer in range(config.num_hidden_layers):
        for expert in range(config.num_local_experts):
            for name in ("w1", "w2", "w3"):
                place = f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{name}"
                rows, columns = tensors_of(base)[f"{place}.weight"].shape
                tensors[f"base_model.model.{place}.lora_A.weight"] = torch.randn(2, columns)
                tensors[f"base_model.model.{place}.lora_B.weight"] = torch.randn(rows, 2) * 0.3
    adapter = add_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    save_file(tensors, adapter / "adapter_model.safetensors")
    written = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(
        json.dumps(written | {"target_modules": ["w1", "w2", "w3"], "rank_pattern": {}, "alpha_pattern": {}})
    )
    changed = merges_as_peft(base, adapter, tmp_path / "merged")
    assert len(changed) == 3 * config.num_local_experts * config.num_hidden_layers


def test_experts_stored_by_inputs_are_merged(make_base: Callable[..., Path], tmp_path: Path) -> None:
    """gpt-oss has (experts, inputs, outputs)."""
    base = make_base("gpt_oss")
    adapter = add_adapter(
        base, tmp_path / "adapter", target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    )
    changed = merges_as_peft(base, adapter, tmp_path / "merged")
    assert {name.rpartition(".")[2] for name in changed} >= {"gate_up_proj", "down_proj"}


def test_transposed_experts_go_back_as_they_were(make_base: Callable[..., Path], tmp_path: Path) -> None:
    """Qwen3-VL's published experts are transposed on loading, and not by `save_pretrained`."""
    text = tiny_config("qwen3_vl_moe").text_config.to_dict()
    base = make_base("qwen3_vl_moe", text_config=text | {"moe_intermediate_size": 24})
    stored = {
        name: tensor.transpose(1, 2).contiguous() if ".experts." in name else tensor
        for name, tensor in load_file(base / "model.safetensors").items()
    }
    experts = {name for name in stored if ".experts." in name}
    assert experts and all(stored[name].shape[1] != stored[name].shape[2] for name in experts)
    save_file(stored, base / "model.safetensors", metadata={"format": "pt"})
    adapter = add_adapter(
        base, tmp_path / "adapter", target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    )
    assert merges_as_peft(base, adapter, tmp_path / "merged") >= experts


@pytest.mark.parametrize("write", [write_mxfp4, write_fp8])
def test_packed_files_are_merged_unpacked(tmp_path: Path, write: Any) -> None:
    base = tmp_path / "base"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = write(base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    adapter = add_adapter(base, tmp_path / "adapter")
    merges_as_peft(base, adapter, tmp_path / "merged", tolerance=2e-2)  # written in bf16
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    assert not [name for name in tensors_of(tmp_path / "merged") if "scale" in name or "blocks" in name]
    AutoModelForCausalLM.from_pretrained(tmp_path / "merged")


@pytest.mark.parametrize("kind", ["qwen3_5", "gemma3", "mixtral", "gpt_oss"])
def test_a_full_tuning_is_read_back(
    train: Callable[..., Run], make_base: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    run = train(
        full=True,
        model={"source": str(make_base(kind)), "precision": "fp32"},
        training={"max_steps": 1, "batch_size": 2},
    )
    result = run.folder.adapter
    (tmp_path / "merged").mkdir()
    write_merged(MergedWeights(BaseWeights(result)), tmp_path / "merged", lambda *_: None)
    wanted, found = load(result).state_dict(), load(tmp_path / "merged").state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found)
    assert set(tensors_of(result)) <= set(tensors_of(tmp_path / kind))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (
            "llama",
            lambda base: rename_files(
                base, lambda name: name.replace("layers.1.mlp.up_proj", "layers.1.old")
            ),
        ),
        ("shieldgemma2", lambda base: None),  # transformers does not find its language model's weights again
    ],
    ids=["llama", "shieldgemma2"],
)
def test_weights_that_are_not_in_the_files_are_not_random(
    train: Callable[..., Run], make_base: Callable[..., Path], kind: str, change: Callable[[Path], None]
) -> None:
    base = make_base(kind)
    change(base)
    run = train(model={"source": str(base), "precision": "fp32"}, training={"max_steps": 1, "batch_size": 2})
    failed = run.last(RunFailed)
    assert failed.title == "The model's files lack weights" and ".weight" in failed.message


def refused(base: Path, adapter: Path) -> str:
    weights = BaseWeights(base)
    with pytest.raises(InputError) as refusal:
        MergedWeights(weights, read_updates(adapter, weights.skeleton))
    return f"{refusal.value.title}: {refusal.value.message}"


def test_a_refusal_tells_the_true_reason(make_base: Callable[..., Path], tmp_path: Path) -> None:
    base, wide = make_base("llama", tie_word_embeddings=True), tmp_path / "wide"
    head = add_adapter(base, tmp_path / "head", target_modules=["lm_head"])
    assert "embeddings are tied" in refused(base, head)
    shutil.copytree(base, wide)
    (wide / "model.safetensors").unlink()
    config = json.loads((base / "config.json").read_text())
    LlamaConfig(**config | {"hidden_size": 64, "num_attention_heads": 8}).save_pretrained(wide)
    LlamaForCausalLM(LlamaConfig.from_pretrained(wide)).save_pretrained(wide)
    other = add_adapter(base, tmp_path / "other")
    assert "does not fit this base" in refused(wide, other) and "down_proj" in refused(wide, other)
    assert "does not fit this base: GPT2LMHeadModel" in refused(make_base("gpt2"), other)


def test_a_gguf_is_named_by_what_the_model_calls_its_weights(
    make_base: Callable[..., Path], tmp_path: Path
) -> None:
    base = make_base("llama")
    adapter = add_adapter(base, tmp_path / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(base)

    def written(name: str) -> dict[str, Any]:
        weights = BaseWeights(base)
        merged = MergedWeights(weights, read_updates(adapter, weights.skeleton))
        write_gguf_model(merged, tokenizer, base, tmp_path / name, "f32", None, lambda *_: None)
        return {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / name).tensors}

    usual = written("usual.gguf")
    rename_files(base, lambda name: name.removeprefix("model."))
    other = written("other.gguf")
    assert usual.keys() == other.keys()
    assert all((usual[name] == other[name]).all() for name in usual)


@pytest.mark.parametrize("kind", ["gemma3", "qwen3_5", "mixtral"])
def test_a_gguf_that_cannot_be_written_is_refused_by_name(
    make_base: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    base = make_base(kind)
    weights = BaseWeights(base)
    merged = MergedWeights(weights, read_updates(add_adapter(base, tmp_path / "adapter"), weights.skeleton))
    tokenizer = AutoTokenizer.from_pretrained(base)
    with pytest.raises(InputError, match="cannot be exported as GGUF") as refusal:
        write_gguf_model(merged, tokenizer, base, tmp_path / "model.gguf", "f32", None, lambda *_: None)
    assert kind in refusal.value.message
    with pytest.raises(InputError, match="cannot be exported as GGUF"):
        write_gguf_adapter(merged.updates, weights.config, tmp_path / "adapter.gguf", "f32", None)
    assert not [*tmp_path.glob("*.gguf")]
