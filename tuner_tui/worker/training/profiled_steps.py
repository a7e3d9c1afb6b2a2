"""Marks the parts of a training step, and measures a few steps with torch.profiler when that is asked for.

Without a profile under way nothing is marked and nothing is hooked. A profile reads no random numbers and changes no
tensor, so that the run's losses are the same, bit for bit.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import torch
from torch._C._profiler import _ExperimentalConfig
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from tuner_tui.runs.events import StepsProfiled
from tuner_tui.runs.profiles import PROFILE_FILE, WARM_UP_STEPS, measured_steps, read_order, write_profile
from tuner_tui.worker.device.memory import MemoryMeter
from tuner_tui.worker.job import StopRequested
from tuner_tui.worker.training.step_time import (
    HEAD_DONE,
    PREFIX,
    BatchCount,
    Clock,
    StepTime,
    count_batch,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from tuner_tui.worker.device.machine import Machine

REMEMBERED = 10
"""Steps without the profiler that a profile is compared with."""
_Trainer: Any = object  # the real base comes from the class that this is mixed into
_log = logging.getLogger(__name__)


class ProfileDone(StopRequested):
    """A run that was made for its profile alone has made its steps."""


class ProfiledSteps(_Trainer):  # type: ignore[misc]
    """A mixin for the trainers of all methods, before the other ones, so that their work is inside the parts."""

    profiler: StepProfiler | None = None

    def train(self, *arguments: Any, **named: Any) -> Any:
        try:
            return super().train(*arguments, **named)
        finally:
            if self.profiler is not None:
                self.profiler.close()

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:
        """Called first in each step, so that a step reaches from one call to the next."""
        if self.profiler is None:
            return super().get_batch_samples(*arguments, **named)
        self.profiler.begin_step(self.state.global_step)
        with self.profiler.part("data"):
            batches, items = super().get_batch_samples(*arguments, **named)
        self.profiler.note(batches)
        return batches, items

    def training_step(self, *arguments: Any, **named: Any) -> Any:
        if self.profiler is None:
            return super().training_step(*arguments, **named)
        with self.profiler.computing():
            return super().training_step(*arguments, **named)

    def _prepare_inputs(self, *arguments: Any, **named: Any) -> Any:
        with self._part("data"):
            return super()._prepare_inputs(*arguments, **named)

    def compute_loss(self, *arguments: Any, **named: Any) -> Any:
        """All but the layers of the model, which are hooked, is the loss head."""
        with self._part("head"):
            return super().compute_loss(*arguments, **named)

    def _clip_grad_norm(self, *arguments: Any, **named: Any) -> Any:
        with self._part("optimizer", always=True):
            return super()._clip_grad_norm(*arguments, **named)

    def _get_grad_norm(self, *arguments: Any, **named: Any) -> Any:
        with self._part("optimizer", always=True):
            return super()._get_grad_norm(*arguments, **named)

    def _maybe_log_save_evaluate(self, *arguments: Any, **named: Any) -> None:
        with self._part("callbacks", always=True):
            super()._maybe_log_save_evaluate(*arguments, **named)

    def _part(self, name: str, *, always: bool = False) -> AbstractContextManager[Any]:
        if self.profiler is None or not (always or self.profiler.is_computing):
            return contextlib.nullcontext()
        return self.profiler.part(name)


class StepProfiler:
    """Times each step, and records some of them when the run is asked to, or was made for it."""

    def __init__(self, trainer: Any, machine: Machine) -> None:
        self.trainer, self.job, self.machine = trainer, trainer.job, machine
        self.is_computing = False
        """Whether a micro-batch is computed, and not held-out rows or a sample."""
        self.order = read_order(self.job.folder.path)
        self.plain: deque[StepTime] = deque(maxlen=REMEMBERED)
        self.measured: list[StepTime] = []
        self.first_step = 0
        self.began_at = 0
        """Steps of the run that earlier workers made."""
        self._profile: profile | None = None
        self._recorded = 0
        """Steps that began since the profiler was started."""
        self._steps = 0
        self._clock: Clock | None = None
        self._batches: list[BatchCount] = []
        self._open = threading.local()
        self._undo = contextlib.ExitStack()

    @property
    def wanted_steps(self) -> int:
        """How many steps a profile measures."""
        asked = self.order.measured if self.order else None
        return asked or measured_steps(self.trainer.args.gradient_accumulation_steps)

    def part(self, name: str) -> AbstractContextManager[Any]:
        """Mark what is done within as a part of the step; nothing unless a profile is under way."""
        return contextlib.nullcontext() if self._profile is None else record_function(PREFIX + name)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """A micro-batch is computed within."""
        self.is_computing = True
        try:
            yield
        finally:
            self.is_computing = False

    def note(self, batches: Sequence[Any]) -> None:
        """Count the rows and tokens of the step that has begun."""
        self._batches = [count for batch in batches if (count := count_batch(batch)) is not None]

    def begin_step(self, done: int) -> None:
        """A step begins; `done` steps of the run were made before. Raises ProfileDone."""
        if self._clock is not None:
            self._keep_time(self._clock)
        elif not self._steps:
            self.began_at = done
        try:
            self._advance(done)
        except ProfileDone:
            raise
        except Exception as error:  # measuring never ends a run
            self._fail(error)
        self._steps += 1
        self._clock = Clock()

    def close(self) -> None:
        """End a profile that is under way, without a result."""
        if self._profile is not None:
            under_way, self._profile = self._profile, None
            self._undo.close()
            with contextlib.suppress(RuntimeError):
                under_way.on_trace_ready = None
                under_way.stop()

    def _keep_time(self, clock: Clock) -> None:
        step = clock.time(self._batches)
        if self._profile is None:
            if self._steps > 1:  # the first step warms up
                self.plain.append(step)
        elif self._recorded > 1:  # the first one with the profiler warms it up
            self.measured.append(step)

    def _advance(self, done: int) -> None:
        """Start, continue or end a profile, between two steps."""
        order = self.order
        if self._profile is None:
            if order is not None and self._steps >= order.steps(
                self.trainer.args.gradient_accumulation_steps
            ):
                self._finish()
                raise ProfileDone
            if order is not None:
                is_due = self._steps == order.warm_up - 1
            else:
                is_due = self.job.profile.is_set() and self._steps >= WARM_UP_STEPS
            if is_due:
                self._start(done)
            return
        self._profile.step()
        self._recorded += 1
        if self._recorded > 1 + self.wanted_steps:
            self._stop()
            if order is None:
                self._finish()

    def _start(self, done: int) -> None:
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, MemoryMeter):
                callback.settle()  # a trace takes memory, which is not the run's
        self.measured, self._recorded = [], 1
        self.first_step = done + 2  # the one between warms the profiler up
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * self.machine.is_gpu
        self._profile = profile(
            activities=activities,
            schedule=schedule(wait=0, warmup=1, active=self.wanted_steps, repeat=1),
            on_trace_ready=lambda _: None,
            experimental_config=_ExperimentalConfig(profile_all_threads=True),
        )
        self._hook()
        self._profile.start()

    def _stop(self) -> None:
        assert self._profile is not None
        self._trace, self._profile = self._profile, None
        self._undo.close()
        self._trace.stop()

    def _finish(self) -> None:
        """Compute the profile, and write it."""
        from tuner_tui.worker.training.profile_figures import figures

        self.job.profile.clear()
        result = figures(self, self._trace)
        del self._trace
        write_profile(self.job.folder.path, result)
        self.job.emit(StepsProfiled(first_step=result.first_step, steps=result.steps, path=PROFILE_FILE))

    def _fail(self, error: Exception) -> None:
        _log.error("the steps cannot be profiled", exc_info=error)
        self.job.profile.clear()
        self.close()
        first = next(iter(str(error).splitlines()), type(error).__name__)
        self.job.warn(f"The steps could not be profiled: {first}", "The run continues; worker.log has more.")
        if self.order is not None:
            raise ProfileDone

    def plain_seconds(self, padded: float) -> float | None:
        """The usual time of a step of so many tokens, padding included, without the profiler; None if there is none."""
        rates = [step.seconds / step.padded for step in self.plain if step.padded]
        return statistics.median(rates) * padded if rates and padded else None

    # -- hooks, which are there only while a profile is under way ------------------------------------------------

    def _hook(self) -> None:
        """Mark the model's layers, the backward pass and the callbacks."""
        trainer = self.trainer
        for model in (trainer.model, getattr(trainer, "ref_model", None)):
            if model is not None:
                layers = layers_of(model)
                for handle in (
                    layers.register_forward_pre_hook(self._enter_forward),
                    layers.register_forward_hook(self._leave_forward, always_call=True),
                ):
                    self._undo.callback(handle.remove)
        self._wrap(trainer.accelerator, "backward", "backward")
        self._wrap(trainer.callback_handler, "call_event", "callbacks")

    def _wrap(self, owner: Any, name: str, part: str) -> None:
        """Mark the calls of an object's method as a part, until the profile ends."""
        method: Callable[..., Any] = getattr(owner, name)

        def marked(*arguments: Any, **named: Any) -> Any:
            with self.part(part):
                return method(*arguments, **named)

        setattr(owner, name, marked)
        self._undo.callback(delattr, owner, name)

    def _enter_forward(self, module: Any, given: Any) -> None:
        if self.is_computing:
            marked = record_function(PREFIX + "forward")
            marked.__enter__()  # type: ignore[no-untyped-call]
            self._opened().append(marked)

    def _leave_forward(self, module: Any, given: Any, output: Any) -> None:
        if self._opened():
            self._opened().pop().__exit__(None, None, None)
            hidden = output[0] if isinstance(output, (tuple, dict)) and len(output) else output
            if isinstance(hidden, torch.Tensor) and hidden.requires_grad:
                hidden.register_hook(self._leave_head)  # type: ignore[no-untyped-call]

    def _leave_head(self, gradient: torch.Tensor) -> None:
        if self._profile is not None:
            with record_function(PREFIX + HEAD_DONE):
                pass

    def _opened(self) -> list[record_function]:
        """The forward passes under way in this thread."""
        if not hasattr(self._open, "parts"):
            self._open.parts = []
        opened: list[record_function] = self._open.parts
        return opened


def layers_of(model: Any) -> torch.nn.Module:
    """The model without its output layer, or the model itself where transformers does not tell them apart."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers: torch.nn.Module = getattr(inner, "base_model", inner)
    return layers
