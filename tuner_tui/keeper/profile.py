"""A profile of a spec: some real training steps, of which nothing stays but the figures."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import msgspec

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.errors import TunerError
from tuner_tui.files import make_empty, make_folder, write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.keeper.launch import check
from tuner_tui.keeper.measuring import only_measurement, refuse_company, reported
from tuner_tui.keeper.process import end_group, start_worker
from tuner_tui.planning.plan import encode_plan, make_plan
from tuner_tui.planning.this_machine import plan_here
from tuner_tui.profiling.profile import Outside
from tuner_tui.runs.events import DataPrepared, Warned, decode_lines
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.lineage import as_started, find_start, keep_start
from tuner_tui.runs.measurements import all_measured
from tuner_tui.runs.profiles import ProfileOrder, read_profile, write_order

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.planning.plan import Plan
    from tuner_tui.profiling.profile import Profile
    from tuner_tui.runs.events import Event

PATIENCE_SECONDS = 3600.0
NEVER = 1_000_000
"""An interval in steps that no profile reaches."""
LOG_LINES = 5


def run_profile(
    spec: RunSpec, order: ProfileOrder | None = None, patience_seconds: float = PATIENCE_SECONDS
) -> Profile:
    """Make some steps of a spec, by its plan and on its rows, in a worker of its own, and measure them.

    The worker ends with this call, however that ends. Raises TunerError as `launch.check` does, when a run is
    training, and with the worker's message when the steps fail, for example out of memory.
    """
    order = order or ProfileOrder()
    refuse_company("A profile")
    source = check(spec).source
    start = find_start(spec, source)
    plan = make_plan(spec, source, start, plan_here(as_started(spec, source), source, all_measured()))
    lock = only_measurement()
    folder = RunFolder(_parent() / time.strftime("%Y-%m-%d-%H%M%S"))
    try:
        _remove_left()
        _make_folder(folder, spec, plan, order)
        worker = start_worker(folder, lock, plan.threads, is_resumed=False)
        try:
            worker.wait(timeout=patience_seconds)
        finally:
            end_group(worker.pid)
            worker.wait()
        profile = read_profile(folder.path)
        if profile is None:
            raise _unmeasured(folder)
        prepared = next(event for event in _events(folder) if isinstance(event, DataPrepared))
        return with_evaluation(profile, spec, prepared.rows, prepared.evaluation_rows)
    except OSError as error:
        raise TunerError(
            "The profile's folder cannot be created", f"{folder.path}: {error.strerror}."
        ) from error
    except subprocess.TimeoutExpired:
        raise TunerError(
            "The profile takes too long",
            f"The steps were not made in {patience_seconds:g} s.",
            "Ask for fewer steps with --steps, or use a smaller training.batch_size.",
        ) from None
    finally:
        folder.owned.discard_all()
        lock.release()


def profile_spec(spec: RunSpec, order: ProfileOrder) -> RunSpec:
    """The spec with these steps alone: no evaluation, samples or checkpoints come between."""
    training = spec.training.model_copy(update={"max_steps": order.steps() + 1, "epochs": 1000.0})
    return spec.model_copy(
        update={
            "name": None,
            "training": training,
            "evaluation": type(spec.evaluation)(every_steps=NEVER),
            "samples": type(spec.samples)(),
            "checkpoints": type(spec.checkpoints)(every_steps=NEVER),
        }
    )


def with_evaluation(profile: Profile, spec: RunSpec, rows: int, held_out: int) -> Profile:
    """The profile with the spec's own intervals, and evaluation by arithmetic: a forward pass of each held-out row.

    `rows` are those for training, of which an epoch has all; evaluation is at its end if no interval is set.
    """
    settings = msgspec.structs.replace(
        profile.settings,
        evaluation_every=spec.evaluation.every_steps,
        checkpoints_every=spec.checkpoints.every_steps,
        samples_every=spec.samples.every_steps,
    )
    outside = Outside()
    if held_out and profile.rows:
        between = spec.evaluation.every_steps or max(1.0, rows / spec.training.batch_size)
        row_ms = profile.ms("forward", "head") / profile.rows
        outside = Outside(evaluation_ms=held_out * row_ms / between, is_estimated=True)
    return msgspec.structs.replace(profile, settings=settings, outside=outside)


def _parent() -> Path:
    return paths.data_dir() / "profiles"


def _make_folder(folder: RunFolder, spec: RunSpec, plan: Plan, order: ProfileOrder) -> None:
    from tuner_tui.config.spec_writer import spec_text

    folder.owned.claim()
    for inner in (folder.control, folder.checkpoints):
        make_folder(inner)
    if plan.start is not None:
        keep_start(plan.start, folder.path)
    write_order(folder.path, order)
    write_atomic(folder.spec, spec_text(profile_spec(spec, order)))
    write_atomic(folder.plan, encode_plan(plan))
    for empty in (folder.events, folder.log, folder.lock):
        make_empty(empty)


def _remove_left() -> None:
    """Delete what profiles left that were killed; the lock shows that none is under way."""
    try:
        left = [path for path in _parent().iterdir() if path.is_dir()]
    except OSError:
        return
    for path in left:
        RunFolder(path).owned.discard_all()


def _events(folder: RunFolder) -> list[Event]:
    try:
        return decode_lines(guarded.read_bytes(folder.events))
    except Unreadable:
        return []


def _unmeasured(folder: RunFolder) -> TunerError:
    """Why there is no profile; the folder with the worker's log does not stay, so its end is in the message."""
    if (error := reported(folder, "profile")) is not None:
        return error
    title = "The profile gave no measurement"
    warned = next((event for event in reversed(_events(folder)) if isinstance(event, Warned)), None)
    if warned is not None and warned.message.startswith("The steps could not be profiled"):
        return TunerError(title, warned.message)
    try:
        log = guarded.read_bytes(folder.log).decode("utf-8", "replace").splitlines()[-LOG_LINES:]
    except Unreadable:
        log = []
    return TunerError(title, "\n".join(["The worker's log ends with:", *log]) if log else "")
