"""Candidates by short name: a model, or a model with an adapter (a folder, or a run's name)."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.files import expanded
from tuner_tui.generation.messages import Base, Candidate
from tuner_tui.models.adapter import is_adapter, require_safetensors
from tuner_tui.models.source import find_source
from tuner_tui.runs.folder import find_run_or_folder, list_runs

MOST_RUNS = 50
"""The newest runs with an adapter that are offered as sides."""


def candidate_of(text: str, system: str = "") -> Candidate:
    """MODEL, or MODEL+ADAPTER. Raises InputError or NotFoundError."""
    model, plus, adapter = text.rpartition("+") if "+" in text else (text, "", "")
    if not model.strip() or (plus and not adapter.strip()):
        raise InputError(
            "Not a model", f"{text!r}: expected MODEL or MODEL+ADAPTER.", "For example demo, or demo+my-run."
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


def sides_here(run_name: str | None = None) -> tuple[list[str], list[str]]:
    """Sides of runs that have an adapter: (the ones to begin with, all of them), as `candidate_of` reads them.

    To begin with: a run (the newest one if none is named) and its base. Without such a run, the demo's model.
    """
    sources: dict[str, str] = {}
    runs = list_runs()
    named = [run for run in runs if run.name == run_name]
    for run in (*named, *runs):
        if len(sources) == MOST_RUNS:
            break
        if run.name not in sources and (run.adapter / "adapter_config.json").is_file():
            with contextlib.suppress(TunerError):
                sources[run.name] = read_spec(run.spec).model.source
    if not sources:
        return ["demo"], ["demo"]
    name = next(iter(sources))
    chosen = [sources[name], f"{sources[name]}+{name}"]
    tuned = [f"{source}+{other}" for other, source in sources.items()]
    return chosen, list(dict.fromkeys((*chosen, *tuned, *sources.values(), "demo")))
