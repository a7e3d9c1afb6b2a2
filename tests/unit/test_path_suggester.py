"""A typed path is completed by what lies in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner_tui.ui.path_suggester import PathSuggester, completed


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files, a folder and a hidden file; also the person's home."""
    (tmp_path / "rows").mkdir()
    for name in ("rows.jsonl", "rows/train.jsonl", ".hidden", "two\nlines"):
        (tmp_path / name).write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("ro", "rows/"),
        ("rows.", "rows.jsonl"),
        ("./rows/t", "./rows/train.jsonl"),
        ("~/rows/t", "~/rows/train.jsonl"),
        ("rows/", None),
        ("h", None),
        (".h", ".hidden"),
        ("tw", None),
        ("Qwen/Qw", None),
        ("", None),
        ("\0", None),
    ],
)
async def test_the_first_name_that_fits_is_suggested(here: Path, text: str, whole: str | None) -> None:
    assert completed(text) == whole
    assert await PathSuggester().get_suggestion(text) == whole
