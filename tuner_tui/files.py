"""Files shared between processes: atomic writes, following a growing file, and permissions.

New files and folders are private (folders 0700, files 0600). In a folder that a group shares (setgid, or an existing
one that its group may write to) they have the modes that the umask gives, and belong to that group; further down, the
group of one member that many systems make for each user shares nothing.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.guarded import Unreadable

if TYPE_CHECKING:
    from typing import BinaryIO

LONGEST_LINE_BYTES = 16 << 20
"""Our lines have a few kilobytes; longer ones are skipped."""
INCOMPLETE_BYTES = 64

_asking_umask = threading.Lock()


def can_be_path(text: str) -> bool:
    """Whether a text that was read from a file can be the path of a file here, whether or not there is one."""
    try:
        os.lstat(text)
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    except ValueError:  # a NUL, or no text that file names can have
        return False
    return True


def expanded(path: Path) -> Path:
    """A path with the home folder in place of ~; as it is where that is not known."""
    try:
        return path.expanduser()
    except RuntimeError:  # "~name" of an unknown user, or nobody's home
        return path


def barred(path: Path) -> str:
    """What keeps this user from a path: the first file or folder on the way without permission; empty where none does.

    Such as "/data/team/runs may not be entered (drwx------, of ada)".
    """
    for place in (*reversed(path.absolute().parents), path.absolute()):
        try:
            status = place.lstat()
        except OSError:
            return ""
        if stat.S_ISDIR(status.st_mode):
            wanted, verb = (os.R_OK | os.X_OK, "read") if place == path.absolute() else (os.X_OK, "entered")
        else:
            wanted, verb = os.R_OK, "read"
        if not os.access(place, wanted):
            return (
                f"{place} may not be {verb} ({stat.filemode(status.st_mode)}, of {_user_name(status.st_uid)})"
            )
        is_last = place == path.absolute()
        if is_last and not os.access(place, os.W_OK):
            return f"{place} may not be written ({stat.filemode(status.st_mode)}, of {_user_name(status.st_uid)})"
    return ""


def path_problem(error: OSError, path: Path) -> str:
    """An error with its path, without a full stop; of a permission, what on the way to it lacks one."""
    place = Path(error.filename) if isinstance(error.filename, str) else path
    if isinstance(error, PermissionError) and (culprit := barred(place) or barred(place.parent)):
        return culprit
    return f"{place}: {error.strerror or error}"


def _user_name(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def is_folder(path: Path) -> bool:
    """Whether a folder can be seen there, also for what cannot be a path or must not be looked at."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def write_atomic(path: Path, content: str | bytes, *, is_private: bool = True) -> None:
    """Write a file atomically: readers, and a crash, see either the old or the new content.

    One that is there keeps its mode. What goes to a place that the person named is not private.
    Raises OSError (disk full, read-only folder); nothing is left behind then.
    """
    data = content.encode() if isinstance(content, str) else content
    with replacing(path, is_private=is_private) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def write_new(path: Path, content: str) -> None:
    """Write a private file (0600) under a name that is not taken.

    Raises FileExistsError when there is anything of that name, a broken link too, and OSError (disk full, no such
    folder); nothing is left behind then.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content.encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def replacing(path: Path, *, is_private: bool = True) -> Iterator[Path]:
    """A temporary file beside `path`, which replaces it when the block ends, or is deleted when the block fails."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        share_with_group(temporary, path.parent)
        temporary.chmod(_mode_of(path) or (new_mode(path.parent) if is_private else 0o666 & ~_umask()))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_folder(folder: Path) -> None:
    """Create a folder with its parents. Raises OSError, also if a file has its name."""
    missing = []
    place = folder
    while not place.exists():
        missing.append(place)
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(place))
    is_shared = is_group_shared(place) and (place == folder.parent or not _is_private_group(place))
    for folder in reversed(missing):
        folder.mkdir(0o777 if is_shared else 0o700, exist_ok=True)
        if is_shared:
            share_with_group(folder, folder.parent)


def is_group_shared(folder: Path) -> bool:
    """Whether a folder is shared by a group; never true for /tmp, which everyone shares."""
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_ISGID) or (bool(mode & stat.S_IWGRP) and not mode & stat.S_ISVTX)


def _is_private_group(folder: Path) -> bool:
    """Whether a folder's group is one that the system made for this user alone."""
    status, user = folder.stat(), os.getuid()
    group = status.st_gid
    if status.st_mode & stat.S_ISGID or user == 0:
        return False
    try:
        import grp
        import pwd

        entry = grp.getgrgid(group)
        return entry.gr_name == pwd.getpwuid(user).pw_name and not entry.gr_mem
    except (KeyError, ImportError):
        return group == user


def share_with_group(path: Path, folder: Path) -> None:
    """Give what was made in a folder that a group shares to that group, where the folder does not do so itself."""
    if not is_group_shared(folder):
        return
    group = folder.stat().st_gid
    if path.stat().st_gid != group:
        with contextlib.suppress(OSError):  # not a member of the group: it can write as others can
            os.chown(path, -1, group)


def new_mode(folder: Path) -> int:
    """The mode of a new file in a folder."""
    return 0o666 & ~_umask() if is_group_shared(folder) else 0o600


def open_descriptor(path: Path, flags: int) -> int:
    """Open a file; a new one gets the mode of our files. Raises OSError."""
    is_shared = is_group_shared(path.parent)
    is_new = is_shared and bool(flags & os.O_CREAT) and not os.path.lexists(path)
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666 if is_shared else 0o600)
    if is_new:
        share_with_group(path, path.parent)
    return descriptor


def open_log(path: Path, *, may_make: bool = True) -> io.FileIO:
    """A file to append to, created as by `open_descriptor`. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | (os.O_CREAT if may_make else 0)
    return io.FileIO(open_descriptor(path, flags), "ab")


def make_empty(path: Path) -> None:
    """Create an empty file if there is none. Raises OSError."""
    os.close(open_descriptor(path, os.O_WRONLY | os.O_CREAT))


def settle_modes(folder: Path, *, is_private: bool = True, place: Path | None = None) -> None:
    """Give what libraries wrote below a folder that we made the modes of our own files. Raises OSError.

    `place` is the folder that it will lie in, where a library made the one that it lies in now.
    """
    files = new_mode(place or folder.parent) if is_private else 0o666 & ~_umask()
    folders = files | (files & 0o444) >> 2
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        setgid = path.stat().st_mode & stat.S_ISGID if path.is_dir() else 0
        if is_private:
            share_with_group(path, place or folder.parent)
        path.chmod(folders | setgid if path.is_dir() else files)


def _mode_of(path: Path) -> int | None:
    """The mode of an existing file."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None


def _umask() -> int:
    """The process's umask; it can only be read by setting it."""
    with _asking_umask:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Sync a folder to disk, so that renames in it survive a power failure, where supported."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; files deleted in the meantime are skipped."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                total += path.stat().st_size
        except OSError:
            continue
    return total


def entries(folder: Path, most: int) -> list[Path]:
    """A folder's entries, at most `most`; empty when it cannot be read."""
    try:
        return list(itertools.islice(folder.iterdir(), most))
    except OSError:
        return []


def last_lines(path: Path, count: int, within_bytes: int = 256 * 1024) -> list[str]:
    """The last lines of a text file, the oldest first; empty when it cannot be read."""
    try:
        with guarded.open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - within_bytes))
            lines = file.read(within_bytes).decode("utf-8", "replace").splitlines()
    except (OSError, Unreadable):
        return []
    return [line.rstrip() for line in lines[-count:]]


class LineFollower:
    """Reads the complete lines added to a growing file since the last read; an incomplete last line is read later."""

    def __init__(self, path: Path, chunk_bytes: int = 4 << 20) -> None:
        self.path = path
        self.skipped_lines = 0
        """Number of skipped lines, longer than LONGEST_LINE_BYTES."""
        self.incomplete = b""
        """How the incomplete last line begins, at most INCOMPLETE_BYTES of it."""
        self._chunk_bytes = chunk_bytes
        self._position = 0
        self._is_skipping = False

    def read(self) -> bytes:
        """The next complete lines, at most about one chunk; empty when there is nothing new, or no file (yet).

        Raises Unreadable for anything that is not a readable file.
        """
        try:
            with guarded.open_regular(self.path) as file:
                file.seek(0, os.SEEK_END)
                if file.tell() < self._position:  # the file was replaced by a shorter one
                    self._position = 0
                    self._is_skipping = False
                return self._next_lines(file)
        except Unreadable as error:
            if error.is_missing:
                return b""
            raise
        except OSError as error:
            raise guarded.unreadable(self.path, error) from None

    def _next_lines(self, file: BinaryIO) -> bytes:
        self.incomplete = b""
        if self._is_skipping and not self._skip(file):
            return b""
        file.seek(self._position)
        parts: list[bytes] = []
        length = 0
        while data := file.read(self._chunk_bytes):
            parts.append(data)
            length += len(data)
            if b"\n" in data:
                break
            if length > LONGEST_LINE_BYTES:
                self.skipped_lines += 1
                self._is_skipping = True
                return self._next_lines(file)
        else:  # the end of the file, in the middle of a line
            self.incomplete = b"".join(parts)[:INCOMPLETE_BYTES]
            return b""
        lines = b"".join(parts)
        end = lines.rfind(b"\n") + 1
        self._position += end
        return lines[:end]

    def _skip(self, file: BinaryIO) -> bool:
        """Skip to the end of a line that is too long; False when the end is not written yet."""
        file.seek(self._position)
        while data := file.read(self._chunk_bytes):
            line_end = data.find(b"\n")
            self._position += len(data) if line_end < 0 else line_end + 1
            if line_end >= 0:
                self._is_skipping = False
                return True
        return False
