"""The start adapter of a run: an earlier run's, or one in a folder; and whether it fits the base."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.errors import InputError, NotFoundError, RunProblem
from tuner_tui.files import expanded, make_folder, settle_modes
from tuner_tui.guarded import Unreadable
from tuner_tui.models.adapter import (
    CONFIG_FILE,
    REWARD_TASK,
    WEIGHTS_FILE,
    AdapterFacts,
    is_adapter,
    read_adapter,
)
from tuner_tui.models.model_folder import read_json
from tuner_tui.planning.plan import StartAdapter, read_plan
from tuner_tui.runs.folder import RunFolder, find_run_or_folder

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.source import ModelSource


def find_start(spec: RunSpec, source: ModelSource) -> StartAdapter | None:
    """The adapter that model.adapter names; None for a new one.

    Raises NotFoundError for a name that is neither a run nor an adapter, RunProblem for a run without a result, and
    InputError for an adapter that does not fit: of another base or kind, or of a reward model.
    """
    name = spec.model.adapter
    if name is None:
        return None
    run, folder = _locate(name)
    if run is not None and not is_adapter(folder):
        raise RunProblem(
            "The run has no adapter",
            f"{run.name} has no adapter to start from: it has not ended, or it used full tuning.",
            "Use a finished LoRA run. The result of full tuning is a base: set model.source to its adapter folder.",
        )
    facts = read_adapter(folder)
    base = _base_of(run, facts)
    if not _is_same_base(base, source):
        raise InputError(
            "The adapter has another base",
            f"{name} was trained on {base}, and model.source is {source.name}.",
            f'Set model.source to "{base}", or use an adapter of {source.name}.',
        )
    traits = tuning_traits(spec.tuning.kind)
    if facts.kind != traits.peft_type:
        raise InputError(
            "The adapter has another tuning",
            f"{name} is a {facts.kind} adapter, and tuning.kind is {spec.tuning.kind}.",
            f"Use an adapter of {traits.title}, or the tuning that the adapter was trained with.",
        )
    if facts.task == REWARD_TASK and method_traits(spec.method.kind).output != "scores":
        raise InputError(
            "The adapter is a reward model's",
            f"{name} scores answers; method {spec.method.kind} trains a model that generates them.",
            "Use an adapter of another method.",
        )
    return StartAdapter(
        name=run.name if run else name,
        is_run=run is not None,
        path=str(folder),
        base=base,
        rank=facts.rank,
        alpha=facts.alpha,
    )


def as_started(spec: RunSpec, source: ModelSource) -> RunSpec:
    """The spec with the rank, alpha and targets of its start adapter, for the memory estimate.

    Raises as `find_start` does.
    """
    start = find_start(spec, source)
    return spec if start is None else with_adapter_of(spec, Path(start.path))


def with_adapter_of(spec: RunSpec, folder: Path) -> RunSpec:
    """The spec with the rank, alpha and targets of the adapter in a folder. Raises InputError if there is none."""
    if not tuning_traits(spec.tuning.kind).can_continue:
        return spec
    read_adapter(folder)
    return spec.model_copy(update={"tuning": spec.tuning.continued(read_json(folder / CONFIG_FILE))})


def keep_start(start: StartAdapter, run: Path) -> None:
    """Copy the start adapter into the run's folder, so that the original may be deleted."""
    target = RunFolder(run).started_from
    make_folder(target)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        shutil.copyfile(Path(start.path) / name, target / name)
    settle_modes(target)


def ancestors(folder: RunFolder) -> list[str]:
    """The names of a run's ancestors, the nearest first, as far as they are known."""
    names: list[str] = []
    while (start := _start_of(folder)) is not None and start.name not in names:
        names.append(start.name)
        if not start.is_run:
            break
        folder = RunFolder(folder.path.parent / start.name)
    return names


def _start_of(folder: RunFolder) -> StartAdapter | None:
    try:
        return read_plan(folder.plan).start
    except Unreadable:
        return None


def _locate(name: str) -> tuple[RunFolder | None, Path]:
    """The run, if the name is a run's, and the adapter's folder."""
    path = expanded(Path(name))
    if is_adapter(path):
        return _run_around(path.resolve()), path.resolve()
    try:
        run = find_run_or_folder(name)
    except NotFoundError as error:
        raise NotFoundError(
            "No such adapter",
            f"model.adapter: {name!r} is neither a run nor a folder with {CONFIG_FILE}.",
            "See: tuner-tui runs list",
        ) from error
    return run, run.adapter


def _run_around(adapter: Path) -> RunFolder | None:
    """The run that an adapter's folder belongs to, as result or checkpoint."""
    folder = RunFolder(adapter.parent if adapter.name == "adapter" else adapter.parent.parent)
    is_its_own = adapter == folder.adapter or adapter.parent == folder.checkpoints
    return folder if is_its_own and folder.spec.is_file() else None


def _base_of(run: RunFolder | None, facts: AdapterFacts) -> str:
    """The base that an adapter was trained on, by the name in its run's spec."""
    if run is not None:
        try:
            plan = read_plan(run.plan)
        except Unreadable:
            pass
        else:
            return plan.model_location if plan.model_kind == "folder" else plan.model_name
    return facts.base or "an unknown base"


def _is_same_base(base: str, source: ModelSource) -> bool:
    """By full name or its last part, since the same model may be on the Hub and in a folder."""
    known = {source.name, source.repo_id or "", str(source.path or "")}
    last = {Path(name).name.lower() for name in known if name}
    return base in known or Path(base).name.lower() in last
