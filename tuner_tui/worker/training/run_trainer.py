"""The mixins that the trainers of all methods share: whole checkpoints; profiled, guarded and concurrent steps."""

from __future__ import annotations

from tuner_tui.worker.training.checkpoints import CompleteCheckpoints
from tuner_tui.worker.training.concurrent_steps import ConcurrentSteps
from tuner_tui.worker.training.guarded_steps import GuardedSteps
from tuner_tui.worker.training.profiled_steps import ProfiledSteps


class RunTrainer(ProfiledSteps, GuardedSteps, ConcurrentSteps, CompleteCheckpoints):
    """To be mixed in before the trainer's own class."""
