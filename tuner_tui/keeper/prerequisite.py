"""The run that a new one waits for: requested, or because it starts from that run's adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.errors import InputError, NotFoundError, RunProblem
from tuner_tui.runs.folder import find_run
from tuner_tui.runs.status import LIVE, read_run
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.runs.folder import RunFolder


@dataclass(frozen=True)
class Awaited:
    """The run that is waited for, if any, and whether the new run starts from its adapter."""

    run: RunFolder | None = None
    gives_adapter: bool = False


def find_awaited(spec: RunSpec, after: RunFolder | None = None) -> Awaited:
    """Find the run to wait for. Raises RunProblem for a failed run, InputError for one outside the runs folder."""
    adapter_run = _run_of_adapter(spec.model.adapter)
    if after is None:
        if adapter_run is None or read_run(adapter_run).status not in LIVE:
            return Awaited()
        return Awaited(adapter_run, True)
    if after.path.parent.resolve() != paths.runs_dir().resolve():
        raise InputError("The run is not in the runs folder", f"{after.path} is not in {paths.runs_dir()}.")
    status = read_run(after).status
    if status == "finished":
        return Awaited()
    if status == "failed":
        hint = f"Resume that run first: {shell_command('runs resume', after.name)}"
        raise RunProblem("The run to wait for has failed", after.name, hint)
    return Awaited(after, adapter_run is not None and adapter_run.name == after.name)


def _run_of_adapter(adapter: str | None) -> RunFolder | None:
    if adapter is None:
        return None
    try:
        return find_run(adapter)
    except (InputError, NotFoundError):  # a folder or nothing: find_start reports it
        return None
