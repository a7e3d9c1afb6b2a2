"""The whole run as one .tar.gz, to inspect, export or resume it elsewhere."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tuner_tui.errors import InputError, TunerError
from tuner_tui.owned import MARK
from tuner_tui.sharing.checksums import sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuner_tui.runs.folder import RunFolder

BLOCK_BYTES = 1 << 20
LEFT_OUT = ("lock", "control", MARK)
"""Files of this machine's processes."""


def write_archive(run: RunFolder, target: Path, progress: Callable[[int, int], None]) -> None:
    """Pack a run with its checkpoints, then read the archive back and compare every file.

    Raises InputError for a link or special file, which an archive would not contain, OSError for unreadable files, and
    TunerError.
    """
    files = sorted(_files_of(run))
    total = sum(path.stat().st_size for path in files)
    done = 0
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for path in files:
            archive.add(path, f"{run.name}/{path.relative_to(run.path).as_posix()}", filter=_anonymous)
            done += path.stat().st_size
            progress(done, total)
    _require_same(run, files, target)


def _files_of(run: RunFolder) -> Iterator[Path]:
    for parent, folders, names in os.walk(run.path, onerror=_raise):
        folder = Path(parent)
        if folder == run.path:
            folders[:] = [name for name in folders if name not in LEFT_OUT]
            names = [name for name in names if name not in LEFT_OUT]
        for path in sorted(folder / name for name in (*folders, *names)):
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise _not_held(path)
        yield from (folder / name for name in names)


def _raise(error: OSError) -> None:
    raise error


def _not_held(path: Path) -> InputError:
    if not path.is_symlink():
        return InputError(
            "The run contains a special file",
            f"{path} cannot be put into an archive.",
            "Remove it, and export again.",
        )
    return InputError(
        "The run's folder contains a link",
        f"{path} is a link to {path.readlink()}; the archive would contain the link instead of its target.",
        "Replace it by the files themselves, and export again.",
    )


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _sha256(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := content.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _require_same(run: RunFolder, files: list[Path], target: Path) -> None:
    expected = {f"{run.name}/{path.relative_to(run.path).as_posix()}": sha256(path) for path in files}
    archived = {}
    with tarfile.open(target, "r:gz") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            if content is not None:
                archived[entry.name] = _sha256(content)
    wrong = next((name for name in expected if archived.get(name) != expected[name]), None)
    if wrong is not None or len(archived) != len(expected):
        raise TunerError(
            "The archive differs from the run",
            f"{wrong or target.name} was read back differently.",
            "Try again.",
        )
