"""Makes plain LoRA of an adapter that belongs to a changed base (PiSSA, OLoRA and similar), so that no base is changed.

Such an adapter starts as factors A0 B0 that are taken out of the base: it is trained beside W - s B0 A0. The plain
adapter of the unchanged base W has twice the rank, [A; A0] and [B, -B0], as PEFT's own conversion writes it
(peft.tuners.lora.LoraModel.subtract_mutated_init). Where the initial factors are not saved, PEFT computes them again
from the base's weights.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file, save_file

from tuner_tui.config.tunings.lora_start import changes_base, converted_alpha, converted_rank
from tuner_tui.errors import InputError
from tuner_tui.models.adapter import CONFIG_FILE, WEIGHTS_FILE, read_adapter_facts
from tuner_tui.models.changed_base import initial_adapter, require_convertible
from tuner_tui.models.model_folder import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "base_model.model."
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


@contextlib.contextmanager
def as_plain(folder: Path, base: Any) -> Iterator[Path]:
    """Within the block, a folder with the adapter as plain LoRA of this base; the folder itself where it is plain.

    `base` is the model that it is loaded on. Raises InputError for an adapter that cannot be converted.
    """
    if not changes_base(read_adapter_facts(folder).init):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="tuner-tui-") as name:
        convert(folder, base, Path(name))
        yield Path(name)


def convert(folder: Path, base: Any, out: Path) -> None:
    """Write the adapter as plain LoRA of the unchanged base into a folder. Raises InputError if that is impossible."""
    require_convertible(
        folder, read_adapter_facts(folder), is_quantised=bool(getattr(base, "is_quantized", False))
    )
    settings = read_json(folder / CONFIG_FILE)
    tensors = load_file(folder / WEIGHTS_FILE)
    earlier = initial_adapter(folder)
    initial = (
        load_file(earlier / WEIGHTS_FILE) if earlier is not None else _recomputed(tensors, settings, base)
    )
    plain = {}
    for name, tensor in tensors.items():
        factor = _FACTOR.fullmatch(name)
        if factor is None:
            if "lora_embedding_" in name:
                raise _cannot(folder, f"{name} is of an embedding")
            if ".base_layer." not in name:  # of an output layer PEFT saves the changed base as well
                plain[name] = tensor
            continue
        start = initial.get(name)
        if start is None or start.shape != tensor.shape:
            raise _cannot(folder, f"the initial adapter has no {name} of the same shape")
        start = start.to(tensor.device, tensor.dtype)
        is_input = factor["side"] == "A"
        plain[name] = torch.cat(
            [tensor, start if is_input else -start], dim=0 if is_input else 1
        ).contiguous()
    save_file(plain, out / WEIGHTS_FILE, metadata={"format": "pt"})
    (out / CONFIG_FILE).write_text(json.dumps(_plain_settings(settings), indent=2), encoding="utf-8")


def _plain_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The adapter's settings with twice the rank and the same scale."""
    init, is_rslora = settings.get("init_lora_weights"), settings.get("use_rslora") is True
    ranks, alphas = settings.get("rank_pattern") or {}, settings.get("alpha_pattern") or {}
    return settings | {
        "init_lora_weights": True,
        "r": converted_rank(settings.get("r", 8), init),
        "lora_alpha": converted_alpha(settings.get("lora_alpha", 8), init, is_rslora=is_rslora),
        "rank_pattern": {key: converted_rank(rank, init) for key, rank in ranks.items()},
        "alpha_pattern": {
            key: converted_alpha(alpha, init, is_rslora=is_rslora) for key, alpha in alphas.items()
        },
        "corda_config": None,
        "lora_ga_config": None,
    }


def _recomputed(
    tensors: dict[str, torch.Tensor], settings: dict[str, Any], base: Any
) -> dict[str, torch.Tensor]:
    """The factors that PEFT takes out of this base's weights, by their names in the adapter's file."""
    initial: dict[str, torch.Tensor] = {}
    alphas = settings.get("alpha_pattern") or {}
    for name, tensor in tensors.items():
        factor = _FACTOR.fullmatch(name)
        if factor is None or factor["side"] == "B":
            continue
        module = factor["module"].removeprefix(PREFIX)
        try:
            layer = base.get_submodule(module)
        except AttributeError:
            raise InputError(
                "The adapter does not fit the base",
                f"It has weights for {module}, and the base has no such module.",
                "Use the base that the adapter was trained on.",
            ) from None
        config = LoraConfig(
            target_modules=["layer"],
            r=tensor.shape[0],
            lora_alpha=alphas.get(get_pattern_key(alphas.keys(), module), settings.get("lora_alpha", 8)),
            use_rslora=settings.get("use_rslora") is True,
            fan_in_fan_out=settings.get("fan_in_fan_out") is True,
            init_lora_weights=settings["init_lora_weights"].lower(),
        )
        wrapped = get_peft_model(_Alone(copy.deepcopy(layer)), config).base_model.model.layer
        initial[name] = wrapped.lora_A["default"].weight.data.cpu()
        initial[f"{factor['module']}.lora_B.weight"] = wrapped.lora_B["default"].weight.data.cpu()
    return initial


class _Alone(torch.nn.Module):
    """A copy of one layer, whose weights PEFT may change."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer


def _cannot(folder: Path, why: str) -> InputError:
    return InputError(
        "The adapter cannot be made plain LoRA",
        f"{folder}: {why}.",
        "Convert it with PEFT where it was trained, or use another adapter.",
    )
