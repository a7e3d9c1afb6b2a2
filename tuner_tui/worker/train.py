"""The training job: reads a run's spec and plan, runs its method, and ends with exactly one terminal event."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import sys
import threading
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import InputError, TunerError
from tuner_tui.guarded import Unreadable
from tuner_tui.planning.plan import read_plan
from tuner_tui.runs.events import (
    TERMINAL,
    Event,
    MemoryShort,
    RolledBack,
    RunFailed,
    RunStopped,
    WorkerStarted,
)
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.journal import EventWriter
from tuner_tui.text import shell_command
from tuner_tui.versions import library_versions
from tuner_tui.worker.job import Job, RequestWatcher, StopRequested
from tuner_tui.worker.run_folder import enter
from tuner_tui.worker.text import template_time
from tuner_tui.worker.training.checkpoints import (
    checkpoint_folders,
    read_manifest,
    refused_file,
    remove_leftovers,
    step_of,
    why_corrupt,
)
from tuner_tui.worker.unneeded import leave_out_unneeded

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.planning.plan import Plan

LEFT_TO_KEEPER = 75
"""Exit code of a worker after which the keeper decides whether another worker continues."""
NICENESS = 5
"""Keeps the app responsive while a worker computes."""
_log = logging.getLogger(__name__)


def main(path: Path, *, is_resumed: bool) -> int:
    """Be a run's worker process: signals, priority, then the job. The exit code is 1 when the job failed."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    os.nice(NICENESS)
    return _do_job(enter(path), is_resumed=is_resumed, stop=stop, has_own_process=True)


def run_job(path: Path, *, is_resumed: bool = False, stop: threading.Event | None = None) -> int:
    """Do the job in a run's folder; `stop` ends it after the current step."""
    return _do_job(RunFolder(path), is_resumed=is_resumed, stop=stop)


def _do_job(
    folder: RunFolder, *, is_resumed: bool, stop: threading.Event | None, has_own_process: bool = False
) -> int:
    now = datetime.now().replace(microsecond=0)
    template_time.fix(template_time.run_began(folder.events) or now)
    events = EventWriter(folder.events)
    events.write(WorkerStarted(pid=os.getpid(), local_time=now.isoformat()))
    try:
        job = Job(folder, read_spec(folder.spec), _read_plan(folder), events)
    except (TunerError, OSError) as error:
        _log.exception("the run's folder cannot be read")
        events.write(_explained(error))
        return 1
    if has_own_process:
        leave_out_unneeded(job.planned, job.plan)
    job.stop = stop or job.stop
    watcher = RequestWatcher(job)
    watcher.start()
    ending = _attempt(job, is_resumed=is_resumed)
    watcher.close()
    with contextlib.suppress(OSError):  # what could not be deleted because the folder was renamed meanwhile
        remove_leftovers(job.folder.owned, job.folder.path, job.folder.checkpoints)
    if (
        not isinstance(ending, TERMINAL) and job.stop.is_set()
    ):  # the next worker would not know of the request
        ending = _stopped(job)
    job.emit_last(ending)
    events.close()
    sys.stdout.flush()
    return 1 if isinstance(ending, RunFailed) else LEFT_TO_KEEPER if not isinstance(ending, TERMINAL) else 0


def _read_plan(folder: RunFolder) -> Plan:
    """The run's plan. Raises InputError when it is missing or damaged."""
    try:
        return read_plan(folder.plan)
    except Unreadable as error:
        raise InputError(
            "The run's plan cannot be read",
            f"{folder.place / folder.plan.name}: {error.problem}.",
            f"Start a new run: {shell_command('train', str(folder.place / folder.spec.name))}",
        ) from error


def _attempt(job: Job, *, is_resumed: bool) -> Event:
    """Run the method; the outcome, errors included, becomes the worker's last event."""
    try:
        remove_leftovers(job.folder.owned, job.folder.path, job.folder.checkpoints)
        if is_resumed:
            job.resume_from = _checkpoint_to_resume(job)
            job.checkpoint = job.resume_from.name if job.resume_from else None
        job.enter("loading", "starting PyTorch")
        from tuner_tui.worker.device import machine

        machine.set_threads()
        return _run_method(job)
    except StopRequested:
        return _stopped(job)
    except Exception as error:  # the one place that turns any failure into the run's end
        _log.exception("the attempt failed")
        return _left_to_keeper(error, job) or _explained(_refused(error, job), job)


def _refused(error: Exception, job: Job) -> Exception:
    """Our own words for a checkpoint's file that PyTorch refuses: its advice is to load it all the same."""
    if not isinstance(error, pickle.UnpicklingError) or job.resume_from is None:
        return error
    path = refused_file(job.resume_from)
    place = job.folder.place / (path or job.resume_from)
    return InputError(
        "The checkpoint was not made by training",
        f"{place}: it holds more than tensors and numbers. Loading such a pickle could run any code, so it never is.",
        "Delete that checkpoint's folder to resume from an earlier one, or start the run anew.",
    )


def _stopped(job: Job) -> RunStopped:
    """The ending of a run that was asked to stop and makes no further step."""
    begun = step_of(job.resume_from) if job.resume_from else 0
    return RunStopped(
        step=job.step or begun,
        checkpoint=job.newest_checkpoint(),
        seconds=job.seconds,
        is_pause=job.pause.is_set(),
    )


def _run_method(job: Job) -> Event:
    """Import only the module of the run's method: some import slow libraries."""
    method = import_module(f"tuner_tui.worker.methods.{job.spec.method.kind}")
    ending: Event = method.run(job, job.spec.method)
    return ending


def _left_to_keeper(error: Exception, job: Job) -> Event | None:
    """The event for an error that another worker may recover from: out of memory, or a loss spike to roll back."""
    from tuner_tui.worker.model.loading import is_out_of_memory
    from tuner_tui.worker.training.guarded_steps import OutOfMemory, WentBad

    if isinstance(error, WentBad):
        return RolledBack(step=error.step, checkpoint=job.newest_checkpoint(), reason=str(error))
    if isinstance(error, OutOfMemory) or is_out_of_memory(error):
        return MemoryShort(
            where=job.phase,
            step=job.step,
            message=next(iter(str(error).splitlines()), "")[:300],
            checkpoint=error.checkpoint if isinstance(error, OutOfMemory) else None,
            shape=job.shape,
            has_made_steps=job.step > 0,
        )
    return None


def _checkpoint_to_resume(job: Job) -> Path | None:
    """The newest complete checkpoint; corrupt ones are reported. Raises TunerError when none can be read."""
    try:
        os.listdir(job.folder.checkpoints)  # noqa: PTH208 - Path.glob ignores a folder that cannot be read
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TunerError(
            "The checkpoints cannot be read",
            f"{job.folder.place / job.folder.checkpoints.name}: {error.strerror or error}.",
            f"Without them the run would start over. Fix that, then: {shell_command('runs resume', job.folder.name)}",
        ) from error
    for folder in reversed(checkpoint_folders(job.folder.checkpoints)):
        fault = why_corrupt(folder)
        if fault is None:
            _require_same(job, folder)
            return folder
        job.corrupt.add(folder.name)
        job.warn(
            f"{folder.name} is corrupt: {fault}.", "An earlier checkpoint is used, or the run starts over."
        )
    return None


def _require_same(job: Job, checkpoint: Path) -> None:
    """Require the checkpoint's seed, and warn of changed library versions. Raises InputError."""
    manifest = read_manifest(checkpoint)
    seed = job.spec.training.seed
    if manifest.seed not in (None, seed):
        raise InputError(
            "The seed has changed",
            f"{checkpoint.name} was trained with training.seed = {manifest.seed}, and run.toml now says {seed}.",
            f"Set training.seed = {manifest.seed} to resume, or start a new run.",
        )
    now = library_versions()
    changed = [
        f"{name} {was} -> {now.get(name, 'missing')}"
        for name, was in manifest.versions.items()
        if now.get(name) != was
    ]
    if changed:
        job.warn(
            f"Libraries changed since {checkpoint.name}: {', '.join(changed)}.",
            "The run continues, but no longer bit for bit as before.",
        )


def _explained(error: Exception, job: Job | None = None) -> RunFailed:
    from tuner_tui.worker.training.failures import explain

    return explain(error, job.step if job else None)
