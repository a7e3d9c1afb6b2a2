"""What runs and caches take on disk, and what of it could go, with what is lost by that."""

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
from tuner_tui.runs.folder import RunFolder, list_runs
from tuner_tui.runs.status import LIVE
from tuner_tui.runs.summary import SummaryReader
from tuner_tui.runs.trash import abandoned_bytes, empty_abandoned

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

ItemKind = Literal["checkpoints", "model", "cache", "leftovers"]
LOCK_SUFFIX = ".lock"
"""How the names of the files end that keep two pushes of one run apart."""
SUMS_FILE = "SHA256SUMS"
"""Of an export (sharing/checksums.py)."""
QUIET_SECONDS = 600.0
"""What was written to more recently than this may be in use."""


@dataclass(frozen=True)
class RunDisk:
    """What one run takes, in bytes."""

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
    """Something that could go."""

    kind: ItemKind
    name: str
    things: tuple[Path, ...]
    """All in `owned`; none for the trash."""
    size_bytes: int
    loses: str
    """What is lost with it, in one sentence."""
    owned: Owned | None = None


def run_disk(folder: RunFolder) -> RunDisk:
    """What a run takes now."""
    checkpoints = folder_size(folder.checkpoints)
    adapter = folder_size(folder.adapter)
    rest = folder_size(folder.path) - checkpoints - adapter
    return RunDisk(folder, checkpoints, len(kept_checkpoints(folder)), adapter, max(0, rest))


def kept_checkpoints(folder: RunFolder) -> list[Path]:
    """A run's whole checkpoints, the oldest first; those being written have other names."""
    found = [path for path in entries(folder.checkpoints, 10_000) if path.name.startswith("step-")]
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def clean_up_items(queued: Collection[str] = ()) -> list[CleanUpItem]:
    """All that could go, the largest first. What a run that is live, or can be resumed, needs is not among it."""
    found = [*_of_runs(queued), *_leftovers()]
    if (
        not queued and not _is_anyone_live()
    ):  # a run may be reading models and rows, or will when its turn comes
        found += (*_models(), *_caches())
    items = [item for item in found if item.size_bytes]
    return sorted(items, key=lambda item: -item.size_bytes)


def _of_runs(queued: Collection[str]) -> list[CleanUpItem]:
    """Checkpoints of finished runs: what they learnt lies in their adapter."""
    reader = SummaryReader()
    items = []
    for folder in list_runs():
        kept = kept_checkpoints(folder)
        if (
            kept
            and not folder.path.is_symlink()
            and not folder.checkpoints.is_symlink()
            and folder.owned.is_ours()
            and folder.adapter.is_dir()
            and reader.read(folder, queued).status == "finished"
        ):
            loses = "The adapter stays; new runs can no longer be branched from these steps."
            taken = sum(map(folder_size, kept))
            items.append(CleanUpItem("checkpoints", folder.name, tuple(kept), taken, loses, folder.owned))
    return items


def _is_anyone_live() -> bool:
    reader = SummaryReader()
    return any(reader.read(folder, ()).status in LIVE for folder in list_runs()[:200])


def _models() -> list[CleanUpItem]:
    loses = "It is made again, which takes minutes, when a run needs it."
    owned = dequantised.owned()
    return [
        CleanUpItem("model", entry.name or entry.folder.name, (entry.folder,), entry.size_bytes, loses, owned)
        for entry in list_entries()
        if not entry.is_being_made and owned.is_ours()
    ]


def _caches() -> list[CleanUpItem]:
    """Tokenised rows, tokenizers, headers of Hub models and prepared pushes."""
    loses = "It is made again when it is needed."
    items = []
    for owned in (
        token_cache.owned(),
        dequantised.owned_tokenizers(),
        remote_headers.owned(),
        owned_pushes(),
    ):
        things = [path for path in owned.entries() if path.suffix != LOCK_SUFFIX]  # one may be held
        if things and all(map(_are_all_quiet, things)):
            items.append(CleanUpItem("cache", owned.folder.name, tuple(things), _size(things), loses, owned))
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
    """Runs that were half made or half deleted when something died."""
    loses = "Nothing: no run is in it."
    items = []
    for path in entries(paths.runs_dir(), 100_000):
        owned = RunFolder(path).owned
        if path.name.startswith((".making-", ".deleting-")) and _is_quiet(path) and owned.is_ours():
            items.append(CleanUpItem("leftovers", path.name, (path,), folder_size(path), loses, owned))
    if size := abandoned_bytes():
        items.append(
            CleanUpItem("leftovers", "trash", (), size, "Nothing: its time to be brought back is over.")
        )
    return items


def delete_item(item: CleanUpItem) -> None:
    """Delete something that could go. Raises OSError for the first thing that stays, after all others have gone."""
    if item.owned is None:
        empty_abandoned()
        return
    problem: OSError | None = None
    for thing in item.things:
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
    """Whether nothing below a folder was written to lately, as an upload that is prepared there is."""
    return _is_quiet(folder) and all(map(_is_quiet, folder.rglob("*")))


def _is_quiet(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > QUIET_SECONDS
    except OSError:
        return False
