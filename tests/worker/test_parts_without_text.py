"""Vision towers and other parts that text never reaches get no adapters, whatever the targets, unless named in full."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma4Config,
    LlamaConfig,
    LlamaForCausalLM,
    MllamaConfig,
    MllamaForConditionalGeneration,
    Phi4MultimodalConfig,
    Phi4MultimodalForCausalLM,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
)

from tests.worker.merging import merges_as_peft
from tuner_tui.config.spec_file import read_spec
from tuner_tui.models.source import find_source
from tuner_tui.planning.choices import ADAPTED_PART
from tuner_tui.planning.this_machine import facts_of
from tuner_tui.planning.tunings import memory_of, tuning_fields
from tuner_tui.planning.workload import Workload
from tuner_tui.runs.events import ChoicesMade, ModelLoaded, RunFailed, RunFinished
from tuner_tui.worker.model.reached import parts_without_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

from_config: Any = AutoModelForCausalLM.from_config  # it has no types
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 259,
    "max_position_embeddings": 512,
    "sliding_window": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 2,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
}
MARKS: dict[str, Any] = {"boi_token_index": 10, "eoi_token_index": 11, "image_token_index": 12}


def gemma3() -> Any:
    config = Gemma3Config(text_config=TEXT, vision_config=VISION, mm_tokens_per_image=4, **MARKS)
    return from_config(config)


def gemma4() -> Any:
    text = TEXT | {"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0}
    vision = VISION | {"num_key_value_heads": 4, "head_dim": 8, "use_clipped_linears": True}
    marks: dict[str, Any] = {"boi_token_id": 10, "eoi_token_id": 11, "image_token_id": 12}
    return from_config(Gemma4Config(text_config=text, vision_config=vision, audio_config=None, **marks))


def llama_vision() -> Any:
    text = TEXT | {
        "num_hidden_layers": 4,
        "bos_token_id": 1,
        "cross_attention_layers": [1, 3],
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    }
    vision = VISION | {"num_global_layers": 1, "attention_heads": 4, "vision_output_dim": 64}
    vision |= {"intermediate_layers_indices": [0]}
    return MllamaForConditionalGeneration(MllamaConfig(text_config=text, vision_config=vision))


def qwen35() -> Any:
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 32}
    return Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=TEXT, vision_config=vision))


def phi4() -> Any:
    text = {name: value for name, value in TEXT.items() if name not in ("sliding_window", "head_dim")}
    audio = {"hidden_size": 32, "intermediate_size": 32, "num_blocks": 2, "num_attention_heads": 4}
    vision = VISION | {"crop_size": 56}
    return Phi4MultimodalForCausalLM(Phi4MultimodalConfig(**text, vision_config=vision, audio_config=audio))


def llama() -> Any:
    return LlamaForCausalLM(
        LlamaConfig(**{name: value for name, value in TEXT.items() if name != "sliding_window"})
    )


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (gemma3, {"model.vision_tower"}),
        (gemma4, {"model.vision_tower", "model.embed_vision"}),
        (qwen35, {"model.visual"}),
        (
            llama_vision,
            {
                "model.vision_model",
                "model.multi_modal_projector",
                "model.language_model.layers.1",
                "model.language_model.layers.3",
            },
        ),
        (phi4, {"model.embed_tokens_extend"}),
        (llama, set()),
    ],
)
def test_parts_are_found_by_running_text(make: Callable[[], Any], parts: set[str]) -> None:
    assert set(parts_without_text(make())) == parts


def test_a_model_that_wants_more_than_tokens_is_judged_by_its_structure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = gemma3()
    monkeypatch.setattr(model, "forward", lambda **_: 1 / 0)
    assert set(parts_without_text(model)) == {"model.vision_tower", "model.multi_modal_projector"}


@pytest.fixture
def make_model(tmp_path: Path, tiny_model: Path) -> Callable[[Callable[[], Any]], Path]:
    """Save a model with the tiny model's tokenizer."""

    def make(build: Callable[[], Any]) -> Path:
        folder = tmp_path / build.__name__
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            build().save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(tiny_model / name, folder)
        return folder

    return make


def adapted(run: Run) -> dict[str, torch.Tensor]:
    """The adapter's tensors, by what they are beside."""
    tensors = load_file(run.folder.adapter / "adapter_model.safetensors")
    return {name.removeprefix("base_model.model."): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("build", "tuning", "modules"),
    [
        (gemma3, {"targets": "all-linear"}, 14),
        (gemma3, {"targets": "attention"}, 8),
        (gemma3, {"targets": ["q_proj", "v_proj"]}, 4),
        (gemma3, {"kind": "ia3"}, 6),
        (gemma4, {"targets": "all-linear"}, 14),
        (gemma4, {"targets": ["q_proj"]}, 2),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_every_adapter_learns(
    train: Callable[..., Run], make_model: Any, build: Any, tuning: dict[str, Any], modules: int
) -> None:
    run = train(
        model={"source": str(make_model(build)), "precision": "fp32"},
        tuning={"kind": "lora", **tuning},
        training={"max_steps": 2},
    )
    assert run.last(RunFinished).step == 2
    tensors = adapted(run)
    assert all(name.startswith("model.language_model.layers.") for name in tensors)
    assert len({name.rpartition(".lora_")[0] or name for name in tensors}) == modules
    begun = 1.0 if tuning.get("kind") == "ia3" else 0.0
    learnt = [tensor for name, tensor in tensors.items() if "lora_A" not in name]
    assert all((tensor != begun).any() for tensor in learnt)
    assert run.last(ModelLoaded).trainable_parameters == sum(tensor.numel() for tensor in tensors.values())
    spec = read_spec(run.folder.spec)
    facts = facts_of(find_source(spec.model.source))
    assert facts is not None and facts.weights is not None
    shape = SimpleNamespace(weights=facts.weights)
    load = Workload(tuning=spec.tuning.kind, **tuning_fields(spec.tuning))
    counted = memory_of(spec.tuning.kind).parameters(shape, load)  # type: ignore[arg-type]
    assert counted == run.last(ModelLoaded).trainable_parameters
    choices = {choice.name: choice for event in run.all(ChoicesMade) for choice in event.choices}
    assert "vision_tower" in choices[ADAPTED_PART].reason


@pytest.mark.parametrize("build", [gemma3, gemma4])
def test_a_module_named_in_full_is_adapted(train: Callable[..., Run], make_model: Any, build: Any) -> None:
    folder = make_model(build)
    model = AutoModelForCausalLM.from_pretrained(folder)
    full = next(
        name for name, _ in model.named_modules() if "vision" in name and name.endswith("0.self_attn.q_proj")
    )
    run = train(
        model={"source": str(folder), "precision": "fp32"},
        tuning={"kind": "lora", "targets": [full, "v_proj"]},
        training={"max_steps": 1},
    )
    assert run.last(RunFinished).step == 1
    modules = {name.rpartition(".lora_")[0] for name in adapted(run)}
    inner = full if build is gemma3 else f"{full}.linear"  # within the layer that clips
    assert modules == {inner, *(f"model.language_model.layers.{n}.self_attn.v_proj" for n in range(2))}


def test_targets_that_only_the_tower_has_are_refused(train: Callable[..., Run], make_model: Any) -> None:
    run = train(
        model={"source": str(make_model(gemma3)), "precision": "fp32"},
        tuning={"kind": "lora", "targets": ["fc1"]},
    )
    failed = run.last(RunFailed)
    assert failed.title == "Text never reaches the targets"
    assert "vision_tower" in failed.message


@pytest.mark.parametrize("build", [gemma3, gemma4])
def test_the_merge_is_pefts(train: Callable[..., Run], make_model: Any, build: Any, tmp_path: Path) -> None:
    folder = make_model(build)
    run = train(model={"source": str(folder), "precision": "fp32"}, training={"max_steps": 2})
    merges_as_peft(folder, run.folder.adapter, tmp_path / "merged")
