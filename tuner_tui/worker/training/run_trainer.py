"""The mixins that the trainers of all methods share: atomic checkpoints, guarded steps, concurrent micro-batches."""

from __future__ import annotations

from tuner_tui.worker.training.checkpoints import CompleteCheckpoints
from tuner_tui.worker.training.concurrent_steps import ConcurrentSteps
from tuner_tui.worker.training.guarded_steps import GuardedSteps


class RunTrainer(GuardedSteps, ConcurrentSteps, CompleteCheckpoints):
    """To be mixed in before the trainer's own class."""
