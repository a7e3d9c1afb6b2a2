"""Disk usage of runs and caches, and what can be deleted, with the consequences."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.data.tokens import token_cache
from tuner_tui.files import entries, folder_size
from tuner_tui.models import dequantised, remote_headers
from tuner_tui.models.dequantised import list_entries
from tuner_tui.owned import MARK, Layout, Owned
from tuner_tui.runs.export_events import FORMS
from tuner_tui.runs.folder import CHECKPOINT_NAME, RunFolder, list_runs
from tuner_tui.runs.status import LIVE
from tuner_tui.runs.summary import SummaryReader
from tuner_tui.runs.trash import empty_expired, expired_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

ItemKind = Literal["checkpoints", "model", "cache", "leftovers"]
LOCK_SUFFIX = ".lock"
"""How the names of the files end that keep two pushes of one run apart."""
SUMS_FILE = "SHA256SUMS"
"""Of an export (sharing/checksums.py)."""
QUIET_SECONDS = 600.0
"""Files written to more recently than this may be in use."""


@dataclass(frozen=True)
class RunDisk:
    """Disk usage of one run in bytes."""

    folder: RunFolder
    checkpoints: int
    checkpoint_count: int
    adapter: int
    rest: int

    @property
    def total(self) -> int:
        return self.checkpoints + self.adapter + self.rest


@dataclass(frozen=True)
class CleanUpItem:
    """Something that can be deleted."""

    kind: ItemKind
    name: str
    paths: tuple[Path, ...]
    """All in `owned`; empty for the trash."""
    size_bytes: int
    loses: str
    """What is lost by deleting it, in one sentence."""
    owned: Owned | None = None

    @property
    def can_be_restored(self) -> bool:
        """Whether it can go to the trash; what is removed with its whole folder is deleted at once."""
        return self.owned is not None and self.paths != (self.owned.folder,)


def run_disk(folder: RunFolder) -> RunDisk:
    """A run's current disk usage."""
    checkpoints = folder_size(folder.checkpoints)
    adapter = folder_size(folder.adapter)
    rest = folder_size(folder.path) - checkpoints - adapter
    return RunDisk(folder, checkpoints, len(complete_checkpoints(folder)), adapter, max(0, rest))


def complete_checkpoints(folder: RunFolder) -> list[Path]:
    """A run's whole checkpoints, the oldest first; those being written have other names."""
    found = [path for path in entries(folder.checkpoints, 10_000) if CHECKPOINT_NAME.fullmatch(path.name)]
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def clean_up_items(queued: Collection[str] = ()) -> list[CleanUpItem]:
    """Everything that can be deleted, the largest first; nothing that a live or resumable run needs."""
    candidates = [*_of_runs(queued), *_leftovers()]
    if not queued and not _is_anyone_live():  # a live or queued run may need models and caches
        candidates += (*_models(), *_caches())
    items = [item for item in candidates if item.size_bytes]
    return sorted(items, key=lambda item: -item.size_bytes)


def _of_runs(queued: Collection[str]) -> list[CleanUpItem]:
    """Checkpoints of finished runs, whose result is in their adapter."""
    reader = SummaryReader()
    items = []
    for folder in list_runs():
        checkpoints = complete_checkpoints(folder)
        if (
            checkpoints
            and not folder.path.is_symlink()
            and not folder.checkpoints.is_symlink()
            and folder.owned.is_ours()
            and folder.adapter.is_dir()
            and reader.read(folder, queued).status == "finished"
        ):
            loses = "The adapter stays; runs can no longer be branched from these steps."
            size_bytes = sum(map(folder_size, checkpoints))
            items.append(
                CleanUpItem("checkpoints", folder.name, tuple(checkpoints), size_bytes, loses, folder.owned)
            )
    return items


def _is_anyone_live() -> bool:
    reader = SummaryReader()
    return any(reader.read(folder, ()).status in LIVE for folder in list_runs()[:200])


def _models() -> list[CleanUpItem]:
    loses = "A run that needs it creates it again, which takes minutes."
    owned = dequantised.owned()
    return [
        CleanUpItem("model", entry.name or entry.folder.name, (entry.folder,), entry.size_bytes, loses, owned)
        for entry in list_entries()
        if not entry.is_being_made and owned.is_ours()
    ]


def _caches() -> list[CleanUpItem]:
    """Caches of tokenised rows, tokenizers, headers of Hub models and prepared pushes."""
    loses = "It is created again when needed."
    items = []
    for owned in (
        token_cache.owned(),
        dequantised.owned_tokenizers(),
        remote_headers.owned(),
        owned_pushes(),
    ):
        cache_entries = [path for path in owned.entries() if path.suffix != LOCK_SUFFIX]  # a lock may be held
        if cache_entries and all(map(_are_all_quiet, cache_entries)):
            items.append(
                CleanUpItem(
                    "cache", owned.folder.name, tuple(cache_entries), _size(cache_entries), loses, owned
                )
            )
    return items


def owned_pushes() -> Owned:
    """The folder of prepared pushes, for deleting in it."""
    folder = paths.cache_dir() / "pushes"
    return Owned(folder, "pushes", layout=_pushes(), may_be_older=paths.is_usual_cache())


def _pushes() -> Layout:
    export = rf".+-({'|'.join(FORMS)})-[A-Za-z0-9_]+-(trained|original)"
    staging = rf"\.{export}\.partial-[0-9]+"
    return Layout(
        rf"{export}(\.json)?|.+{re.escape(LOCK_SUFFIX)}|{staging}", _is_of_a_push, _is_of_an_earlier_push
    )


def _is_of_a_push(path: Path) -> bool:
    """Whether it is a lock, what an export was made of, or an export, which has a list of checksums or our mark."""
    if path.is_dir():
        return (path / SUMS_FILE).is_file() or (path / MARK).is_file()
    return path.suffix in (LOCK_SUFFIX, ".json") and path.is_file()


def _is_of_an_earlier_push(path: Path) -> bool:
    if path.suffix == LOCK_SUFFIX:
        return path.stat().st_size == 0
    return path.is_dir() or isinstance(guarded.read_json(path, list), list)


def _size(things: Iterable[Path]) -> int:
    return sum(folder_size(thing) if thing.is_dir() else thing.stat().st_size for thing in things)


def _leftovers() -> list[CleanUpItem]:
    """Partly created or partly deleted runs, left by a crash."""
    loses = "Nothing: it contains no run."
    items = []
    for path in entries(paths.runs_dir(), 100_000):
        owned = RunFolder(path).owned
        if path.name.startswith((".making-", ".deleting-")) and _is_quiet(path) and owned.is_ours():
            items.append(CleanUpItem("leftovers", path.name, (path,), folder_size(path), loses, owned))
    if size := expired_bytes():
        items.append(
            CleanUpItem("leftovers", "trash", (), size, "Nothing: its time in the trash has expired.")
        )
    return items


def delete_item(item: CleanUpItem) -> None:
    """Delete something that could go. Raises OSError for the first thing that stays, after all others have gone."""
    if item.owned is None:
        empty_expired()
        return
    problem: OSError | None = None
    for thing in item.paths:
        try:
            if thing == item.owned.folder:
                item.owned.remove_all()
            else:
                item.owned.remove(thing)
        except FileNotFoundError:  # gone meanwhile
            continue
        except OSError as error:
            problem = problem or error
    if problem is not None:
        raise problem


def _are_all_quiet(folder: Path) -> bool:
    """Whether nothing below a folder was written to recently; an upload may be prepared there."""
    return _is_quiet(folder) and all(map(_is_quiet, folder.rglob("*")))


def _is_quiet(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > QUIET_SECONDS
    except OSError:
        return False
