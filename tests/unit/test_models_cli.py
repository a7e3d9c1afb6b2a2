"""`tuner-tui models`: list, show and clear."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.models_on_disk import make_folder
from tuner_tui.cli import models as command
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.models.dequantised import PARTIAL_PREFIX, READING, entry_folder
from tuner_tui.models.hub_cache import CachedRepo

FIRST, SECOND = "0123456789abcdef", "01fedcba98765432"


@pytest.fixture(autouse=True)
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dequantised models and one in the Hub's cache."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        command, "cached_repos", lambda: [CachedRepo("owner/" + "long" * 22, 2_500_000_000, 1e9)]
    )
    for key, name in ((FIRST, "model.gguf"), (SECOND, "evil\x1b[31m" + "x" * 90 + ".gguf")):
        folder = entry_folder(key)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "origin.json").write_text(json.dumps({"name": name, "made_at": 1e9, "reading": READING}))
        (folder / "model.safetensors").write_bytes(b"\0" * 3_000)


def run(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(command.models, arguments, **options)


def test_list_fits_the_terminal() -> None:
    result = run("list")
    assert result.exit_code == 0
    assert "2.5 GB" in result.output and FIRST in result.output and "3.1 kB" in result.output
    assert "\x1b" not in result.output
    assert max(map(len, result.output.splitlines())) < 80


def test_list_as_json() -> None:
    report = json.loads(run("list", "--json").output)
    assert report["hub_cache"][0]["size_bytes"] == 2_500_000_000
    assert {entry["fingerprint"] for entry in report["dequantised"]} == {FIRST, SECOND}
    assert all(entry["is_whole"] for entry in report["dequantised"])


def test_show(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    result = run("show", str(folder))
    assert result.exit_code == 0
    assert "hidden size        8" in result.output and "licence            unknown" in result.output
    assert max(map(len, result.output.splitlines())) < 80
    report = json.loads(run("show", str(folder), "--json").output)
    assert report["source"]["path"] == str(folder) and report["facts"]["parameters"] == 256
    assert isinstance(run("show", str(tmp_path / "none")).exception, NotFoundError)


def test_clear_refuses_without_a_terminal() -> None:
    result = run("clear", "--all")
    assert isinstance(result.exception, InputError) and "--yes" in result.exception.hint
    assert "Clearing frees" in result.output
    assert entry_folder(FIRST).is_dir()


def test_clear_asks_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)
    assert "Nothing was cleared" in run("clear", FIRST, input="n\n").output
    assert entry_folder(FIRST).is_dir()
    assert "Freed 3.1 kB" in run("clear", FIRST, input="y\n").output
    assert not entry_folder(FIRST).is_dir() and entry_folder(SECOND).is_dir()


def test_clear_by_the_beginning_of_a_fingerprint() -> None:
    assert isinstance(run("clear", "01", "--yes").exception, InputError)
    assert isinstance(run("clear", "77", "--yes").exception, NotFoundError)
    assert run("clear", "012", "--yes").exit_code == 0
    assert not entry_folder(FIRST).is_dir() and entry_folder(SECOND).is_dir()


def test_clear_all_spares_what_is_being_made() -> None:
    partial = entry_folder(FIRST).with_name(f"{PARTIAL_PREFIX}{FIRST}-x")
    partial.mkdir()
    (partial / "config.json").write_text("{}")
    assert "in progress" in run("list").output
    assert run("clear", "--all", "--yes").exit_code == 0
    assert [folder.name for folder in partial.parent.iterdir() if folder.is_dir()] == [partial.name]
    assert "Nothing to clear" in run("clear", "--all", "--yes").output


@pytest.mark.parametrize("arguments", [[], [FIRST, "--all"]])
def test_clear_wants_one_choice(arguments: list[str]) -> None:
    assert isinstance(run("clear", *arguments).exception, InputError)


def test_sizes() -> None:
    sizes = [0, 999, 1000, 98_362_432, 999_960_000, 2_500_000_000, 3_000_000_000_000]
    assert [command.size_text(size) for size in sizes] == [
        *("0 B", "999 B", "1.0 kB", "98.4 MB", "1.0 GB", "2.5 GB", "3.0 TB")
    ]
