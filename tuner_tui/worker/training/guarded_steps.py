"""Handles out-of-memory errors and bad losses in a step: save a checkpoint, skip the step, or roll back."""

from __future__ import annotations

import gc
import logging
import random
import statistics
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import IntervalStrategy, TrainerCallback

from tuner_tui.errors import TunerError
from tuner_tui.runs.events import Evaluated, MemoryShort, PhaseEntered, StepLogged, StepSkipped, decode_lines
from tuner_tui.text import counted
from tuner_tui.worker.model.loading import is_out_of_memory
from tuner_tui.worker.training.checkpoints import folder_name, step_of

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tuner_tui.worker.job import Job

MEDIAN_OF = 50
MEDIAN_FROM = 20
"""Steps required before a loss can count as a spike."""
_Trainer: Any = object  # the real base comes from the class that this is mixed into
_log = logging.getLogger(__name__)


class OutOfMemory(Exception):
    """Out of memory in training; `checkpoint` was saved after it."""

    def __init__(self, message: str, checkpoint: str | None) -> None:
        super().__init__(message)
        self.checkpoint = checkpoint


class WentBad(Exception):
    """A step's loss is bad; the run is to roll back to the checkpoint before it."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step = step


class LossSpiked(TunerError):
    """The loss is far above that of the previous steps."""


class GuardedSteps(_Trainer):  # type: ignore[misc]
    """A mixin for the trainers of all methods."""

    job: Job
    _step_loss = 0.0
    _losses: deque[float]
    _states: RandomStates

    def train(self, *arguments: Any, **named: Any) -> Any:
        """Train; on an out-of-memory error save a checkpoint if possible, then raise OutOfMemory."""
        self._losses = deque(maxlen=MEDIAN_OF)
        if self.job.resume_from is not None and self._is_watching:
            self._remember(step_of(self.job.resume_from))
        self._states = RandomStates()
        self.add_callback(self._states)
        self.add_callback(OverdueEvaluation(self))
        try:
            return super().train(*arguments, **named)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            _log.exception("out of memory")
            message = next(iter(str(error).splitlines()), "")[:300]
        # Only here, without the exception's frames, is the step's memory free.
        raise OutOfMemory(message, self._save_in_need())

    def _remember(self, last: int) -> None:
        """Restore the guards' state at step `last` from the events of earlier workers."""
        usual: dict[int, float] = {}
        for event in decode_lines(self.job.folder.events.read_bytes()):
            if isinstance(event, StepLogged) and event.loss is not None and event.step <= last:
                usual[event.step] = event.loss
            elif isinstance(event, StepSkipped) and event.step <= last:
                self.job.skipped.add(event.step)
        self._losses.extend(usual[step] for step in sorted(usual) if step not in self.job.skipped)

    def evaluate(self, *arguments: Any, **named: Any) -> Any:
        """Evaluate without changing the random state, so that evaluations do not affect training."""
        self.job.phase = "evaluating"
        self.job.emit(PhaseEntered(phase="evaluating"))
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            return super().evaluate(*arguments, **named)

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*arguments, **named)
        if self._is_watching:
            self._step_loss += loss.item()
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The gradient norm; called between backward and update, where a step can still be skipped."""
        norm = super()._get_grad_norm(model, grad_norm)
        step = self.state.global_step + 1
        if step in self.job.plan.skipped_steps:
            self._skip(step, "its loss was bad before")
        elif self._is_watching and (reason := self._what_is_bad(norm)):
            self._respond_to(step, reason)
        self._step_loss = 0.0
        return norm

    def _maybe_log_save_evaluate(self, *arguments: Any, **named: Any) -> None:
        super()._maybe_log_save_evaluate(*arguments, **named)
        if self.job.skipped:  # the trainer subtracts logged losses from a sum, which would stay NaN
            self._tr_loss.nan_to_num_(0.0)

    @property
    def _is_watching(self) -> bool:
        guards = self.job.spec.guards
        return guards.on_bad_loss != "stop" or guards.spike_factor is not None

    def _what_is_bad(self, norm: Any) -> str:
        loss, factor = self._step_loss, self.job.spec.guards.spike_factor
        if not np.isfinite(loss):
            return f"the loss became {loss}"
        if norm is not None and not self.args.fp16 and not np.isfinite(float(norm)):
            return f"the gradient norm became {float(norm)}"
        usual = statistics.median(self._losses) if len(self._losses) >= MEDIAN_FROM else None
        if factor is not None and usual is not None and loss > factor * usual > 0:
            return f"the loss of {loss:.4g} is {loss / usual:.1f} times the median of the previous steps"
        self._losses.append(loss)
        return ""

    def _respond_to(self, step: int, reason: str) -> None:
        guards = self.job.spec.guards
        if guards.on_bad_loss == "roll_back":
            raise WentBad(step, reason)
        if guards.on_bad_loss == "skip" and len(self.job.skipped) < guards.most_skips:
            self._skip(step, reason)
            return
        raise LossSpiked(
            "The loss is bad",
            f"At step {step} {reason}"
            + (f", after {counted(len(self.job.skipped), 'skipped step')}." if self.job.skipped else "."),
            "Lower training.learning_rate, look at that step's rows, or see guards.on_bad_loss.",
        )

    def _skip(self, step: int, reason: str) -> None:
        """Skip a step: without gradients the optimizer changes neither weights nor its states."""
        for parameter in self.model.parameters():
            parameter.grad = None
        self.job.skipped.add(step)
        self.job.emit(StepSkipped(step=step, reason=reason))

    def _save_in_need(self) -> str | None:
        """The name of a checkpoint of the last complete step; None when there is none or it cannot be saved."""
        self.wait_until_complete()
        step = self.state.global_step
        name = folder_name(step)
        target = self.job.folder.checkpoints / name
        if step == 0 or self._states.is_updating:
            return None
        if target.is_dir() and name not in self.job.corrupt:
            return name
        for parameter in self.model.parameters():
            parameter.grad = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._states.restore()
        try:
            self._save_checkpoint(self.model, trial=None)  # reports other failures itself
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            _log.exception("out of memory again, while saving")
            return None
        self.wait_until_complete()
        return name if self.job.checkpoint == name else None


class OverdueEvaluation(TrainerCallback):
    """Runs an evaluation that an out-of-memory error prevented: the checkpoint was saved before it."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        trainer = self._trainer
        if (
            trainer.job.resume_from is None
            or not _evaluates_at(args, state)
            or not self._was_prevented(state)
        ):
            return
        trainer._determine_best_metric(trainer._evaluate(None, None), None)

    def _was_prevented(self, state: TrainerState) -> bool:
        events = decode_lines(self._trainer.job.folder.events.read_bytes())
        at_this_step = [
            event
            for event in events
            if isinstance(event, (Evaluated, MemoryShort)) and event.step == state.global_step
        ]
        return bool(at_this_step) and not any(isinstance(event, Evaluated) for event in at_this_step)


def _evaluates_at(args: TrainingArguments, state: TrainerState) -> bool:
    """Whether an evaluation is due after the last step."""
    match args.eval_strategy:
        case IntervalStrategy.STEPS:
            return state.global_step % state.eval_steps == 0
        case IntervalStrategy.EPOCH:
            return float(state.epoch or 0.0).is_integer()
    return False


class RandomStates(TrainerCallback):
    """The random states at the start of each step, so that a failed step can be repeated exactly."""

    def __init__(self) -> None:
        self.is_updating = False
        """Whether the weights may be partly updated."""
        self._has_begun_epoch = False
        self._kept: tuple[Any, ...] | None = None

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._keep()
        self._has_begun_epoch = True

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not self._has_begun_epoch:  # an epoch's first step resumes from before its rows are shuffled
            self._keep()
        self._has_begun_epoch = False

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.is_updating = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.is_updating = False
        self._keep()

    def restore(self) -> None:
        """Restore the random states."""
        if self._kept is None:
            return
        python, numpy, cpu, gpus = self._kept
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus is not None:
            torch.cuda.set_rng_state_all(gpus)

    def _keep(self) -> None:
        gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
        self._kept = (random.getstate(), np.random.get_state(), torch.get_rng_state(), gpus)
