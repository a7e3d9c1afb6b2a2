"""A Hub of one's own for every test, and a home without the person's token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.hub_double import TOKEN, hub_double

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A running stand-in whose token's owner is `tester`; the environment points the client at it."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    with hub_double().HubDouble(tmp_path / "hub", TOKEN, part_size=1 << 20) as double:
        for name, value in double.env().items():
            monkeypatch.setenv(name, value)
        yield double


@pytest.fixture
def cache(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache: this process, whose client was imported before, looks where the Hub's processes write."""
    place = tmp_path / "hf" / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    return place
