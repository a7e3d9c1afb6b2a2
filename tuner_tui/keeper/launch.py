"""From a spec to a queued run: everything that can be checked without torch is checked before a folder is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tuner_tui.config import paths
from tuner_tui.config.spec_file import read_spec, require_rules
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.data.ready import refused_rows
from tuner_tui.data.recognition.reading import evaluation_reading, training_reading
from tuner_tui.data.rows.for_method import read_for
from tuner_tui.errors import InputError, RunProblem, TunerError
from tuner_tui.hardware.system import disk_free_bytes
from tuner_tui.keeper.prerequisite import Awaited, find_awaited
from tuner_tui.keeper.start import submit
from tuner_tui.models.check import check_source
from tuner_tui.models.source import find_source
from tuner_tui.models.trusted_code import require_trusted
from tuner_tui.planning.enough_rows import part_batch, too_few_rows
from tuner_tui.planning.plan import make_plan, read_plan
from tuner_tui.planning.refusals import require_trainable
from tuner_tui.planning.this_machine import facts_of, plan_here, rows_of, slow_run
from tuner_tui.planning.warm_up import short_run, steps_of
from tuner_tui.runs.create import create_run
from tuner_tui.runs.lineage import as_started, find_start
from tuner_tui.runs.measurements import all_measured
from tuner_tui.runs.status import read_run

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.source import ModelSource
    from tuner_tui.runs.folder import RunFolder

SMALLEST_FREE_BYTES = 200 * 10**6
"""Disk space for a run's events and telemetry, a small adapter and its checkpoints."""
DEQUANTISED_GROWTH = 8
"""Largest growth of a 4-bit GGUF file when dequantised to fp32."""
FULL_CHECKPOINT_GROWTH = 6
"""Size of a full checkpoint in fp32 with two optimizer states, relative to 16-bit weights."""


def launch(spec: RunSpec, after: RunFolder | None = None) -> RunFolder:
    """Check a spec, create its run and submit it to the keeper; `after` is a run that must finish first.

    A run whose model.adapter names a run that is still live waits for that one and then starts from its adapter.
    Raises InputError for an unusable spec, model or data, RunProblem for a run to wait for that has failed, and
    TunerError for too little disk space; then nothing has been created.
    """
    awaited = find_awaited(spec, after)
    source = check(spec, awaited).source
    start = None if awaited.gives_adapter else find_start(spec, source)
    planned_spec = spec if start is None else as_started(spec, source)
    folder = create_run(spec, make_plan(spec, source, start, plan_here(planned_spec, source, all_measured())))
    submit(folder, after=awaited.run.name if awaited.run else None, takes_adapter=awaited.gives_adapter)
    return folder


class Checked(NamedTuple):
    """What is known of a spec that can be used."""

    source: ModelSource
    warnings: tuple[str, ...]
    """What does not keep the run from beginning, and is likely to waste it."""


def check(spec: RunSpec, awaited: Awaited | None = None) -> Checked:
    """Check all that can be known before a run begins. Raises as `launch` does."""
    checked = check_parts(spec, awaited)
    source = checked.source
    require_trusted(
        spec.model.trust_remote_code, spec.model.source, str(source.path or source.repo_id), source.revision
    )
    return checked


def check_parts(spec: RunSpec, awaited: Awaited | None = None) -> Checked:
    """As `check`, without asking whether the model's code is trusted, which may not be on this machine yet."""
    require_rules(spec)
    source = find_source(spec.model.source, spec.model.revision)
    check_source(source)
    asked = spec
    if not (awaited or find_awaited(spec)).gives_adapter:
        asked = as_started(spec, source)
    rows = check_data(spec)
    facts = facts_of(source)
    require_trainable(asked, facts, source.name, rows_of(asked))
    check_room(spec, source)
    short = short_run(spec, steps_of(spec, rows))
    warnings = (
        part_batch(spec, rows),
        f"{short.message} {short.hint}" if short else "",
        slow_run(asked, facts, source.name, rows),
    )
    return Checked(source, tuple(filter(None, warnings)))


def resume(folder: RunFolder) -> None:
    """Submit an ended run to the keeper again, to resume from its last checkpoint. Raises RunProblem if it cannot."""
    run = read_run(folder)
    if run.status == "finished":
        raise RunProblem(
            "The run is finished", f"{folder.name} has nothing left to do.", "See: tuner-tui runs show"
        )
    _require_trusted(folder)
    submit(folder, resume=True)


def _require_trusted(folder: RunFolder) -> None:
    """Raise UntrustedCode for a run from another machine that needs its model's own code."""
    try:
        spec, plan = read_spec(folder.spec), read_plan(folder.plan)
    except (OSError, ValueError, InputError):  # the attempt reports what cannot be read
        return
    require_trusted(spec.model.trust_remote_code, spec.model.source, plan.model_location, plan.revision)


def check_data(spec: RunSpec) -> int:
    """Read all rows; gives how many are for training. Raises InputError that names file and line.

    What `data check` calls an error is refused, and so are too few rows.
    """
    reading, evaluation = training_reading(spec.data), evaluation_reading(spec.data)
    _, rows = read_for(spec.method.kind, reading)
    if evaluation is not None:
        read_for(spec.method.kind, evaluation)
    if (refusal := refused_rows(reading, evaluation, spec.method.kind)) is not None:
        raise refusal
    if (few := too_few_rows(spec, len(rows))) is not None:
        raise InputError(few.title, few.message, few.hint)
    return len(rows)


def check_room(spec: RunSpec, source: ModelSource) -> None:
    """Raise TunerError when the disk has too little space for what the run will write."""
    checkpoint_count = spec.checkpoints.keep + 1
    weights = source.size_bytes or 0
    needed = SMALLEST_FREE_BYTES
    if not tuning_traits(spec.tuning.kind).is_adapter:
        needed += weights * FULL_CHECKPOINT_GROWTH * checkpoint_count
    _require_room(paths.data_dir(), needed, "the run")
    if source.kind == "gguf":
        _require_room(paths.cache_dir(), weights * DEQUANTISED_GROWTH, "the dequantised model")


def _require_room(folder: Path, needed: int, what: str) -> None:
    free = disk_free_bytes(folder)
    if free is not None and free < needed:
        raise TunerError(
            "The disk is too full",
            f"{folder}: {free / 1e9:.1f} GB free, and {what} needs about {needed / 1e9:.1f} GB.",
            "Free space there, or set another folder with the TUNER_TUI_HOME environment variable.",
        )
