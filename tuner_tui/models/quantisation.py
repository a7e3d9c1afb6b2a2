"""The quantisation of a repository, by whatever words its files state it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner_tui.models.safetensors_header import SafetensorsTensor

MODELOPT_FILE = "hf_quant_config.json"
"""Where NVIDIA's modelopt states it, in older repositories outside config.json."""
MLX, MODELOPT, UNNAMED = "mlx", "modelopt", "unknown"
BITS = (2, 3, 4, 5, 6, 8)
"""Of a packed value."""
_PACKED_DTYPES = frozenset(("U8", "I8", "I16", "U16", "I32", "U32", "F4", "F6_E2M3", "F6_E3M2"))
_NF4, _INT8 = ".quant_state.bitsandbytes__", "SCB"


@dataclass(frozen=True)
class Quantisation:
    """How a repository's matrices are stored."""

    method: str
    """The method, such as gptq, awq, mlx or "modelopt nvfp4"."""
    stated: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """What the files state, with the method's name as config.json would have it."""
        return {**self.stated, "quant_method": self.method}


def find_quantisation(
    config: Mapping[str, Any],
    tensors: Mapping[str, SafetensorsTensor],
    modelopt: Mapping[str, Any] | None = None,
) -> Quantisation | None:
    """The quantisation that config.json, modelopt's own file or the tensors' names and dtypes state; None for none."""
    stated = _sections(config, "quantization_config", "compression_config")
    for settings in stated:
        method = settings.get("quant_method")
        if isinstance(method, str) and method:
            return _named(method.lower(), settings)
        if isinstance(settings.get("quant_algo"), str):
            return _named(MODELOPT, settings)
    for settings in (*_sections(config, "quantization"), *stated):
        is_mlx = isinstance(settings.get("bits"), int) and "group_size" in settings
        if is_mlx and not any(name.endswith("qweight") for name in tensors):
            return Quantisation(MLX, settings)
    if modelopt is not None and isinstance(modelopt.get("quantization"), Mapping):
        return _named(MODELOPT, modelopt["quantization"])
    return _by_tensors(tensors, is_stated=bool(stated))


def _sections(config: Mapping[str, Any], *names: str) -> list[Mapping[str, Any]]:
    """The sections of these names, of the whole model or of the language model in it."""
    inner = [config.get(key) for key in ("text_config", "llm_config", "language_config")]
    places = [config, *(place for place in inner if isinstance(place, Mapping))]
    found = [place.get(name) for name in names for place in places]
    return [section for section in found if isinstance(section, Mapping)]


def _named(method: str, settings: Mapping[str, Any]) -> Quantisation:
    if method == MODELOPT:
        algorithm = settings.get("quant_algo")
        method = f"{MODELOPT} {algorithm.lower()}" if isinstance(algorithm, str) and algorithm else MODELOPT
    return Quantisation(method, settings)


def bits_of(settings: Mapping[str, Any]) -> Any:
    """Bits of a packed value as the settings state them; None if they do not."""
    bits = settings.get("bits") or settings.get("w_bit")
    groups = settings.get("config_groups")
    if bits is None and isinstance(groups, Mapping):
        weights = [group.get("weights") for group in groups.values() if isinstance(group, Mapping)]
        stated = [each.get("num_bits") for each in weights if isinstance(each, Mapping)]
        bits = stated[0] if stated and all(one == stated[0] for one in stated) else None
    return bits


def _by_tensors(tensors: Mapping[str, SafetensorsTensor], *, is_stated: bool) -> Quantisation | None:
    """A quantisation that only the weights show: packed dtypes of matrices, and scales beside them."""
    packed = [
        name
        for name, tensor in tensors.items()
        if len(tensor.shape) > 1 and tensor.dtype in _PACKED_DTYPES and name.endswith(("weight", "qweight"))
    ]
    for name in packed:
        stem = name.rpartition(".")[0]
        if any(f"{name}{_NF4}{kind}" in tensors for kind in ("nf4", "fp4")) or f"{stem}.{_INT8}" in tensors:
            return Quantisation("bitsandbytes")
        if f"{stem}.scales" in tensors and tensors[name].dtype == "U32":
            return Quantisation(MLX)
    has_scaled = any(
        tensor.dtype.startswith("F8_") and len(tensor.shape) > 1 and _has_scale(name, tensors)
        for name, tensor in tensors.items()
    )
    return Quantisation(UNNAMED) if packed or has_scaled or is_stated else None


def _has_scale(name: str, tensors: Mapping[str, SafetensorsTensor]) -> bool:
    return any(f"{name}{ending}" in tensors for ending in ("_scale", "_scale_inv"))
