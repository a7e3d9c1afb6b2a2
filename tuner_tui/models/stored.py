"""Repositories with quantised weights, and whether the installed libraries can train on them.

Which quantisations pass gradients to adapters is given by `is_trainable` of transformers' quantizers (5.23).
"""

from __future__ import annotations

from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.models.quantisation import UNNAMED
from tuner_tui.versions import installed_version

UNPACKED = ("mxfp4", "fp8")
"""Loaded unquantised: transformers does not train on MXFP4, and on FP8 only with kernels downloaded from the Hub."""
AS_STORED = ("bitsandbytes", "gptq", "awq")
"""Kept as stored, with adapters."""
EXTRA_PACKAGES = {"gptq": "gptqmodel", "awq": "gptqmodel"}
"""Additional packages that loading some of them needs."""


def is_unpacked(quantisation: str | None) -> bool:
    """Whether a run trains on the unquantised weights."""
    return quantisation in UNPACKED


def stored_refusal(quantisation: str | None, precision: str, tuning: str) -> tuple[str, str] | None:
    """Why a run of this precision and tuning cannot train on such weights, and what to do; None if it can.

    `quantisation` is the quantization method, None for plain weights.
    """
    if quantisation is None:
        return None
    plain = "Use the unquantised model."
    if quantisation == UNNAMED:
        return "its weights are quantised in a way that its files do not name", plain
    if quantisation not in (*UNPACKED, *AS_STORED):
        return f"quantised with {quantisation}, which the libraries here cannot train on", plain
    if precision in ("int8", "nf4"):
        return (
            f"quantised with {quantisation} already, so it cannot be loaded as {precision}",
            'Set model.precision to "auto", or use the unquantised model.',
        )
    if not tuning_traits(tuning).is_adapter and quantisation in AS_STORED:
        return (
            f"quantised with {quantisation}, and quantised weights cannot be trained themselves",
            'Set tuning.kind to "lora", or use the unquantised model.',
        )
    return None


def missing_package(quantisation: str | None) -> str | None:
    """The package that loading such weights needs and that is not installed; None if nothing is missing."""
    package = EXTRA_PACKAGES.get(quantisation or "")
    return package if package is not None and installed_version(package) is None else None


def stored_words(quantisation: str) -> str:
    """A description of how such weights are loaded for training."""
    if is_unpacked(quantisation):
        return (
            f"quantised with {quantisation}: unpacked when it is loaded, since training needs plain weights"
        )
    package = EXTRA_PACKAGES.get(quantisation)
    needed = f"; loading it needs the package {package}" if package else ""
    return f"quantised with {quantisation}: loaded as stored{needed}"
