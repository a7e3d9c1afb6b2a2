"""The digest of a base's weights: of contents, not of places; and none for what cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.test_lineage import save_base
from tuner_tui.models.weights_digest import MOST_SAMPLES, weights_digest


def test_any_changed_matrix_is_another_model(tmp_path: Path) -> None:
    first = weights_digest(save_base(tmp_path / "one", layers=3))
    assert len(first) == 32
    assert weights_digest(save_base(tmp_path / "two", layers=3)) == first
    changed = save_base(tmp_path / "three", layers=3) / "model.safetensors"
    content = bytearray(changed.read_bytes())
    content[-128] ^= 1  # in the middle of the last matrix
    changed.write_bytes(content)
    assert weights_digest(changed.parent) != first
    assert weights_digest(save_base(tmp_path / "four", layers=2)) != first


def test_a_file_in_one_piece_is_sampled_from_end_to_end(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    first = weights_digest(path)
    (tmp_path / "moved").mkdir()
    assert weights_digest(path.rename(tmp_path / "moved" / "other.gguf")) == first
    for place in (0, len(content) // MOST_SAMPLES * 200 + 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert weights_digest(path) != first
    path.write_bytes(content + b"more")
    assert weights_digest(path) != first


@pytest.mark.parametrize("spoil", ["missing", "truncated", "pickle", "pipe"])
def test_what_cannot_be_read_has_none(tmp_path: Path, spoil: str) -> None:
    folder = save_base(tmp_path / "base")
    weights = folder / "model.safetensors"
    if spoil == "missing":
        folder = tmp_path / "nowhere"
    elif spoil == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1])
    else:
        weights.unlink()
        if spoil == "pipe":
            os.mkfifo(weights)
    assert weights_digest(folder) == ""
    assert weights_digest(None) == ""
