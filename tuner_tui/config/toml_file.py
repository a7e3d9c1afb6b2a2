"""Edits a TOML file that several processes may change, and that may have errors."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import time
from typing import TYPE_CHECKING, Any

from tuner_tui import guarded
from tuner_tui.errors import SettingsError, TunerError
from tuner_tui.guarded import Unreadable
from tuner_tui.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


PATIENCE_SECONDS = 30.0
MOST_DROPPED = 50
_KEY = re.compile(r"[ \t]*[A-Za-z0-9_.\"'-]+[ \t]*=")
_HEADER = re.compile(r"[ \t]*\[")


@contextlib.contextmanager
def changing(path: Path) -> Iterator[Any]:
    """The file as a tomlkit document, which preserves comments; locked, and written when the block ends.

    Raises SettingsError for a file that is not TOML, is read-only or is a broken symlink, and TunerError when it cannot
    be written. Then nothing is changed.
    """
    import tomllib

    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    from tuner_tui.config.toml_lines import toml_problem
    from tuner_tui.files import make_folder, write_atomic

    title = "The settings cannot be written"
    try:
        make_folder(path.parent)
        with _lock(path.with_name(f".{path.name}.lock")):
            target = _target(path)
            before = _text(target)
            try:
                tomllib.loads(before)  # whose words name the line
                document = tomlkit.parse(before)
            except tomllib.TOMLDecodeError as error:
                line, message = toml_problem(before, error)
                place = f", line {line}" if line else ""
                raise SettingsError(
                    "The settings cannot be read as TOML",
                    plain(f"{path}{place}: {message}."),
                    "Fix it there.",
                ) from None
            except (TOMLKitError, RecursionError, ValueError) as error:
                raise SettingsError(
                    "The settings cannot be read as TOML",
                    plain(f"{path}: {str(error)[:200]}."),
                    "Fix it there.",
                ) from None
            yield document
            after = tomlkit.dumps(document)
            if after != before:
                write_atomic(target, after)
    except OSError as error:
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
        reason = error.strerror or str(error)
        raise TunerError(
            title, f"{path}: {reason}{where}.", "Free space there, or change its permissions."
        ) from error


def readable_tables(text: str) -> tuple[dict[str, Any], str]:
    """The tables of a text that may be invalid TOML, without its unreadable lines, and those lines."""
    import tomllib

    lines = text.splitlines(keepends=True)
    dropped: list[str] = []
    for _ in range(MOST_DROPPED):
        try:
            return tomllib.loads("".join(lines)), "".join(dropped)
        except tomllib.TOMLDecodeError:
            bad = max(_candidates(lines), key=lambda span: _first_error(_without(lines, span)))
            dropped += lines[bad.start : bad.stop]
            lines = _without(lines, bad)
        except (ValueError, RecursionError):
            break
    return {}, text


def _candidates(lines: list[str]) -> list[range]:
    """Lines that may have the error: where parsing stops (for a table's name, the whole table), or the key before."""
    at = min(_first_error(lines), len(lines)) - 1
    while at > 0 and not lines[at].strip():
        at -= 1
    end = at + 1
    if _HEADER.match(lines[at]):
        end = next((i for i in range(at + 1, len(lines)) if _HEADER.match(lines[i])), len(lines))
    key = next((i for i in range(at, -1, -1) if _KEY.match(lines[i])), at)
    return [range(at, end), range(key, max(key + 1, at if _HEADER.match(lines[at]) else at + 1))]


def _first_error(lines: list[str]) -> int:
    """The line (from 1) at which parsing stops; past the last one if everything is valid."""
    import tomllib

    try:
        tomllib.loads("".join(lines))
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column \d+\)$", str(error))
        return int(place[1]) if place else len(lines)
    except (ValueError, RecursionError):
        return 0
    return len(lines) + 1


def _without(lines: list[str], span: range) -> list[str]:
    """The lines with a span emptied."""
    return ["\n" if number in span else line for number, line in enumerate(lines)]


def _text(path: Path) -> str:
    """The file's text, empty if it does not exist. Raises SettingsError."""
    try:
        return guarded.read_text(path)
    except Unreadable as error:
        if error.is_missing:
            return ""
        raise SettingsError("The settings cannot be read", f"{path}: {error.problem}.", error.hint) from None


def _target(path: Path) -> Path:
    """The file to write, the target of a symlink. Raises SettingsError if it cannot be written."""
    try:
        target = path.resolve()
    except RuntimeError:
        raise SettingsError(
            "The settings cannot be written", f"{path} is a symlink loop.", "Remove it."
        ) from None
    led = f", to which {path} leads," if target != path.absolute() else ""
    if not target.parent.is_dir():
        raise SettingsError(
            "The settings cannot be written",
            f"The folder of {target}{led} does not exist.",
            "Create it, or remove the symlink.",
        )
    if target.exists() and not target.stat().st_mode & 0o222:
        raise SettingsError(
            "The settings are read-only",
            f"{target}{led} may not be written.",
            f"Allow it with: chmod u+w {shlex.quote(str(target))}",
        )
    return target


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Lock the file for processes and threads. Raises TunerError when another one does not release it."""
    from tuner_tui.files import open_descriptor

    descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TunerError(
                        "The settings are being changed",
                        f"Another program has locked {path} for {PATIENCE_SECONDS:.0f} s.",
                        "End that program, then try again.",
                    ) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
