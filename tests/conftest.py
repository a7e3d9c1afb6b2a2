"""What several kinds of tests share."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import huggingface_hub.constants  # noqa: F401 - it reads HF_HUB_OFFLINE once, which some tests set for themselves
import pytest

from tests.tiny_model import make_tiny_model

if TYPE_CHECKING:
    from pathlib import Path

gc.set_threshold(100_000, 50, 100)
"""Screens and torch hold so many objects that looking for cycles after every 700 new ones takes a tenth of the time."""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Llama, made once a session."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny-llama")


@pytest.fixture
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty, with a fresh home and an empty cache of the Hub beside it."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
