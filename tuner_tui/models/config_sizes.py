"""A language model's sizes: as config.json states them, else by its tensors' shapes, else the class's own defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuner_tui.models import config_keys as keys
from tuner_tui.models.architectures import Architecture, architecture

if TYPE_CHECKING:
    from tuner_tui.models.weight_count import WeightCount

TEXT_KEYS = ("text_config", "llm_config", "language_config")
_ATTENTION_FUSED = frozenset(("c_attn", "qkv_proj", "query_key_value", "Wqkv", "in_proj"))


class ConfigSizes:
    """The settings of the language model in a config.json, over the defaults of its configuration class."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.model_type = _text(config.get("model_type"))
        self.known = architecture(self.model_type)
        self.own, inner_type = _text_settings(config, self.known)
        self.text_type = inner_type or (self.known.text_type if self.known else "") or self.model_type
        inner = architecture(self.text_type)
        self._defaults: Mapping[str, Any] = inner.defaults if inner is not None else {}

    def stated(self, names: tuple[str, ...]) -> int | None:
        """The first of some settings that config.json states as a positive integer."""
        return _first(self.own, names)

    def number(self, names: tuple[str, ...]) -> int | None:
        """The same, or the class's default if config.json does not mention any of them."""
        if self.mentions(names):
            return _first(self.own, names)
        return _first(self._defaults, names)

    def mentions(self, names: tuple[str, ...]) -> bool:
        """Whether config.json has one of some settings, with whatever value."""
        return any(name in self.own for name in names)

    def is_null(self, names: tuple[str, ...]) -> bool:
        """Whether config.json leaves the settings that it has of these to the class."""
        return all(self.own[name] is None for name in names if name in self.own)

    def switch(self, name: str) -> bool | None:
        """A setting that is on or off; None if neither config.json nor the class says."""
        value = self.own.get(name, self._defaults.get(name))
        return value if isinstance(value, bool) else None

    def kv_heads(self, heads: int | None) -> int | None:
        """Heads of keys and values. Falcon's and GPT-BigCode's multi-query attention has one."""
        if self.switch(keys.MULTI_QUERY) and not self.switch(keys.NEW_DECODER):
            return 1
        return self.number(keys.KV_HEADS) or heads

    def mixture(self) -> dict[str, Any]:
        """The values about experts; none for a dense model."""
        experts = self.number(keys.EXPERTS)
        if experts is None or experts == 1:
            return {}
        width = self.number(keys.EXPERT_INTERMEDIATE)
        shared = self.number(keys.SHARED_INTERMEDIATE)
        if shared is None and width and (count := self.number(keys.SHARED_EXPERTS)):
            shared = count * width
        return {
            "experts": experts,
            "experts_per_token": self.number(keys.EXPERTS_PER_TOKEN),
            "expert_intermediate_size": width,
            "shared_intermediate_size": shared,
        }


def _text_settings(
    config: Mapping[str, Any], known: Architecture | None
) -> tuple[Mapping[str, Any], str | None]:
    """The language model's settings, which models with vision have one level deeper, and its own type."""
    for key in (*((known.text_key,) if known and known.text_key else ()), *TEXT_KEYS):
        inner = config.get(key)
        if isinstance(inner, dict):
            return {**config, **inner}, _text(inner.get("model_type"))
    return config, None


def feed_forward_width(weights: WeightCount | None, hidden: int | None) -> int | None:
    """The width of the feed-forward layers by the matrices' shapes: the widest beside the hidden size."""
    if weights is None or not hidden:
        return None
    widths = [
        (matrix.outputs if matrix.inputs == hidden else matrix.inputs)
        // (2 if "gate_up" in matrix.name else 1)
        for matrix in weights.matrices
        if matrix.place == "layer"
        and hidden in (matrix.inputs, matrix.outputs)
        and matrix.name not in _ATTENTION_FUSED
    ]
    return max(widths, default=None)


def _first(settings: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next(
        (settings[name] for name in names if type(settings.get(name)) is int and settings[name] > 0), None
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
