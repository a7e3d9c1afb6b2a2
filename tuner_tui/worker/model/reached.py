"""Which parts of a model text never reaches, such as vision and audio towers: an adapter there would learn nothing."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import torch
from transformers.pytorch_utils import Conv1D

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT_CONFIGS = frozenset({"text_config", "decoder", "llm_config", "language_config"})
OTHER_CONFIG = re.compile(r"(?:vision|visual|image|audio|speech|video)\w*_config")
ONE_EXPERT = re.compile(r"\.experts\.\d+\.")
"""Experts that are modules of their own: which ones a few tokens reach is chance."""
PROBED_TOKENS = 4
_KEPT_AS = "_parts_without_text"
_log = logging.getLogger(__name__)


def parts_without_text(model: Any) -> tuple[str, ...]:
    """The outermost modules that nothing of a text runs through; none for a model that takes text alone.

    A few tokens are run through the model once, which tells parts inside the language model, too, such as the layers
    in Llama 3.2 Vision that look at images.
    """
    known: tuple[str, ...] | None = getattr(model, _KEPT_AS, None)
    if known is None:
        known = _find(model) if takes_more_than_text(model) else ()
        setattr(model, _KEPT_AS, known)
    return known


def takes_more_than_text(model: Any) -> bool:
    """Whether a model has parts for images, sound and the like, by its class or its configuration."""
    modalities, config = getattr(model, "input_modalities", "text"), model.config
    if modalities not in ("text", ("text",), ["text"]):
        return True
    parts = {*getattr(config, "sub_configs", {})} - TEXT_CONFIGS
    return any(getattr(config, name, None) is not None for name in parts) or any(
        OTHER_CONFIG.fullmatch(name) and value for name, value in vars(config).items()
    )


def is_without_text(name: str, parts: tuple[str, ...]) -> bool:
    """Whether a module is such a part, or in one."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _find(model: Any) -> tuple[str, ...]:
    beside = tuple(_beside_decoder(model))
    try:
        called = _called_for_text(model)
    except Exception:  # a model that wants more than tokens: its structure has to do
        _log.warning("no text can be run through the model alone", exc_info=True)
        return beside
    weighted = {
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)
    }
    missed = {
        name
        for name in weighted - called
        if is_without_text(name, beside) or not ONE_EXPERT.search(f"{name}.")
    }
    missed -= {name for name, module in model.named_modules() if module is model.get_output_embeddings()}
    return tuple(_outermost(model, missed, weighted))


def _called_for_text(model: Any) -> set[str]:
    """Names of the modules that a few tokens of text run through."""
    ids = text_probe(model)
    called: set[str] = set()
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: called.add(name))
        for name, module in model.named_modules()
    ]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return called


def text_probe(model: Any) -> torch.Tensor:
    """A few tokens of plain text, (1, tokens), without the marks of images and the like."""
    special = {
        value
        for name, value in vars(model.config).items()
        if name.endswith(("token_id", "token_index")) and isinstance(value, int)
    }
    plain = [token for token in range(PROBED_TOKENS + len(special) + 1) if token not in special]
    return torch.tensor([plain[:PROBED_TOKENS]], device=model.device)


def _outermost(model: Any, missed: set[str], weighted: set[str]) -> Iterator[str]:
    """The largest modules all of whose linear layers were missed."""
    reached = weighted - missed

    def walk(module: Any, prefix: str) -> Iterator[str]:
        for child_name, child in module.named_children():
            name = f"{prefix}{child_name}"
            inside = {other for other in weighted if is_without_text(other, (name,))}
            if not inside:
                continue
            if not inside & reached:
                yield name
            else:
                yield from walk(child, f"{name}.")

    return walk(model, "")


def _beside_decoder(model: Any) -> Iterator[str]:
    """What stands beside the language model on the way to it, the head apart."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    place = next((name for name, module in model.named_modules() if module is decoder), "")
    heads = [
        module
        for module in (model.get_output_embeddings(), getattr(model, "score", None))
        if module is not None
    ]
    module, prefix = model, ""
    for step in place.split(".") if place else ():
        for child_name, child in module.named_children():
            is_head = any(child is head for head in heads)
            if child_name != step and not is_head and any(True for _ in child.parameters()):
                yield f"{prefix}{child_name}"
        module, prefix = getattr(module, step), f"{prefix}{step}."
