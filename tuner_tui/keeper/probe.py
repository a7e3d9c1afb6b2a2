"""Memory probe: three real training steps on the longest batch of the user's rows, before a run is started."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner_tui.errors import InputError, TunerError
from tuner_tui.files import make_empty, make_folder, write_atomic
from tuner_tui.keeper.measuring import explained, only_measurement, refuse_company
from tuner_tui.keeper.process import end_group, start_worker
from tuner_tui.models.check import check_source
from tuner_tui.models.source import find_source
from tuner_tui.planning.plan import Plan, encode_plan, make_plan
from tuner_tui.planning.row_lengths import LOOKED_AT, longest_rows
from tuner_tui.planning.this_machine import plan_here
from tuner_tui.runs.folder import SPEC_FILE, RunFolder
from tuner_tui.runs.lineage import as_started, find_start, keep_start
from tuner_tui.runs.measurements import all_measured, probes_dir, read_measured

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.planning.measurement import Measured

STEPS = 4
"""One more than are made: the worker ends the probe at the start of the fourth."""
PATIENCE_SECONDS = 900.0
KEPT_PROBES = 50
ROWS_FILE = "rows.jsonl"
"""The file with the longest rows while a probe runs."""


@dataclass(frozen=True)
class Probed:
    """A probe's measurement with its plan."""

    measured: Measured
    plan: Plan
    seconds: float


class ProbeCancelled(TunerError):
    """The probe was cancelled."""


class ProbeHandle:
    """Ends a probe from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._is_cancelled = False

    def cancel(self) -> None:
        """End the worker, or prevent its start; `run_probe` then raises ProbeCancelled."""
        with self._lock:
            self._is_cancelled = True
            if self._worker is not None and self._worker.returncode is None:
                end_group(self._worker.pid)

    def take(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Start the worker. Raises ProbeCancelled if the probe was cancelled before."""
        with self._lock:
            self.check()
            self._worker = start()
            return self._worker

    def check(self) -> None:
        """Raise ProbeCancelled if the probe was cancelled."""
        if self._is_cancelled:
            raise ProbeCancelled("The probe was cancelled", "Nothing was stored.")


def run_probe(
    spec: RunSpec, patience_seconds: float = PATIENCE_SECONDS, handle: ProbeHandle | None = None
) -> Probed:
    """Run three steps of a spec on its longest rows in a worker; only the measurement is stored.

    Raises TunerError when a run is training, when spec, model or data cannot be used, and with the worker's message
    when the steps fail, for example out of memory; ProbeCancelled when `handle` cancels it.
    """
    handle = handle or ProbeHandle()
    refuse_company("A probe")
    source = find_source(spec.model.source, spec.model.revision)
    check_source(source)
    start = find_start(spec, source)
    memory = plan_here(as_started(spec, source), source, all_measured())
    micro = memory.micro_batch if memory else spec.training.micro_batch or 1
    began = time.monotonic()
    lock = only_measurement()
    folder = RunFolder(probes_dir() / time.strftime("%Y-%m-%d-%H%M%S"))
    try:
        plan = _make_folder(folder, spec, make_plan(spec, source, start, memory), micro)
        worker = handle.take(lambda: start_worker(folder, lock, plan.threads, is_resumed=False))
        try:
            worker.wait(timeout=patience_seconds)
        finally:
            end_group(worker.pid)
            worker.wait()
    except OSError as error:
        raise TunerError(
            "The probe's folder cannot be created", f"{folder.path}: {error.strerror}."
        ) from error
    except subprocess.TimeoutExpired:
        raise TunerError(
            "The probe takes too long", f"No answer in {patience_seconds:g} s.", str(folder.log)
        ) from None
    finally:
        folder.owned.discard(folder.path / ROWS_FILE)  # the user's rows
        folder.owned.discard(folder.started_from)
        lock.release()
    measured = read_measured(folder.path)
    if measured is None:
        handle.check()
        raise explained(folder, "probe")
    _tidy()
    return Probed(measured, plan, time.monotonic() - began)


def probe_spec(spec: RunSpec, rows: Path, micro_batch: int) -> RunSpec:
    """The spec with three steps on the given rows, without evaluation, samples or checkpoints."""
    rounds = (
        1 if spec.training.batch_size <= micro_batch else 2
    )  # gradients are accumulated if the run would accumulate them
    data = type(spec.data)(train=str(rows), template=spec.data.template)
    training = spec.training.model_copy(
        update={
            "batch_size": rounds * micro_batch,
            "micro_batch": micro_batch,
            "max_steps": STEPS,
            "epochs": 1000.0,
        }
    )
    return spec.model_copy(
        update={
            "name": None, "data": data, "training": training, "evaluation": type(spec.evaluation)(),
            "samples": type(spec.samples)(), "checkpoints": type(spec.checkpoints)(every_steps=1_000_000),
        }
    )  # fmt: skip


def _make_folder(folder: RunFolder, spec: RunSpec, plan: Plan, micro_batch: int) -> Plan:
    from tuner_tui.config.spec_writer import spec_text
    from tuner_tui.data.recognition.reading import plain_rows, training_reading

    folder.owned.claim()
    for inner in (folder.control, folder.checkpoints):
        make_folder(inner)
    if plan.start is not None:
        keep_start(plan.start, folder.path)
    rows = folder.path / ROWS_FILE
    read = (row for _, _, row in plain_rows(training_reading(spec.data, spec.training.seed)).strict())
    longest = longest_rows(itertools.islice(read, LOOKED_AT), _tokenizer(spec), spec.training.max_length)
    if not longest:
        raise InputError("There are no rows", f"{spec.data.train} has none.")
    probe = probe_spec(spec, rows, micro_batch)
    wanted = itertools.islice(itertools.cycle(longest), STEPS * probe.training.batch_size)
    lines = (json.dumps(row, ensure_ascii=False, default=_plain) + "\n" for row in wanted)
    write_atomic(rows, "".join(lines))
    write_atomic(folder.path / "probe", "")
    write_atomic(folder.spec, spec_text(probe))
    write_atomic(folder.plan, encode_plan(plan))
    for empty in (folder.events, folder.log, folder.lock):
        make_empty(empty)
    assert folder.spec.name == SPEC_FILE
    return plan


def _tokenizer(spec: RunSpec) -> Path | None:
    from tuner_tui.models.tokenizer_folder import tokenizer_folder

    try:
        return tokenizer_folder(spec.model.source)
    except TunerError:
        return None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value)


def _tidy() -> None:
    """Delete all but the newest probes' measurements."""
    folders = sorted((path for path in probes_dir().iterdir() if path.is_dir()), key=lambda path: path.name)
    for folder in folders[:-KEPT_PROBES]:
        RunFolder(folder).owned.discard_all()
    for folder in folders[-KEPT_PROBES:]:
        RunFolder(folder).owned.discard(folder / "checkpoints")
