"""Installed library versions, read from metadata without importing the libraries."""

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
    """The versions of tuner-tui, Python and the libraries."""
    versions = {"tuner-tui": __version__, "python": platform.python_version()}
    return versions | {name: version for name in LIBRARIES if (version := installed_version(name))}
