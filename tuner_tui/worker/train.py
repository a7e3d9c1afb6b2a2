"""The training job: reads a run's spec and plan, runs its method, and ends with exactly one terminal event."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

import msgspec
import psutil

from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import TunerError
from tuner_tui.planning.plan import decode_plan
from tuner_tui.runs.events import Event, RunFailed, RunStopped, WorkerStarted
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.journal import EventWriter
from tuner_tui.worker.job import Job, RequestWatcher, StopRequested

if TYPE_CHECKING:
    from pathlib import Path


def main(path: Path, *, is_resumed: bool) -> int:
    """Run the job in a run's folder. The exit code is 0 when the attempt's last event was written."""
    folder = RunFolder(path)
    events = EventWriter(folder.events)
    events.write(WorkerStarted(pid=os.getpid(), process_started_at=psutil.Process().create_time()))
    try:
        job = Job(folder, read_spec(folder.spec), decode_plan(folder.plan.read_bytes()), events)
    except (TunerError, OSError, msgspec.DecodeError) as error:
        traceback.print_exc()
        events.write(_explained(error))
        return 1
    signal.signal(signal.SIGTERM, lambda *_: job.stop.set())
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    watcher = RequestWatcher(job)
    watcher.start()
    ending = _attempt(job, is_resumed=is_resumed)
    watcher.close()
    events.write(ending)
    events.close()
    sys.stdout.flush()
    return 1 if isinstance(ending, RunFailed) else 0


def _attempt(job: Job, *, is_resumed: bool) -> Event:
    """Run the method; whatever happens becomes the terminal event."""
    try:
        if is_resumed:
            job.resume_from = _checkpoint_to_resume(job)
        job.enter("loading", "starting PyTorch")
        from tuner_tui.worker import machine

        machine.set_threads()
        from tuner_tui.worker.methods import sft

        return sft.run(job)
    except StopRequested:
        return RunStopped(step=0, checkpoint=None, seconds=job.seconds)
    except Exception as error:  # the one place that turns any failure into the run's end
        traceback.print_exc()
        return _explained(error, job)


def _checkpoint_to_resume(job: Job) -> Path | None:
    from tuner_tui.worker.checkpoints import checkpoint_folders, last_whole_checkpoint, what_is_broken

    whole = last_whole_checkpoint(job.folder.checkpoints)
    for folder in checkpoint_folders(job.folder.checkpoints):
        fault = what_is_broken(folder)
        if fault:
            job.warn(f"{folder.name} cannot be used: {fault}.", "An earlier checkpoint is taken, or a new start.")
    return whole


def _explained(error: Exception, job: Job | None = None) -> RunFailed:
    from tuner_tui.worker.failures import explain

    return explain(error, job.step if job else None)

