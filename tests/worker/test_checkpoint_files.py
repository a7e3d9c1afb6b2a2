"""What is said of a checkpoint's files, and which checkpoints go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tuner_tui.worker.training import checkpoints

if TYPE_CHECKING:
    from pathlib import Path


def make_checkpoint(parent: Path, step: int) -> Path:
    """A whole checkpoint of one small file."""
    folder = parent / f"step-{step:06d}"
    folder.mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(b"x" * 100)
    checkpoints._make_complete(folder, step, "data", 1)
    return folder


def test_a_high_bit_in_a_file_or_the_manifest_is_damage(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, 3)
    assert checkpoints.why_corrupt(folder) is None
    for name, word in (
        (checkpoints.MANIFEST, b"optimizer"),
        (checkpoints.MANIFEST, b":"),
        ("optimizer.pt", b"x"),
    ):
        whole = (folder / name).read_bytes()
        place = whole.index(word)
        (folder / name).write_bytes(whole[:place] + bytes([whole[place] ^ 128]) + whole[place + 1 :])
        assert checkpoints.why_corrupt(folder), (name, word)
        (folder / name).write_bytes(whole)


def test_a_checkpoint_that_cannot_be_read_is_passed_over_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_checkpoint(tmp_path, 3)

    def refuse(path: Path) -> str:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(checkpoints, "_sha256", refuse)
    assert checkpoints.why_corrupt(folder) == "optimizer.pt cannot be read (Input/output error)"


def test_broken_and_later_checkpoints_take_no_place_of_whole_ones(tmp_path: Path, make_run: Any) -> None:
    folder = make_run()
    for step in (1, 2, 3, 4, 9):
        make_checkpoint(folder.checkpoints, step)
    job = SimpleNamespace(
        folder=folder,
        corrupt={"step-000003", "step-000009"},
        spec=SimpleNamespace(checkpoints=SimpleNamespace(keep=2)),
    )
    checkpoints.CompleteCheckpoints._rotate(SimpleNamespace(job=job), 4, 1)  # type: ignore[arg-type]
    kept = [checkpoints.step_of(path) for path in checkpoints.checkpoint_folders(folder.checkpoints)]
    assert kept == [1, 2, 4, 9]
