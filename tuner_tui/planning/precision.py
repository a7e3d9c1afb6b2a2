"""What model.precision = "auto" means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tuner_tui.config.spec import Precision

ShortType = Literal["bf16", "fp16"]
Arithmetic = Literal["fp32", "bf16", "fp16"]
LoadedPrecision = Literal["fp32", "bf16", "fp16", "int8", "nf4"]
KEPT_FP32 = "weights that are trained stay in fp32, so that small steps are not rounded away"
"""Why full tuning loads its base in fp32."""


def resolve_precision(asked: Precision, fast: ShortType | None, *, trains_base: bool) -> LoadedPrecision:
    """How the base is loaded; `fast` is the 16-bit type that the device is fast at, None for none."""
    if asked != "auto":
        return asked
    return "fp32" if trains_base or fast is None else fast
