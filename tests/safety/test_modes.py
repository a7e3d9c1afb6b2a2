"""What we make is for its person alone; what a group shares, or the person named, follows the umask."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.worker.conftest import make_run
from tuner_tui.config import paths
from tuner_tui.config.settings import set_setting
from tuner_tui.data.tokens import token_cache
from tuner_tui.feedback.collections import open_or_create
from tuner_tui.feedback.good_copy import replace_copy
from tuner_tui.feedback.integrity import copy_path
from tuner_tui.feedback.records import CollectionSettings
from tuner_tui.files import write_atomic
from tuner_tui.keeper.start import hold_queue
from tuner_tui.runs import lock
from tuner_tui.runs.control import leave_request
from tuner_tui.runs.notes import Note, write_note
from tuner_tui.runs.queue import enqueue
from tuner_tui.runs.trash import delete_run, restore_last
from tuner_tui.sharing.export import ExportOptions, export
from tuner_tui.sharing.run_facts import read_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuner_tui.runs.folder import RunFolder

__all__ = ["make_run"]


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usual_umask: None) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "home"


def use_everything(make_run: Callable[..., RunFolder]) -> RunFolder:
    """Have a file of each kind made: settings, a trained run, its note, queue, feedback, a cache, the trash."""
    from tuner_tui.worker.train import run_job

    set_setting("privacy.offline", "true")
    run, other = make_run(checkpoints={"every_steps": 2}), make_run()
    held = lock.acquire(run.lock)
    assert held is not None
    assert run_job(run.path) == 0
    held.release()
    write_note(run.name, Note(text="mine"))
    hold_queue()
    leave_request(run, "save")
    with open_or_create("evening", CollectionSettings()) as store:
        replace_copy(store, copy_path(store.path))
    write_atomic(token_cache.owned().claim() / "x", "")
    delete_run(other)
    assert restore_last() == other.name
    enqueue(other)
    return run


def modes(folder: Path) -> dict[int, list[Path]]:
    """Files and folders by their modes."""
    found: dict[int, list[Path]] = {}
    for path in (folder, *folder.rglob("*")):
        found.setdefault(stat.S_IMODE(path.lstat().st_mode) | (path.is_dir() << 16), []).append(path)
    return found


def test_all_that_we_make_is_for_its_person_alone(home: Path, make_run: Callable[..., RunFolder]) -> None:
    run = use_everything(make_run)
    assert (run.adapter / "adapter_model.safetensors").is_file()
    assert set(modes(home)) == {0o700 | 1 << 16, 0o600}, modes(home)


def test_a_folder_that_a_group_shares_is_open_to_it(home: Path, make_run: Callable[..., RunFolder]) -> None:
    for folder in (home, home / "data", home / "cache", home / "config"):
        folder.mkdir()
        folder.chmod(0o2775)
    os.umask(0o002)
    use_everything(make_run)
    assert set(modes(home)) == {0o2775 | 1 << 16, 0o664}, modes(home)


@pytest.fixture
def other_group() -> int:
    """A group that is not the user's own."""
    groups = [group for group in os.getgroups() if group != os.getgid()]
    if os.getuid() != 0 and not groups:
        pytest.skip("this user is in one group only")
    return groups[0] if groups else 3000


def test_a_folder_that_a_group_may_write_to_is_shared_all_the_way_down(
    home: Path, make_run: Callable[..., RunFolder], other_group: int
) -> None:
    home.mkdir()
    os.chown(home, -1, other_group)
    home.chmod(0o775)  # as a umask of 0002 leaves it
    os.umask(0o002)
    use_everything(make_run)
    assert set(modes(home)) == {0o775 | 1 << 16, 0o664}, modes(home)
    assert {path.stat().st_gid for path in (home, *home.rglob("*"))} == {other_group}


def test_the_group_of_one_user_shares_nothing_further_down(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    home.chmod(0o775)
    os.umask(0o002)
    user = 12345  # of whom the system knows nothing, in the group of the same number
    monkeypatch.setattr(os, "getuid", lambda: user)
    status = home.stat()
    own = os.stat_result((*status[:4], user, user, *status[6:]))
    monkeypatch.setattr(Path, "stat", lambda path, **how: own if path == home else os.stat(path, **how))  # noqa: PTH116
    write_note("2026-11-20-first-try-94b2", Note(text="mine"))
    assert {stat.S_IMODE(path.lstat().st_mode) for path in home.rglob("*")} == {0o700, 0o600}


def test_a_folder_that_was_there_keeps_its_mode(home: Path) -> None:
    (home / "data").mkdir(parents=True)
    (home / "data").chmod(0o755)
    write_note("2026-11-20-first-try-94b2", Note(text="mine"))
    assert stat.S_IMODE((home / "data").stat().st_mode) == 0o755
    assert stat.S_IMODE(paths.notes_dir().stat().st_mode) == 0o700


def test_an_export_follows_the_umask_and_keeps_the_mode_of_its_folder(
    home: Path, tmp_path: Path, make_run: Callable[..., RunFolder]
) -> None:
    facts = read_facts(use_everything(make_run))
    made = export(facts, ExportOptions("archive", tmp_path / "new"))
    assert set(modes(made.folder)) == {0o755 | 1 << 16, 0o644}
    named = tmp_path / "named"
    named.mkdir()
    named.chmod(0o2770)
    export(facts, ExportOptions("archive", named))
    assert stat.S_IMODE(named.stat().st_mode) == 0o2770
