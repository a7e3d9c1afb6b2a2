"""The family tree of runs: which run started from which; and branching from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.errors import NotFoundError, RunProblem
from tuner_tui.guarded import Unreadable
from tuner_tui.models.adapter import is_adapter
from tuner_tui.planning.plan import read_plan
from tuner_tui.runs import queue
from tuner_tui.runs.disk import complete_checkpoints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.runs.folder import RunFolder


@dataclass(frozen=True)
class Parent:
    """The start adapter of a run."""

    name: str
    """A run's name, or a folder outside of runs."""
    is_run: bool
    checkpoint: str = ""
    """The name of the run's checkpoint; empty for its adapter."""


@dataclass(frozen=True)
class Relative:
    """One line of a family tree."""

    name: str
    depth: int
    words: str = ""
    """How it started from the run above it."""


class FamilyReader:
    """Reads the parents of runs; a plan is read once, since only a waiting run's plan changes."""

    def __init__(self) -> None:
        self._known: dict[tuple[RunFolder, int], Parent | None] = {}

    def parent(self, folder: RunFolder) -> Parent | None:
        """What a run started from, or will start from; None for a new adapter."""
        try:
            key = (folder, folder.plan.stat().st_mtime_ns)
        except OSError:
            return None
        if key not in self._known:
            self._known[key] = _parent(folder)
        return self._known[key] or _awaited(folder)

    def tree(self, folder: RunFolder, folders: Sequence[RunFolder]) -> list[Relative]:
        """The whole family of a run: from its first ancestor to all descendants."""
        parents = {run.name: parent for run in folders if (parent := self.parent(run)) is not None}
        first = folder.name
        seen = {first}
        while (parent := parents.get(first)) is not None and parent.name not in seen:
            first = parent.name
            seen.add(first)
        children: dict[str, list[str]] = {}
        for run in reversed(folders):  # the oldest first
            if run.name in parents:
                children.setdefault(parents[run.name].name, []).append(run.name)
        lines: list[Relative] = []
        waiting = [(first, 0)]
        drawn: set[str] = set()
        while waiting:
            name, depth = waiting.pop()
            if name in drawn:
                continue
            drawn.add(name)
            lines.append(Relative(name, depth, _how(parents.get(name)) if depth else ""))
            waiting += [(child, depth + 1) for child in reversed(children.get(name, []))]
        return lines


def branch_spec(folder: RunFolder, checkpoint: Path) -> RunSpec:
    """A spec for a new run that starts from a checkpoint. Raises RunProblem for an unusable checkpoint."""
    from tuner_tui.config.spec_file import read_spec

    spec = read_spec(folder.spec)
    name = f"{spec.name or 'branch'}-from-{step_of(checkpoint)}"[:60]
    if is_adapter(checkpoint):
        model = spec.model.model_copy(update={"adapter": str(checkpoint)})
    elif (checkpoint / "config.json").is_file():
        model = spec.model.model_copy(update={"source": str(checkpoint), "revision": None})
    else:
        raise RunProblem("No run can start from there", f"{checkpoint} has neither an adapter nor a model.")
    return spec.model_copy(update={"name": name, "model": model})


def find_checkpoint(folder: RunFolder, step: str) -> Path:
    """The checkpoint of a step, or `last`. Raises NotFoundError that lists the existing ones."""
    checkpoints = complete_checkpoints(folder)
    if step == "last" and checkpoints:
        return checkpoints[-1]
    named = [path for path in checkpoints if path.name == step or str(step_of(path)) == step]
    if named:
        return named[0]
    steps = ", ".join(str(step_of(path)) for path in checkpoints) or "none"
    raise NotFoundError(
        "No such checkpoint", f"{folder.name} has none of step {step}.", f"Available: {steps}."
    )


def step_of(checkpoint: Path) -> int:
    """The step at which a checkpoint was saved."""
    digits = checkpoint.name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def _parent(folder: RunFolder) -> Parent | None:
    try:
        start = read_plan(folder.plan).start
    except Unreadable:
        return None
    if start is None:
        return None
    path = Path(start.path)
    if path.parent.name == "checkpoints" and path.parent.parent.parent == folder.path.parent:
        return Parent(path.parent.parent.name, True, path.name)
    return Parent(start.name, start.is_run)


def _awaited(folder: RunFolder) -> Parent | None:
    """The run that a queued run waits for, to start from its adapter."""
    for _, entry in queue.entries():
        is_his = entry.folder == str(folder.path) and entry.takes_adapter
        if is_his and (giver := queue.awaited(entry)) is not None:
            return Parent(giver.name, True)
    return None


def _how(parent: Parent | None) -> str:
    if parent is None:
        return ""
    return f"from {parent.checkpoint}" if parent.checkpoint else "from its adapter"
