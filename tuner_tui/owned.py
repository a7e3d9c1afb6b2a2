"""All deletions: only in folders that tuner-tui created and marked, never through a symlink.

A folder of ours holds a small file `.tuner-tui` that says what it is. Folders of earlier versions have none; in the
data folder and the usual cache folder they are recognised by the contents of what lies in them, and marked when all of
it is ours. In a folder that the person named as the cache only the mark counts. Where a folder has a layout, only
entries that fit it are given up, with a mark or without. Everything else is the person's, and stays. Our logs lie in
the data folder itself, and say in their first line what they are.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tuner_tui.errors import InputError
from tuner_tui.files import make_folder, open_log, write_atomic
from tuner_tui.guarded import open_regular

MARK = ".tuner-tui"
LOG_TITLE = b"tuner-tui log\n"
LARGEST_LOG_BYTES = 4 << 20
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HUB_FOLDER = re.compile(r"(models|datasets|spaces)--[A-Za-z0-9._-]+", re.ASCII)
_HUB_ENTRIES = {"blobs", "refs", "snapshots", ".no_exist"}
_MOUNT_ESCAPE = re.compile(r"\\([0-7]{3})")
_HUB_SUFFIX = ".tuner-tui-partial"


class NotOurs(PermissionError):
    """The path is not ours to delete; nothing was changed."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(errno.EPERM, why, str(path))


def never(_: Path) -> bool:
    """For folders that no earlier version created."""
    return False


@dataclass(frozen=True)
class Layout:
    """What lies in a folder of ours: any other entry was put there by somebody else, and stays."""

    names: str
    """A pattern of whole names; new files that are not in their place yet are known by it too."""
    is_entry: Callable[[Path], bool]
    """Whether an entry of such a name, not a symlink, holds nothing but what we put there."""
    was_made: Callable[[Path], bool]
    """Whether its contents show that we made it, for folders of earlier versions, which have no mark."""

    def fits(self, path: Path, *, is_marked: bool) -> bool:
        """Whether an entry is ours, in a folder with a mark or without."""
        try:
            if path.is_symlink() or not self._has_name(path):
                return False
            return self.is_entry(path) and (is_marked or self._is_temporary(path) or self.was_made(path))
        except (OSError, InputError):
            return False

    def _has_name(self, path: Path) -> bool:
        return bool(re.fullmatch(self.names, path.name, re.ASCII)) or self._is_temporary(path)

    def _is_temporary(self, path: Path) -> bool:
        """Whether it is a file that `files.replacing` left behind."""
        return (
            bool(re.fullmatch(rf"\.({self.names})\.[a-z0-9_]{{8}}", path.name, re.ASCII)) and path.is_file()
        )


@dataclass(frozen=True)
class Owned:
    """A folder that tuner-tui created, and the only way to delete in it."""

    folder: Path
    kind: str
    """The folder's kind in the mark, such as "run"."""
    is_known: Callable[[Path], bool] = never
    """Whether a folder without a mark and without a layout was made by an earlier version."""
    layout: Layout | None = None
    """What may lie in it; None where that is up to the mark alone."""
    may_be_older: bool = False
    """Whether its place is ours, so that a folder without a mark may be recognised by its layout."""

    def claim(self) -> Path:
        """Create the folder, or use an empty or recognised one, and mark it. Raises NotOurs, OSError."""
        make_folder(self.folder)
        if not self._is_marked():
            if not self._is_empty() and not self._is_recognised():
                raise NotOurs(
                    self.folder,
                    f"holds files that tuner-tui did not make (no {MARK} file); move it away, or name another folder",
                )
            self._mark_if_whole()
        return self.folder

    def is_ours(self) -> bool:
        """Whether it exists and is marked or recognised."""
        return self._is_marked() or self._is_recognised()

    def entries(self) -> list[Path]:
        """What in it is ours, besides the mark; empty when the folder is not ours or cannot be read."""
        if not self.is_ours():
            return []
        is_marked = self._is_marked()
        try:
            return sorted(path for path in self._all() if self._fits(path, is_marked=is_marked))
        except OSError:
            return []

    def remove(self, path: Path) -> None:
        """Delete a file or a folder below this one. Raises NotOurs, FileNotFoundError, OSError."""
        with self._parent_of(path) as (parent, name):
            _delete(name, parent)

    def discard(self, path: Path) -> None:
        """Delete as `remove` does, ignoring errors."""
        with contextlib.suppress(OSError):
            self.remove(path)

    def remove_all(self) -> None:
        """Delete the folder itself, its mark last. Raises NotOurs, FileNotFoundError, OSError."""
        with self._itself(needs_all=True) as parent, _opened(self.folder.name, parent) as inside:
            _require_no_mount(_path_of(self.folder.name, parent))
            for name in sorted(os.listdir(inside)):  # noqa: PTH208 - of a descriptor
                if name != MARK:
                    _delete(name, inside, may_be_link=True)
            os.unlink(MARK, dir_fd=inside)
            os.rmdir(self.folder.name, dir_fd=parent)

    def discard_all(self) -> None:
        """Delete the folder itself, ignoring errors."""
        with contextlib.suppress(OSError):
            self.remove_all()

    def move(self, path: Path, target: Path) -> None:
        """Rename something below this folder. Raises NotOurs, FileExistsError, OSError."""
        with self._parent_of(path) as (parent, name):
            _require_free(target)
            os.rename(name, target, src_dir_fd=parent)

    def move_all(self, target: Path) -> None:
        """Rename the folder itself. Raises NotOurs, FileExistsError, OSError."""
        with self._itself(needs_all=True) as parent:
            _require_no_mount(_path_of(self.folder.name, parent))
            _require_free(target)
            os.rename(self.folder.name, target, src_dir_fd=parent)

    @contextlib.contextmanager
    def _parent_of(self, path: Path) -> Iterator[tuple[int, str]]:
        """(descriptor of the folder that holds `path`, its name there), each step checked not to be a symlink."""
        parts = _parts_below(path, self.folder)
        self.require()
        self._require_fit(self.folder / parts[0])
        with contextlib.ExitStack() as opened:
            descriptor = os.open(self.folder, _OPEN)
            opened.callback(os.close, descriptor)
            for part in parts[:-1]:
                descriptor = opened.enter_context(_opened(part, descriptor, path))
            _require_no_link(parts[-1], descriptor, path)
            yield descriptor, parts[-1]

    @contextlib.contextmanager
    def _itself(self, *, needs_all: bool) -> Iterator[int]:
        """The descriptor of the folder that holds this one."""
        if not self.folder.is_absolute() or self.folder.name in ("", "..") or ".." in self.folder.parts:
            raise NotOurs(self.folder, "is not an absolute path")
        descriptor = os.open(self.folder.parent, _OPEN)
        try:
            _require_no_link(self.folder.name, descriptor, self.folder)
            self.require()
            for path in self._all() if needs_all else ():
                self._require_fit(path)
            yield descriptor
        finally:
            os.close(descriptor)

    def require(self) -> None:
        """Recognise and mark a folder of an earlier version. Raises NotOurs for others, FileNotFoundError, OSError."""
        if self._is_marked():
            return
        self.folder.stat()  # raises FileNotFoundError for a missing folder
        if not self._is_recognised():
            raise NotOurs(
                self.folder, f"was not created by tuner-tui (no {MARK} file), so nothing in it is deleted"
            )
        self._mark_if_whole()

    def _all(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.name != MARK]

    def _fits(self, path: Path, *, is_marked: bool) -> bool:
        return self.layout is None or self.layout.fits(path, is_marked=is_marked)

    def _require_fit(self, path: Path) -> None:
        """Raises NotOurs for an entry that somebody else put there, FileNotFoundError."""
        if self.layout is not None and stat.S_ISLNK(path.lstat().st_mode):
            raise NotOurs(path, f"{path.name} is a symlink; tuner-tui deletes nothing behind one")
        if not self._fits(path, is_marked=self._is_marked()):
            raise NotOurs(path, "was not made by tuner-tui, so it is not deleted")

    def _mark_if_whole(self) -> None:
        """Mark it, if nothing in it was put there by somebody else."""
        if all(self._fits(path, is_marked=False) for path in self._all()) or self._is_empty():
            self._mark()

    def _is_marked(self) -> bool:
        try:
            descriptor = os.open(
                self.folder / MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError:
            return False
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            return is_file and os.read(descriptor, 200).partition(b"\n")[0] == self._title().encode()
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def _mark(self) -> None:
        text = f"{self._title()}\ntuner-tui created this folder and may delete its content.\n"
        write_atomic(self.folder / MARK, text)

    def _title(self) -> str:
        return f"tuner-tui {self.kind}"

    def _is_empty(self) -> bool:
        return all(path.name.startswith(f".{MARK}.") for path in self.folder.iterdir())

    def _is_recognised(self) -> bool:
        try:
            if os.path.lexists(self.folder / MARK):
                return False
            if self.layout is None:
                return self.is_known(self.folder)
            return self.may_be_older and any(self._fits(path, is_marked=False) for path in self._all())
        except OSError:
            return False


def open_own_log(path: Path) -> io.FileIO:
    """One of our logs in the data folder, to append to. Raises OSError.

    One that has grown large is emptied if its first line says that it is ours; a foreign file of that name, or one of
    an earlier version, is only ever appended to.
    """
    log = open_log(path)
    try:
        status = os.fstat(log.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_size > LARGEST_LOG_BYTES and _is_own_log(path, status):
            os.ftruncate(log.fileno(), 0)
            status = os.fstat(log.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            with contextlib.suppress(OSError):  # a full disk
                log.write(LOG_TITLE)
    except BaseException:
        log.close()
        raise
    return log


def _is_own_log(path: Path, status: os.stat_result) -> bool:
    try:
        with open_regular(path) as file:
            return os.path.samestat(os.fstat(file.fileno()), status) and file.readline(100) == LOG_TITLE
    except InputError:  # it has just been replaced
        return False


def remove_hub_repository(folder: Path, cache: Path) -> None:
    """Delete a repository's folder in the Hub's cache, after the user has confirmed it. Raises NotOurs, OSError."""
    _require_hub_folder(folder, cache)
    with _opened_path(cache) as root:
        _delete(folder.name, root)
        with contextlib.suppress(OSError), _opened(".locks", root) as locks:
            _delete(folder.name, locks)


def remove_hub_file(path: Path, cache: Path) -> None:
    """Delete a file of a snapshot, or an unfinished download of ours, in the Hub's cache. Raises NotOurs, OSError."""
    path, cache = path.absolute(), cache.absolute()
    parts = _parts_below(path, cache)
    _require_hub_folder(cache / parts[0], cache)
    is_unfinished = len(parts) == 3 and parts[1] == "blobs" and path.name.endswith(_HUB_SUFFIX)
    if not is_unfinished and (len(parts) < 4 or parts[1] != "snapshots"):
        raise NotOurs(path, "is not a file that a download may replace")
    with contextlib.ExitStack() as opened:
        descriptor = opened.enter_context(_opened_path(cache))
        for part in parts[:-1]:
            descriptor = opened.enter_context(_opened(part, descriptor, path))
        os.unlink(parts[-1], dir_fd=descriptor)


def _require_hub_folder(folder: Path, cache: Path) -> None:
    if folder.parent != cache or not _HUB_FOLDER.fullmatch(folder.name) or folder.is_symlink():
        raise NotOurs(folder, "is not a repository in the Hub's cache")
    names = {path.name for path in folder.iterdir()}
    if not names & {"blobs", "snapshots"} or not names <= _HUB_ENTRIES:
        raise NotOurs(folder, "has files that a repository in the Hub's cache does not have")


def _parts_below(path: Path, folder: Path) -> tuple[str, ...]:
    try:
        parts = path.relative_to(folder).parts
    except ValueError:
        parts = ()
    if not folder.is_absolute() or not parts or ".." in path.parts:
        raise NotOurs(path, f"is not below {folder}")
    return parts


@contextlib.contextmanager
def _opened_path(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, _OPEN)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened(name: str, parent: int, path: Path | None = None) -> Iterator[int]:
    _require_no_link(name, parent, path)
    descriptor = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _require_no_link(name: str, parent: int, path: Path | None) -> None:
    if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        raise NotOurs(path or Path(name), f"{name} is a symlink; tuner-tui deletes nothing through symlinks")


def mounts_below(folder: Path) -> list[Path]:
    """What is mounted at a folder or somewhere below it: another disk, or another folder."""
    try:
        lines = (
            Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        )
    except OSError:  # no Linux
        return [path for path in (folder, *folder.rglob("*")) if path.is_dir() and path.is_mount()]
    places = (Path(_MOUNT_ESCAPE.sub(_unescaped, line.split(" ")[4])) for line in lines)
    return sorted(place for place in places if place.is_relative_to(folder))


def _unescaped(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 8))


def _require_no_mount(folder: Path) -> None:
    for place in mounts_below(folder)[:1]:
        why = "something is mounted there, which is not ours to delete; unmount it first"
        raise NotOurs(place, why)


def _path_of(name: str, parent: int) -> Path:
    """The full path of an entry of an open folder, without symlinks."""
    if sys.platform == "darwin":
        import fcntl

        place = os.fsdecode(fcntl.fcntl(parent, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    else:
        place = os.readlink(f"/proc/self/fd/{parent}")  # noqa: PTH115
    return Path(place) / name


def _require_free(target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def _delete(name: str, parent: int, *, may_be_link: bool = False) -> None:
    mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode) and not may_be_link:
        raise NotOurs(Path(name), "is a symlink")
    if stat.S_ISDIR(mode):
        _require_no_mount(_path_of(name, parent))  # deleting would go on in what is mounted there
        shutil.rmtree(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)
