"""A name like one of ours makes nothing ours: folders of a person stay, in a named cache, in ours, and marked ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.ui.recorded_runs import make_run, recorded_events
from tuner_tui.cli import tuner_tui
from tuner_tui.config import paths
from tuner_tui.data.tokens import token_cache
from tuner_tui.models import dequantised, remote_headers
from tuner_tui.owned import MARK, NotOurs, Owned
from tuner_tui.runs import notes
from tuner_tui.runs.disk import owned_pushes
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.trash import RUN_FOLDER, delete_run, empty_expired, empty_trash

NAME = "2026-11-20-first-try-94b2"
HEX = "0123456789abcdef"
LOOKS_LIKE_OURS = {
    "trash": ("202401151230", "holiday"),
    "tokenizers": ("1234567890123456", "mine"),
    "pushes": ("notes-adapter-x-trained", "important"),
    "dequantised": (
        "2024011512304500",
        "20240115-mine",
        "2024011512304500-photos",
        ".partial-2024011512304500",
    ),
    "tokens": (f"{HEX}{HEX}.tokens.arrow", "mine"),
    "headers": (f"{HEX}{HEX}-tokenizer", "mine"),
}
"""Kinds of the cache, and names of folders that a person may have there."""
COMMANDS = (
    ("runs", "clean", "--yes"),
    ("runs", "empty-trash", "--yes"),
    ("data", "cache", "clear"),
    ("models", "clear", "--all", "--yes"),
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(params=["named", "usual"])
def cache(home: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The cache that is in use: one that the person named, or ours."""
    if request.param == "usual":
        return home / "cache"
    big = tmp_path / "big"
    (home / "config").mkdir(parents=True)
    (home / "config" / "settings.toml").write_text(f'[folders]\ncache = "{big}"\n')
    return big


def mine(cache: Path) -> dict[Path, str]:
    """Fill a cache with a person's own files, under names like ours."""
    for kind, names in LOOKS_LIKE_OURS.items():
        for name in names:
            (cache / kind / name).mkdir(parents=True)
            (cache / kind / name / "photo.jpg").write_text(name)
    return content(cache)


def content(cache: Path) -> dict[Path, str]:
    found = {path: path.read_text() for path in cache.rglob("*") if path.is_file() and path.name != MARK}
    for path in (*cache.rglob("*"), cache):
        os.utime(path, (1.0, 1.0))
    return found


def everything_that_deletes(home: Path) -> None:
    for arguments in COMMANDS:
        done = CliRunner().invoke(tuner_tui, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    empty_expired()
    empty_trash()
    dequantised.remove_entry(None)
    make_run(home, NAME, recorded_events())
    assert CliRunner().invoke(tuner_tui, ["runs", "delete", NAME, "--yes"]).exit_code == 0


def test_names_like_ours_make_nothing_ours(home: Path, cache: Path) -> None:
    before = mine(cache)
    everything_that_deletes(home)
    assert content(cache) == before
    assert not list(cache.rglob(MARK))


def test_a_mark_that_an_earlier_build_set_by_a_name_gives_nothing_up(home: Path, cache: Path) -> None:
    before = mine(cache)
    for kind in LOOKS_LIKE_OURS:
        (cache / kind / MARK).write_text(f"tuner-tui {kind}\n")
    everything_that_deletes(home)
    assert content(cache) == before


def test_what_others_put_beside_ours_stays(home: Path) -> None:
    cache = home / "cache"
    before = mine(cache)
    ours = make_ours(cache)
    content(cache)
    everything_that_deletes(home)
    assert not [path for path in ours if path.exists()]
    assert content(cache) == before


def test_earlier_folders_are_recognised_by_their_contents(home: Path) -> None:
    ours = make_ours(home / "cache")
    content(home / "cache")
    for owned in (
        token_cache.owned(),
        remote_headers.owned(),
        dequantised.owned(),
        dequantised.owned_tokenizers(),
        owned_pushes(),
    ):
        owned.claim()
        assert (owned.folder / MARK).is_file(), owned.kind
        os.utime(owned.folder, (1.0, 1.0))
    everything_that_deletes(home)
    assert not [path for path in ours if path.exists()]


def test_in_a_named_cache_only_the_mark_counts(home: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    (home / "config").mkdir(parents=True)
    (home / "config" / "settings.toml").write_text(f'[folders]\ncache = "{big}"\n')
    ours = make_ours(big)
    everything_that_deletes(home)
    assert all(path.exists() for path in ours)
    with pytest.raises(NotOurs, match="move it away"):
        token_cache.owned().claim()


def make_ours(cache: Path) -> list[Path]:
    """What an earlier build left in each folder, without marks."""
    made = []

    def put(place: str, **files: str) -> None:
        folder = cache / place
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text)
        made.append(folder)

    put("trash/0123456789ab", **{"lock": "", "0-0-tokens": "x"})
    put("dequantised/fedcba9876543210", origin__json='{"name": "x.gguf", "made_at": 1.0}', config__json="{}")
    put("tokenizers/fedcba9876543210", tokenizer__json="{}", tokenizer_config__json="{}")
    put(f"pushes/{NAME}-adapter-default-trained", SHA256SUMS="x", README__md="x")
    put(f"headers/{'f' * 32}-tokenizer", tokenizer__json="{}")
    texts = {
        f"pushes/{NAME}-adapter-default-trained.json": '["mark", null]',
        f"headers/{'f' * 32}.json": '{"schema": 1}',
        f"headers/{'f' * 32}.latest": '{"commit": "x", "names": []}',
        f"tokens/{'f' * 32}.tokens.arrow": "ARROW1 and rows",
        f"tokens/{'f' * 32}.tokens.json": '{"source": "x"}',
    }
    for place, text in texts.items():
        (cache / place).parent.mkdir(exist_ok=True)
        (cache / place).write_text(text)
        made.append(cache / place)
    return made


def test_a_thing_put_into_a_throw_of_ours_keeps_it(home: Path) -> None:
    make_run(home, NAME, recorded_events())
    delete_run(RunFolder(home / "data" / "runs" / NAME))
    (run,) = (home / "data" / "runs" / ".trash").glob(f"*/{RUN_FOLDER}")
    (run.parent / "photo.jpg").write_text("mine")
    empty_trash()
    assert (run.parent / "photo.jpg").read_text() == "mine"


def test_a_folder_that_only_has_the_names_of_a_run_is_none(home: Path) -> None:
    folder = paths.runs_dir() / ".deleting-mine"
    folder.mkdir(parents=True)
    for name in ("run.toml", "plan.json", "events.jsonl"):
        (folder / name).write_text('{"my": "own"}\n' if name != "run.toml" else "mine = 1\n")
    assert not RunFolder(folder).owned.is_ours()
    with pytest.raises(NotOurs):
        RunFolder(folder).owned.remove_all()


def test_notes_of_a_person_are_no_notes_of_ours(home: Path) -> None:
    folder = home / "data" / "notes"
    folder.mkdir(parents=True)
    (folder / f"{NAME}.json").write_text(json.dumps({"diary": "mine"}))
    assert not notes.owned().is_ours()
    (folder / f"{NAME}.json").write_text(json.dumps({"text": "dear to me"}))
    (folder / "diary.txt").write_text("mine")
    assert notes.owned().is_ours()
    with pytest.raises(NotOurs):
        notes.owned().remove(folder / "diary.txt")
    notes.owned().remove(folder / f"{NAME}.json")
    assert not (folder / MARK).exists()


def test_a_file_called_held_is_no_queue(home: Path) -> None:
    from tuner_tui.runs import queue

    paths.queue_dir().mkdir(parents=True)
    (paths.queue_dir() / "held").write_text("a letter\nof\nmine\n")
    assert not queue.owned().is_ours()
    (paths.queue_dir() / "held").write_text(NAME)
    assert queue.owned().is_ours()
    assert isinstance(queue.owned(), Owned)
