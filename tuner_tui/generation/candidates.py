"""Candidates by short name: a model, or a model with an adapter (a folder, or a run's name)."""

from __future__ import annotations

from pathlib import Path

from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.files import expanded
from tuner_tui.generation.messages import Base, Candidate
from tuner_tui.models.adapter import is_adapter, require_safetensors
from tuner_tui.models.source import find_source
from tuner_tui.runs.folder import find_run_or_folder


def candidate_of(text: str, system: str = "") -> Candidate:
    """MODEL, or MODEL+ADAPTER. Raises InputError or NotFoundError."""
    model, plus, adapter = text.rpartition("+") if "+" in text else (text, "", "")
    if not model.strip() or (plus and not adapter.strip()):
        raise InputError(
            "Not a model", f"{text!r}: expected MODEL or MODEL+ADAPTER.", "Such as demo, or demo+my-run."
        )
    source = find_source(model)
    path = source.path
    return Candidate(
        base=Base(
            source=str(path) if path is not None and source.kind != "hub" and model != "demo" else model
        ),
        adapter=str(find_adapter(adapter)) if adapter else None,
        system=system,
    )


def find_adapter(text: str) -> Path:
    """The adapter's folder, by its path or by its run's name. Raises NotFoundError or InputError."""
    path = expanded(Path(text))
    if path.is_dir():
        for folder in (path, path / "adapter"):
            if is_adapter(folder):
                require_safetensors(folder)
                return folder.resolve()
        raise InputError(
            "Not an adapter",
            f"{path} has no adapter_config.json.",
            "Name the adapter folder of a finished run.",
        )
    run = find_run_or_folder(text)
    if not (run.adapter / "adapter_config.json").is_file():
        raise NotFoundError("The run has no adapter", run.name, "Finished runs have one: tuner-tui runs list")
    require_safetensors(run.adapter)
    return run.adapter.resolve()
