"""Libraries that others import wherever they are installed, though this job never calls them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.planning.plan import Plan

UNQUANTISED = ("fp32", "bf16", "fp16")


def leave_out_bitsandbytes() -> None:
    """Keep PEFT 0.21 from importing bitsandbytes and with it PyTorch's compiler: a sixth of a worker's start.

    To this process it is as if the library were not installed; to be called before PEFT is imported.
    """
    if "bitsandbytes" not in sys.modules:
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]


def leave_out_unneeded(spec: RunSpec, plan: Plan) -> None:
    """Do that where base and optimizer of a planned training job are certainly not quantised."""
    is_unquantised = plan.memory is not None and plan.memory.precision in UNQUANTISED
    if (
        is_unquantised
        and spec.model.precision not in ("int8", "nf4")
        and "8bit" not in spec.training.optimizer
    ):
        leave_out_bitsandbytes()
