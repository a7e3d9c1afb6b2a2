"""Reports the training's steps, evaluations and samples as events, and applies the user's requests."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from tuner_tui.config.reference import compares
from tuner_tui.errors import TunerError
from tuner_tui.planning.warm_up import short_run
from tuner_tui.runs.events import (
    Evaluated,
    OverheadMeasured,
    PhaseEntered,
    StepLogged,
    TrainingStarted,
    finite,
)
from tuner_tui.worker.training.chosen_likelihood import FallWatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tuner_tui.worker.job import Job
    from tuner_tui.worker.training.samples import Sampler

SAMPLINGS_PER_RUN = 5
OWN_KEYS = {"loss", "grad_norm", "learning_rate", "epoch", "num_tokens", "step", "total_flos"}


class NotFinite(TunerError):
    """The loss became NaN or infinite."""


class ReportingCallback(TrainerCallback):
    """Turns the trainer's hooks into events, and requests into the trainer's control flags."""

    def __init__(self, job: Job, sampler: Sampler) -> None:
        self._job = job
        self._sampler = sampler
        self._step_began = 0.0
        self._last_seconds = 0.0
        self._tokens_before = 0
        self._steps_here = 0
        method = job.spec.method
        self._falls = FallWatch(getattr(method, "beta", None) if compares(method.kind) else None)
        self._saved_at = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        resumed_from = self._job.resume_from
        self._job.emit(
            TrainingStarted(
                total_steps=state.max_steps,
                from_step=state.global_step,
                micro_batch=args.per_device_train_batch_size,
                accumulation=args.gradient_accumulation_steps,
                shape=self._job.shape,
                checkpoint=resumed_from.name if resumed_from else None,
            )
        )
        warning = short_run(self._job.spec, state.max_steps)
        if warning is not None and resumed_from is None:
            self._job.warn(warning.message, warning.hint)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._step_began = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        with self._own_time():
            self._job.step = state.global_step
            control.should_log = True
            if self._job.stop.is_set():
                control.should_training_stop = True
                control.should_save |= not _ends_epoch(state)
            elif self._job.save.is_set() or self._is_time_to_save():
                control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._saved_at = time.monotonic()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A stop at the end of an epoch saves after its evaluation; within an epoch it has already been saved."""
        if self._job.stop.is_set() and state.global_step < state.max_steps:
            control.should_training_stop = True
            control.should_evaluate &= _ends_epoch(state)
            control.should_save = _ends_epoch(state)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        # Reading the loss has synchronised with the device, so only now is the step over.
        self._last_seconds = time.perf_counter() - self._step_began
        self._job.times.steps += self._last_seconds
        self._steps_here += 1
        with self._own_time():
            self._report_step(args, state, logs)
        unusable = [name for name in ("loss", "grad_norm") if not math.isfinite(logs.get(name, 0.0))]
        if args.fp16 and unusable == ["grad_norm"]:
            unusable = []  # the gradient scaler skips such a step and continues with a smaller scale
        if unusable and state.global_step not in self._job.skipped:
            raise NotFinite(
                f"The {'loss' if 'loss' in unusable else 'gradient'} is not a finite number",
                f"At step {state.global_step} it became {logs[unusable[0]]}.",
                "Lower training.learning_rate, or check the rows of that step for bad text.",
            )
        self._sample_if_due(state)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if metrics is None:
            return
        seconds = metrics.get("eval_runtime", 0.0)
        self._job.times.evaluations += seconds
        with self._own_time():
            loss = finite(metrics.get("eval_loss"))
            best = state.best_metric
            self._job.emit(
                Evaluated(
                    step=state.global_step,
                    loss=loss,
                    seconds=seconds,
                    is_best=loss is not None and (best is None or loss < best),
                    metrics=_other(metrics, "eval_"),
                )
            )
            self._job.phase = "training"
            self._job.emit(PhaseEntered(phase="training"))

    def report_overhead(self) -> None:
        """Report where the time went."""
        times = self._job.times
        self._job.emit(
            OverheadMeasured(
                step_seconds=times.steps,
                callback_seconds=times.callbacks,
                sample_seconds=times.samples,
                evaluation_seconds=times.evaluations,
                checkpoint_seconds=times.checkpoints,
            )
        )

    def _is_time_to_save(self) -> bool:
        minutes = self._job.spec.checkpoints.every_minutes
        return minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes

    def _report_step(self, args: TrainingArguments, state: TrainerState, logs: dict[str, float]) -> None:
        tokens = int(logs.get("num_tokens", self._tokens_before))
        self._job.emit(
            StepLogged(
                step=state.global_step,
                total_steps=state.max_steps,
                epoch=float(state.epoch or 0.0),
                loss=finite(logs["loss"]),
                grad_norm=finite(logs.get("grad_norm")),
                learning_rate=finite(logs.get("learning_rate")),
                tokens=max(0, tokens - self._tokens_before),
                seconds=self._last_seconds,
                peak_memory_bytes=torch.cuda.max_memory_allocated() if args.device.type == "cuda" else None,
                metrics=_other(logs, ""),
            )
        )
        self._tokens_before = tokens
        if self._falls.has_fallen(logs):
            self._job.warn(
                "Chosen answers become less likely together with the rejected ones.",
                "A lower training.learning_rate or a higher method.beta limits this, as does method.sft_weight "
                "if the method has it.",
            )

    def _sample_if_due(self, state: TrainerState) -> None:
        if not self._sampler.is_wanted or self._job.stop.is_set():
            self._job.sample.clear()
            return
        every = self._job.spec.samples.every_steps or max(1, math.ceil(state.max_steps / SAMPLINGS_PER_RUN))
        is_asked = self._job.sample.is_set()
        is_last = state.global_step == state.max_steps
        if not (is_asked or is_last or state.global_step % every == 0):
            return
        self._job.sample.clear()
        self._job.phase = "sampling"
        mean_step = self._job.times.steps / max(1, self._steps_here)
        self._sampler.answer(
            state.global_step, mean_step * state.max_steps, is_asked=is_asked, is_last=is_last
        )
        self._job.phase = "training"

    @contextlib.contextmanager
    def _own_time(self) -> Iterator[None]:
        """Count the block's time as time of our callbacks."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._job.times.callbacks += time.perf_counter() - started


def _ends_epoch(state: TrainerState) -> bool:
    return float(state.epoch or 0.0).is_integer()


def _other(logs: dict[str, Any], prefix: str) -> dict[str, float]:
    """The method's own finite metrics, without the trainer's prefix."""
    metrics = {}
    for name, value in logs.items():
        key = name.removeprefix(prefix)
        if name.startswith(prefix) and key not in OWN_KEYS and isinstance(value, (int, float)):
            if key.endswith(("runtime", "_per_second")) or not math.isfinite(value):
                continue
            metrics[key] = float(value)
    return metrics
