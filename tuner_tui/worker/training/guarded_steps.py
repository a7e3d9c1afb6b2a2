"""When memory runs out in a step, or a step's loss goes bad: save what can be saved, skip, or go back."""

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
from tuner_tui.worker.model.loading import is_out_of_memory
from tuner_tui.worker.training.checkpoints import folder_name, step_of

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tuner_tui.worker.job import Job

MEDIAN_OF = 50
MEDIAN_FROM = 20
"""Steps that there must be before a loss can be called a spike."""
_Trainer: Any = object  # transformers' own comes with the class that this is mixed into
_log = logging.getLogger(__name__)


class OutOfMemory(Exception):
    """Memory ran out while training; `checkpoint` is what was saved just then."""

    def __init__(self, message: str, checkpoint: str | None) -> None:
        super().__init__(message)
        self.checkpoint = checkpoint


class WentBad(Exception):
    """A step's loss went bad, and the run is to go back to the checkpoint before it."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step = step


class LossSpiked(TunerError):
    """The loss is far above that of the steps before."""


class GuardedSteps(_Trainer):  # type: ignore[misc]
    """A mixin for transformers' Trainer; every method's trainer has it."""

    job: Job
    _step_loss = 0.0
    _losses: deque[float]
    _states: RandomStates

    def train(self, *arguments: Any, **named: Any) -> Any:
        """Train; when memory runs out, save where the weights stand. Raises OutOfMemory then."""
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
            _log.exception("memory ran out")
            message = next(iter(str(error).splitlines()), "")[:300]
        # Only here, with the exception's frames gone, is the memory of the step free.
        raise OutOfMemory(message, self._save_in_need())

    def _remember(self, last: int) -> None:
        """What the guards knew when the step `last` had been made, from the events of the workers before."""
        usual: dict[int, float] = {}
        for event in decode_lines(self.job.folder.events.read_bytes()):
            if isinstance(event, StepLogged) and event.loss is not None and event.step <= last:
                usual[event.step] = event.loss
            elif isinstance(event, StepSkipped) and event.step <= last:
                self.job.skipped.add(event.step)
        self._losses.extend(usual[step] for step in sorted(usual) if step not in self.job.skipped)

    def evaluate(self, *arguments: Any, **named: Any) -> Any:
        """Evaluate without a draw from the generators, so that training draws the same whether and when it is done."""
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
        """The gradient's norm, known between backward and update: the moment to leave a step out."""
        norm = super()._get_grad_norm(model, grad_norm)
        step = self.state.global_step + 1
        if step in self.job.plan.skipped_steps:
            self._skip(step, "its loss went bad before")
        elif self._is_watching and (reason := self._what_is_bad(norm)):
            self._heed(step, reason)
        self._step_loss = 0.0
        return norm

    def _maybe_log_save_evaluate(self, *arguments: Any, **named: Any) -> None:
        super()._maybe_log_save_evaluate(*arguments, **named)
        if self.job.skipped:  # the trainer takes a logged loss off its sum, which never rids that of a NaN
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
            return f"the loss of {loss:.4g} is {loss / usual:.1f} times the median of the steps before"
        self._losses.append(loss)
        return ""

    def _heed(self, step: int, reason: str) -> None:
        guards = self.job.spec.guards
        if guards.on_bad_loss == "roll_back":
            raise WentBad(step, reason)
        if guards.on_bad_loss == "skip" and len(self.job.skipped) < guards.most_skips:
            self._skip(step, reason)
            return
        raise LossSpiked(
            "The loss went bad",
            f"At step {step} {reason}"
            + (f", after {len(self.job.skipped)} skipped steps." if self.job.skipped else "."),
            "Lower training.learning_rate, look at that step's rows, or see guards.on_bad_loss.",
        )

    def _skip(self, step: int, reason: str) -> None:
        """Without gradients an optimizer changes neither weights nor its own states."""
        for parameter in self.model.parameters():
            parameter.grad = None
        self.job.skipped.add(step)
        self.job.emit(StepSkipped(step=step, reason=reason))

    def _save_in_need(self) -> str | None:
        """The name of a checkpoint of the last whole step; None when there is none to save or it cannot be saved."""
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
            self._save_checkpoint(self.model, trial=None)  # tells of other failures itself
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            _log.exception("memory ran out again, while saving")
            return None
        self.wait_until_complete()
        return name if self.job.checkpoint == name else None


class OverdueEvaluation(TrainerCallback):
    """Makes the evaluation that memory which ran out prevented: the checkpoint of that moment stands before it."""

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
        told = decode_lines(self._trainer.job.folder.events.read_bytes())
        here = [
            event
            for event in told
            if isinstance(event, (Evaluated, MemoryShort)) and event.step == state.global_step
        ]
        return bool(here) and not any(isinstance(event, Evaluated) for event in here)


def _evaluates_at(args: TrainingArguments, state: TrainerState) -> bool:
    """Whether the schedule has an evaluation after the step just made."""
    match args.eval_strategy:
        case IntervalStrategy.STEPS:
            return state.global_step % state.eval_steps == 0
        case IntervalStrategy.EPOCH:
            return float(state.epoch or 0.0).is_integer()
    return False


class RandomStates(TrainerCallback):
    """The generators' states as each step began, so that a step that failed can be drawn again."""

    def __init__(self) -> None:
        self.is_updating = False
        """Whether weights may be half changed."""
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
        if not self._has_begun_epoch:  # an epoch's first step resumes from before its rows were drawn
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
        """Put the generators back."""
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
