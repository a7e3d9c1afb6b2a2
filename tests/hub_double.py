"""The Hub's stand-in for tests that drive the real client over HTTP.

It is `tests.hub_stand_in`, or the file that $TUNER_TUI_TEST_HUB names: one with the same class `HubDouble`.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from tests import hub_stand_in

TOKEN = "hf_doubleDoubleToilAndTrouble0123456789"
OTHER = "TUNER_TUI_TEST_HUB"


def hub_double() -> Any:
    """The module with the stand-in."""
    other = os.environ.get(OTHER)
    if other is None:
        return hub_stand_in
    spec = importlib.util.spec_from_file_location("hub_double", other)
    assert spec is not None and spec.loader is not None, other
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
