"""Adapters that belong to a changed base (PiSSA, OLoRA and similar): whether they can be made plain LoRA."""

from __future__ import annotations

from pathlib import Path

from tuner_tui.config.tunings.lora_start import QUANTISES, RECOMPUTED, changes_base
from tuner_tui.errors import InputError
from tuner_tui.models.adapter import WEIGHTS_FILE, AdapterFacts, is_adapter

CONVERSION = (
    "Convert it where it was trained: PEFT's save_pretrained(..., path_initial_model_for_weight_conversion=...) writes "
    "plain LoRA. Or put the adapter as it was before training beside it, in a folder such as pissa_init."
)


def initial_adapter(folder: Path) -> Path | None:
    """The adapter as it was before training, which some trainers save inside the adapter's folder; None without one."""
    inner = sorted(path for path in folder.iterdir() if "init" in path.name.lower() and path.is_dir())
    return next((path for path in inner if is_adapter(path) and (path / WEIGHTS_FILE).is_file()), None)


def require_convertible(folder: Path, facts: AdapterFacts, *, is_quantised: bool) -> None:
    """Raise InputError for an adapter of a changed base that cannot be made plain LoRA of the unchanged one.

    `is_quantised`: whether the base is loaded as int8 or nf4, from which the part that was taken out of the base's
    weights cannot be computed.
    """
    if not changes_base(facts.init):
        return
    init = str(facts.init).lower()
    if not init.startswith(QUANTISES) and initial_adapter(folder) is not None:
        return
    if init in RECOMPUTED and not is_quantised:
        return
    hint = CONVERSION
    if init in RECOMPUTED:
        hint = f'Load the base as bf16 or fp32 (model.precision = "bf16"). {hint}'
    if init.startswith(QUANTISES):
        hint = "Use a LoRA adapter of the unquantised base."
    raise InputError(
        "The adapter belongs to a changed base",
        f"{folder}: init_lora_weights is {str(facts.init)!r}, which changes the base's own weights before training; "
        "on the base as it is the adapter would be another model, and the base would change with it.",
        hint,
    )
