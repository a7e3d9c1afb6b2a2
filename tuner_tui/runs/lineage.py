"""The start adapter of a run: an earlier run's, or one in a folder; and whether it fits the base."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.reference import compares
from tuner_tui.config.tunings.lora_start import converted_alpha, converted_rank
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
    require_plain_head,
    require_untied_tokens,
)
from tuner_tui.models.adapter_base import NamedBase, is_same_base, require_shapes
from tuner_tui.models.changed_base import initial_adapter, require_convertible
from tuner_tui.models.facts import read_facts
from tuner_tui.models.model_folder import read_json
from tuner_tui.planning.plan import StartAdapter, read_plan
from tuner_tui.runs.folder import RunFolder, find_run_or_folder

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.source import ModelSource


def find_start(spec: RunSpec, source: ModelSource) -> StartAdapter | None:
    """The adapter that model.adapter names; None for a new one.

    Raises NotFoundError for a name that is neither a run nor an adapter, RunProblem for a run without a result, and
    InputError for an adapter that does not fit: of another base or kind, of a reward model, or one that cannot be
    trained on as it is.
    """
    name = spec.model.adapter
    if name is None:
        return None
    run, folder = _locate(name)
    if run is not None and not is_adapter(folder):
        raise RunProblem(
            "The run has no adapter",
            f"{run.name} has no adapter to start from: it has not ended, or it used full tuning.",
            "Use a finished run that trained an adapter. The result of full tuning is a base: set model.source to its "
            "adapter folder.",
        )
    facts = read_adapter(folder)
    require_shapes(folder, source)
    base = _base_of(run, facts)
    if not spec.model.adapter_base_confirmed:
        _require_same_base(name, base, source)
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
    _require_trainable(spec, facts, source, folder)
    return StartAdapter(
        name=run.name if run else name,
        is_run=run is not None,
        path=str(folder),
        base=base.name or "",
        rank=converted_rank(facts.rank or 0, facts.init),
        alpha=converted_alpha(facts.alpha or 0.0, facts.init, is_rslora=facts.rslora),
    )


def _require_same_base(name: str, base: NamedBase, source: ModelSource) -> None:
    """Raise InputError for an adapter of another base, or of one that nothing here can tell from it."""
    is_same = is_same_base(base, source)
    if is_same:
        return
    usable, confirm = base.usable, "set model.adapter_base_confirmed = true"
    if is_same is None:
        called = f"names its base {base.name!r}" if base.name else "names no base"
        raise InputError(
            "The adapter's base is not known",
            f"{name} {called}, so nothing here tells whether that is {source.name}.",
            f"If it was trained on {source.name}, {confirm}."
            + (f' Else set model.source to "{usable}".' if usable else ""),
        )
    if {base.name} & {source.repo_id, str(source.path)}:
        raise InputError(
            "The base has changed",
            f"{name} was trained on {base.name}, whose weights were different then.",
            f"Use the model.revision that it was trained on, or {confirm} to train on all the same.",
        )
    raise InputError(
        "The adapter has another base",
        f"{name} was trained on {base.name}, and model.source is {source.name}.",
        (f'Set model.source to "{usable}", or ' if usable else "")
        + f"use an adapter of {source.name}. If it fits all the same, {confirm}.",
    )


def _require_trainable(spec: RunSpec, facts: AdapterFacts, source: ModelSource, folder: Path) -> None:
    """Raise InputError for what an adapter trains besides low rank that the run could not continue with."""
    require_convertible(folder, facts, is_quantised=spec.model.precision in ("int8", "nf4"))
    require_plain_head(folder, spec.method.kind)
    if facts.tokens and source.path is not None and read_facts(source).tied_embeddings:
        require_untied_tokens(spec.method.kind)
    if facts.bias not in (None, "none") and compares(spec.method.kind):
        raise InputError(
            "The adapter trains biases of its base",
            f'{folder}: bias = "{facts.bias}". The base with the adapter off would have the trained biases, and PEFT '
            "holds only one such adapter, so there is no reference.",
            'Use an adapter that was trained with bias = "none", or a method without a reference.',
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
    _copy_adapter(Path(start.path), target)
    initial = initial_adapter(Path(start.path))
    if initial is not None:
        make_folder(target / initial.name)
        _copy_adapter(initial, target / initial.name)
    settle_modes(target)


def _copy_adapter(source: Path, target: Path) -> None:
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        shutil.copyfile(source / name, target / name)


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


def _base_of(run: RunFolder | None, facts: AdapterFacts) -> NamedBase:
    """The base that an adapter was trained on, by its run's plan or as the adapter names it."""
    if run is not None:
        try:
            plan = read_plan(run.plan)
        except Unreadable:
            pass
        else:
            name = plan.model_name if plan.model_kind == "hub" else plan.model_location
            return NamedBase(name, plan.base_digest)
    return NamedBase(facts.base or None)
