"""The cache of dequantised GGUF models: what is listed, what is whole, what clearing removes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.models.dequantised import (
    PARTIAL_PREFIX,
    READING,
    STALE_SECONDS,
    entry_folder,
    fingerprint,
    is_complete,
    list_entries,
    remove_entry,
)

FIRST, SECOND = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    return tmp_path


def make_entry(key: str, made_at: float = 1.0) -> Path:
    folder = entry_folder(key)
    folder.mkdir(parents=True)
    origin = {"source": f"/models/{key}.gguf", "name": f"{key}.gguf", "made_at": made_at, "reading": READING}
    (folder / "origin.json").write_text(json.dumps(origin))
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\0" * 1000)
    return folder


def make_partial(age: float) -> Path:
    folder = entry_folder(FIRST).with_name(f"{PARTIAL_PREFIX}{FIRST}-x{age:.0f}")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"\0" * 500)
    for path in (folder / "model.safetensors", folder):
        os.utime(path, (time.time() - age,) * 2)
    return folder


def test_a_fingerprint_is_the_content_s(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" * 100_000)
    assert fingerprint(path) == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert entry_folder(fingerprint(path)).name == fingerprint(path)


@pytest.mark.parametrize("key", ["", "..", "../../etc/passwd", FIRST.upper(), FIRST + "0", FIRST + "\n"])
def test_only_fingerprints_name_folders(key: str) -> None:
    with pytest.raises(InputError):
        entry_folder(key)
    with pytest.raises(InputError):
        remove_entry(key)


def test_no_cache_is_an_empty_list() -> None:
    assert list_entries() == []
    assert remove_entry(None) == 0


def test_entries_are_listed_newest_first() -> None:
    make_entry(FIRST, 1.0)
    folder = make_entry(SECOND, 2.0)
    newest, oldest = list_entries()
    assert (newest.fingerprint, newest.name, newest.made_at) == (SECOND, f"{SECOND}.gguf", 2.0)
    assert newest.size_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert newest.is_complete and is_complete(folder) and not newest.is_being_made
    assert oldest.fingerprint == FIRST


@pytest.mark.parametrize("missing", ["origin.json", "config.json"])
def test_an_unfinished_entry_says_so(missing: str) -> None:
    (make_entry(FIRST) / missing).unlink()
    assert not is_complete(entry_folder(FIRST))
    assert [entry.is_complete for entry in list_entries()] == [False]


def test_a_broken_origin_is_survived() -> None:
    for content in ("{", "[]", '{"made_at": "now", "name": 3}'):
        folder = entry_folder(FIRST)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "origin.json").write_text(content)
        assert [entry.made_at for entry in list_entries()] == [None]


def test_removing_one() -> None:
    make_entry(FIRST)
    make_entry(SECOND)
    size = list_entries()[0].size_bytes
    assert remove_entry(FIRST) == size
    assert [entry.fingerprint for entry in list_entries()] == [SECOND]
    with pytest.raises(NotFoundError):
        remove_entry(FIRST)


def test_clearing_spares_what_is_being_made() -> None:
    make_entry(FIRST)
    stale, fresh = make_partial(STALE_SECONDS + 60), make_partial(5)
    assert {entry.folder: entry.is_being_made for entry in list_entries()} == {
        entry_folder(FIRST): False,
        stale: False,
        fresh: True,
    }
    assert remove_entry(None) > 1500
    assert [entry.folder for entry in list_entries()] == [fresh]


def test_links_are_left_alone(home: Path) -> None:
    precious = home / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("all of it")
    entry_folder(FIRST).parent.mkdir(parents=True)
    entry_folder(FIRST).symlink_to(precious)
    remove_entry(None)
    assert (precious / "thesis.txt").is_file()
