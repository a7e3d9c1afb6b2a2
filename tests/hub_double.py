"""The Hub's stand-in from beside the checkout, for tests that drive the real client over HTTP; absent, they skip."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

PLACE = Path(__file__).resolve().parents[2] / "shared" / "hub_double.py"
TOKEN = "hf_doubleDoubleToilAndTrouble0123456789"


def hub_double() -> Any:
    """The module, or a skip with the reason."""
    spec = importlib.util.spec_from_file_location("hub_double", PLACE)
    if spec is None or spec.loader is None or not PLACE.is_file():
        pytest.skip(f"the Hub's stand-in is not at {PLACE}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
