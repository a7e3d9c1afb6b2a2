"""Repositories whose weights are quantised already, and what the libraries here can do with them in training.

Which methods pass gradients on to adapters is what `is_trainable` of transformers' quantizers says (5.23).
"""

from __future__ import annotations

from tuner_tui.config.tunings.traits import tuning_traits

UNPACKED = ("mxfp4", "fp8")
"""Loaded unquantised: transformers trains none on MXFP4, and on FP8 only with kernels that are fetched from the Hub."""
AS_STORED = ("bitsandbytes", "gptq", "awq")
"""Kept as they are, under adapters."""
EXTRA_PACKAGES = {"gptq": "gptqmodel", "awq": "gptqmodel"}
"""What loading some of them needs beside this app's own libraries."""


def is_unpacked(quantisation: str | None) -> bool:
    """Whether a run trains on the weights as they were before they were quantised."""
    return quantisation in UNPACKED


def stored_refusal(quantisation: str | None, precision: str, tuning: str) -> str:
    """Why a run of this precision and tuning cannot train on such weights; empty where it can.

    `quantisation` is the config's quantization method, None for plain weights.
    """
    if quantisation is None:
        return ""
    if quantisation not in (*UNPACKED, *AS_STORED):
        return f"quantised with {quantisation}, on which the libraries here do not train: take the unquantised model"
    if precision in ("int8", "nf4"):
        return (
            f"quantised with {quantisation} already, so it cannot be held as {precision}: "
            'set model.precision to "auto", or take the unquantised model'
        )
    if not tuning_traits(tuning).is_adapter and quantisation in AS_STORED:
        return (
            f"quantised with {quantisation}, and quantised weights cannot be trained themselves: "
            'set tuning.kind to "lora", or take the unquantised model'
        )
    return ""


def stored_words(quantisation: str) -> str:
    """How such weights are held while a run trains."""
    if is_unpacked(quantisation):
        return (
            f"quantised with {quantisation}: unpacked when it is loaded, since training needs plain weights"
        )
    package = EXTRA_PACKAGES.get(quantisation)
    needed = f"; loading it needs the package {package}" if package else ""
    return f"quantised with {quantisation}: held as it is stored{needed}"
