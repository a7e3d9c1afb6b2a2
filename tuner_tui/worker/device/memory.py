"""Measures how much memory a run takes, compares it with the estimate for the same rows, and stores the measurement."""

from __future__ import annotations

import contextlib
import logging
import statistics
import time
from typing import TYPE_CHECKING, Any

import psutil
import torch
from transformers import TrainerCallback

from tuner_tui.models.source import ModelSource
from tuner_tui.planning.estimate import estimate_memory
from tuner_tui.planning.measurement import Measured
from tuner_tui.planning.place import Place, Rows, is_stored, leave_free_bytes, with_rows, workload_of
from tuner_tui.planning.shape import shape_of
from tuner_tui.planning.this_machine import facts_of
from tuner_tui.runs.events import DataPrepared, StepLogged, decode_lines
from tuner_tui.runs.lineage import with_adapter_of
from tuner_tui.runs.measurements import write_measured
from tuner_tui.versions import installed_version
from tuner_tui.worker.device.power import PowerMeter
from tuner_tui.worker.job import Job, StopRequested

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.models.facts import ModelFacts
    from tuner_tui.planning.shape import ModelShape
    from tuner_tui.planning.workload import Checkpointing, LoadedAs, Workload
    from tuner_tui.worker.device.machine import Machine

PROBE_MARK = "probe"
"""Marker file in a run's folder: the run is a memory probe."""
PROBE_STEPS = 3
LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes")
_log = logging.getLogger(__name__)


class ProbeDone(StopRequested):
    """A probe has finished its steps."""


class MemoryMeter(TrainerCallback):
    """Measures from before the model is loaded to the last step; a probe ends after its third step."""

    def __init__(self, job: Job, machine: Machine) -> None:
        self._job, self._machine = job, machine
        self._baseline = job.baseline_bytes
        self._is_probe = (job.folder.path / PROBE_MARK).exists()
        self._power = PowerMeter(_pid(), is_gpu=machine.is_gpu)
        self._is_settled = False
        self._taken = 0
        """Bytes that the run had taken when its measurement was settled."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._power.look()
        if self._is_probe and state.global_step >= PROBE_STEPS:
            self.keep()
            raise ProbeDone

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self._is_settled:
            self.keep()

    def settle(self) -> None:
        """Store the measurement so far as the last one: what follows takes memory on the CPU that is not the run's."""
        if not self._is_settled:
            self.keep()
            self._taken = self._measured_bytes()[0]
        self._is_settled = not self._machine.is_gpu

    def keep(self) -> None:
        """Store the measurement; a failure here never ends a run."""
        try:
            self._power.look(is_last=True)
            measured = self.measured()
            if measured is not None:
                write_measured(self._job.folder.path, measured)
        except Exception:  # measuring is a by-product
            _log.exception("the memory could not be measured")

    def measured(self) -> Measured | None:
        """The memory and speed of this run so far; None where its model's sizes are not known."""
        job, machine = self._job, self._machine
        workload = self._workload()
        if workload is None:
            return None
        facts, shape, load = workload
        steps = [
            event for event in decode_lines(job.folder.events.read_bytes()) if isinstance(event, StepLogged)
        ]
        allocated, reserved, context = self._measured_bytes()
        timed = [step for step in steps if step.seconds]
        timed = timed[1:] or timed  # the first step includes warm-up
        return Measured(
            at=time.time(), device_name=device_name(is_gpu=machine.is_gpu),
            driver=_driver() if machine.is_gpu else None,
            versions={name: version for name in LIBRARIES if (version := installed_version(name))},
            is_gpu=machine.is_gpu, model_name=job.plan.model_name, method=load.method, tuning=load.tuning,
            loaded_as=load.loaded_as,
            is_checkpointing=load.checkpointing != "off", micro_batch=load.rows, length=load.length,
            predicted_bytes=estimate_memory(shape, load, facts.weight_bytes).allocated,
            allocated_bytes=allocated, reserved_bytes=reserved, context_bytes=context, steps=len(steps),
            seconds_per_step=statistics.median(step.seconds for step in timed) if timed else None,
            tokens_per_second=statistics.median(step.tokens / step.seconds for step in timed) if timed else None,
            watts=self._power.watts,
        )  # fmt: skip

    def would_fit(
        self, micro_batch: int | None = None, *, is_checkpointing: bool | None = None
    ) -> bool | None:
        """Whether the run would fit with another micro-batch, or with or without checkpointing; None where unknown.

        The memory that it has taken so far is scaled by the estimates of both, and a tenth of what is free stays free.
        """
        workload = self._workload()
        if workload is None or self._job.shape is None:
            return None
        facts, shape, load = workload
        on = load.checkpointing != "off" if is_checkpointing is None else is_checkpointing
        changed = with_rows(load, self._job.spec, micro_batch or load.rows, "on" if on else "off")
        now = estimate_memory(shape, load, facts.weight_bytes).allocated
        then = estimate_memory(shape, changed, facts.weight_bytes).allocated
        taken = self._taken or self._measured_bytes()[0]
        more = taken * then / max(1, now) - taken
        return more <= 0.9 * (_free_bytes(is_gpu=self._machine.is_gpu) - leave_free_bytes())

    def _measured_bytes(self) -> tuple[int, int | None, int | None]:
        """(allocated, reserved, context); see the fields of Measured."""
        return _gpu_bytes() if self._machine.is_gpu else _process_bytes(self._baseline)

    def _workload(self) -> tuple[ModelFacts, ModelShape, Workload] | None:
        """The model and the training step as the estimate takes them; None where the model's sizes are not known."""
        job, machine = self._job, self._machine
        events = decode_lines(job.folder.events.read_bytes())
        prepared = next((event for event in reversed(events) if isinstance(event, DataPrepared)), None)
        plan = job.plan
        path = _existing(plan.model_location)
        source = ModelSource(plan.model_kind, plan.model_name, path, None if path else plan.model_location)  # type: ignore[arg-type]
        facts = facts_of(source)
        shape = shape_of(facts) if facts is not None else None
        if facts is None or shape is None or prepared is None or job.shape is None:
            return None
        has_16_bit = machine.compute_dtype != torch.float32 or machine.autocast is not None
        place = Place(is_gpu=machine.is_gpu, has_16_bit=has_16_bit)
        loaded_as: LoadedAs = "bf16" if machine.precision == "fp16" else machine.precision
        loaded_as = "stored" if is_stored(facts) else loaded_as
        spec = (
            with_adapter_of(job.planned, job.folder.started_from) if plan.start is not None else job.planned
        )
        load = workload_of(spec, place, Rows(longest=prepared.longest_row), loaded_as=loaded_as)
        switch: Checkpointing = "on" if job.shape.is_checkpointing else "off"
        load = with_rows(load, job.spec, job.shape.micro_batch, switch, job.shape.concurrent)
        return facts, shape, load


def begin(job: Job) -> None:
    """Record the baseline: call this when the libraries are loaded and the model is not."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123 - a kernel switch
        file.write("5")  # resets the peak of resident memory
    job.baseline_bytes = _status("VmRSS") or 0


def _gpu_bytes() -> tuple[int, int | None, int | None]:
    """(peak allocated, peak reserved, context) in bytes."""
    from tuner_tui.hardware.gpu import read_gpus

    reserved = torch.cuda.memory_reserved()
    own_bytes = [
        process.memory_bytes
        for gpu in read_gpus().gpus
        for process in gpu.processes or ()
        if process.pid == _pid() and process.memory_bytes
    ]
    context = own_bytes[0] - reserved if own_bytes and own_bytes[0] > reserved else None
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved(), context


def _process_bytes(baseline: int) -> tuple[int, None, int]:
    """(growth of the resident peak, None, resident memory before the run) in bytes."""
    return max(0, (_status("VmHWM") or 0) - baseline), None, baseline


def _free_bytes(*, is_gpu: bool) -> int:
    """What the run could still take, with what the allocator holds and its peak did not need."""
    if is_gpu:
        unused = torch.cuda.memory_reserved() - torch.cuda.max_memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + max(0, unused)
    return int(psutil.virtual_memory().available)


def _status(name: str) -> int | None:
    """A value of /proc/self/status in bytes; None on systems without it."""
    try:
        with open("/proc/self/status") as file:  # noqa: PTH123 - not a path of ours
            for line in file:
                if line.startswith(f"{name}:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None


def device_name(*, is_gpu: bool) -> str:
    """The name of the GPU or the processor."""
    import platform

    return torch.cuda.get_device_name(0) if is_gpu else platform.processor() or platform.machine()


def _driver() -> str | None:
    from tuner_tui.hardware.gpu import read_gpus

    return read_gpus().driver_version


def _pid() -> int:
    import os

    return os.getpid()


def _existing(location: str) -> Path | None:
    from pathlib import Path

    return Path(location) if Path(location).exists() else None
