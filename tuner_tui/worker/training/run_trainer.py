"""What the trainers of all methods have of ours: checkpoints that are whole, and steps that stand trouble."""

from __future__ import annotations

from tuner_tui.worker.training.checkpoints import WholeCheckpoints
from tuner_tui.worker.training.guarded_steps import GuardedSteps


class RunTrainer(GuardedSteps, WholeCheckpoints):
    """To be mixed in before the trainer's own class."""
