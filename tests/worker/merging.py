"""A merge of a random adapter, held against PEFT's own: weight by weight, in logits, and in the names of the files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel, get_peft_model
from safetensors import safe_open
from transformers import AutoConfig

from tuner_tui.config.tunings.lora import LoraTuning
from tuner_tui.models.model_folder import weight_files
from tuner_tui.worker.export.base_weights import BaseWeights
from tuner_tui.worker.export.merge import MergedWeights, write_merged
from tuner_tui.worker.export.updates import read_updates
from tuner_tui.worker.model.classes import language_model_class
from tuner_tui.worker.model.loading import unpacking_config
from tuner_tui.worker.model.reached import text_probe
from tuner_tui.worker.tunings.lora import peft_config

if TYPE_CHECKING:
    from pathlib import Path


def load(folder: Path) -> Any:
    """A model as a run loads it, in fp32."""
    config = AutoConfig.from_pretrained(folder)
    unpacking = unpacking_config(config)
    options = {} if unpacking is None else {"quantization_config": unpacking}
    model = language_model_class(config).from_pretrained(folder, dtype=torch.float32, **options)
    return model.float().eval()  # unpacked weights are bf16


def add_adapter(base: Path, out: Path, **options: Any) -> Path:
    """Save a random LoRA adapter on the layers that a run adapts, unless `options` of PEFT's name others."""
    model = load(base)
    config = peft_config(LoraTuning(rank=2, alpha=6.0), model, {"task_type": "CAUSAL_LM"})
    if "target_parameters" in options:
        config.target_modules = None
    for name, value in options.items():
        setattr(config, name, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        tuned: Any = get_peft_model(model, config)
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    tuned.save_pretrained(out)
    return out


def merge(base: Path, adapter: Path, out: Path) -> MergedWeights:
    """Our merge, written to a folder."""
    out.mkdir()
    weights = BaseWeights(base)
    merged = MergedWeights(weights, read_updates(adapter, weights.skeleton))
    write_merged(merged, out, lambda *_: None)
    return merged


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder's files."""
    tensors: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        with safe_open(file, "pt") as content:
            tensors |= {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    return tensors


def require_same_logits(ours: Any, theirs: Any, tolerance: float) -> None:
    """The logits of two models on a few tokens of text are the same."""
    ids = text_probe(ours)
    with torch.no_grad():
        logits = [
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
            for model in (ours, theirs)
        ]
    torch.testing.assert_close(*logits, rtol=1e-3, atol=max(1e-3, tolerance))


def merges_as_peft(
    base: Path, adapter: Path, out: Path, tolerance: float = 1e-5, *, with_logits: bool = True
) -> set[str]:
    """Merge, and compare with PEFT. Returns the names of the changed tensors in the files."""
    merge(base, adapter, out)
    theirs: Any = PeftModel.from_pretrained(load(base), str(adapter)).merge_and_unload().eval()
    ours, wanted = load(out), theirs.state_dict()
    loaded = ours.state_dict()
    assert loaded.keys() == wanted.keys()
    for name, tensor in loaded.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=10 * tolerance, atol=tolerance)
    if with_logits:
        require_same_logits(ours, theirs, tolerance)
    before, after = tensors_of(base), tensors_of(out)
    if getattr(AutoConfig.from_pretrained(base), "quantization_config", None) is None:
        assert list(before) == list(after)
        assert all(before[name].shape == after[name].shape for name in before)
    return {
        name
        for name, tensor in after.items()
        if name not in before or before[name].dtype != tensor.dtype or not torch.equal(before[name], tensor)
    }
