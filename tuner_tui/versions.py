"""Which versions of the libraries are installed, read from their metadata without importing them."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata

from tuner_tui import __version__

LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "safetensors",
    "tokenizers",
    "huggingface-hub",
)


@cache
def installed_version(name: str) -> str | None:
    """A distribution's version, or None when it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def library_versions() -> dict[str, str]:
    """What a run was made with."""
    found = {"tuner-tui": __version__, "python": platform.python_version()}
    return found | {name: version for name in LIBRARIES if (version := installed_version(name))}
