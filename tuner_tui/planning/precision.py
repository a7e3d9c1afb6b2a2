"""Resolves model.precision = "auto"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tuner_tui.config.spec import Precision

ShortType = Literal["bf16", "fp16"]
Arithmetic = Literal["fp32", "bf16", "fp16"]
LoadedPrecision = Literal["fp32", "bf16", "fp16", "int8", "nf4"]
KEPT_FP32 = "trained weights stay in fp32, so that small updates are not rounded away"
"""Why full tuning loads its base in fp32."""


def resolve_precision(precision: Precision, fast: ShortType | None, *, trains_base: bool) -> LoadedPrecision:
    """The precision of the base; `fast` is the device's fast 16-bit dtype, None if it has none."""
    if precision != "auto":
        return precision
    return "fp32" if trains_base or fast is None else fast
