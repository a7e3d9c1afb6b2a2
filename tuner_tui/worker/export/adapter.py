"""Exports the PEFT adapter: safetensors weights and a configuration without local paths."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from tuner_tui.errors import InputError
from tuner_tui.models.model_folder import read_json
from tuner_tui.worker.export.json_files import write_json

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def write_adapter(adapter: Path, out: Path, base_name: str | None) -> None:
    """Copy an adapter into a folder; its base is named by its Hub name, or left out.

    Raises InputError when there are no safetensors weights or they cannot be read.
    """
    weights = adapter / WEIGHTS
    if not weights.is_file():
        raise InputError(
            "No adapter in safetensors",
            f"{adapter} has no {WEIGHTS}; pickled weights are not passed on.",
            "Choose a run that has saved its adapter.",
        )
    try:
        with safe_open(weights, framework="pt") as content:
            if not list(content.keys()):
                raise InputError("The adapter is empty", f"{weights} has no tensors.")
    except SafetensorError as error:
        raise InputError("The adapter is damaged", f"{weights}: {error}.") from None
    shutil.copyfile(weights, out / WEIGHTS)
    settings = read_json(adapter / SETTINGS)
    write_json(out / SETTINGS, settings | {"base_model_name_or_path": base_name, "inference_mode": True})
