"""A TOML file that several processes change at once, and that a person may have written something wrong into."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import time
from typing import TYPE_CHECKING, Any

from tuner_tui import guarded
from tuner_tui.errors import InputError, TunerError
from tuner_tui.guarded import Unreadable
from tuner_tui.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class SettingsError(InputError):
    """The settings file cannot be used; says where."""

    meanwhile = ""
    """What the app uses until it is fixed."""


PATIENCE_SECONDS = 30.0
MOST_DROPPED = 50
_KEY = re.compile(r"[ \t]*[A-Za-z0-9_.\"'-]+[ \t]*=")
_HEADER = re.compile(r"[ \t]*\[")


@contextlib.contextmanager
def changing(path: Path) -> Iterator[Any]:
    """The file as a tomlkit document that keeps comments, written when the block ends; others wait meanwhile.

    Raises SettingsError for a file that is no TOML, is read-only or is a symlink to nowhere, and TunerError where it
    cannot be written. Nothing is changed then.
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
        raise TunerError(title, f"{path}: {reason}{where}.", "Free space or rights there.") from error


def readable_tables(text: str) -> tuple[dict[str, Any], str]:
    """What a text that may be no TOML says without the lines that cannot be read, and those lines."""
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
    """What may be wrong where reading ends: that line (a table's name with all that follows), or the key before it."""
    at = min(_first_error(lines), len(lines)) - 1
    while at > 0 and not lines[at].strip():
        at -= 1
    end = at + 1
    if _HEADER.match(lines[at]):
        end = next((i for i in range(at + 1, len(lines)) if _HEADER.match(lines[i])), len(lines))
    key = next((i for i in range(at, -1, -1) if _KEY.match(lines[i])), at)
    return [range(at, end), range(key, max(key + 1, at if _HEADER.match(lines[at]) else at + 1))]


def _first_error(lines: list[str]) -> int:
    """The line, from 1 on, at which reading ends; past the last one when all can be read."""
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
    """The lines, those of a span empty."""
    return ["\n" if number in span else line for number, line in enumerate(lines)]


def _text(path: Path) -> str:
    """The file's text, empty when there is none. Raises SettingsError."""
    try:
        return guarded.read_text(path)
    except Unreadable as error:
        if error.is_missing:
            return ""
        raise SettingsError("The settings cannot be read", f"{path}: {error.problem}.", error.hint) from None


def _target(path: Path) -> Path:
    """The file that is written: where a symlink leads. Raises SettingsError for one that must not or cannot be."""
    try:
        target = path.resolve()
    except RuntimeError:
        raise SettingsError(
            "The settings cannot be written", f"{path} is a symlink that leads back to itself.", "Remove it."
        ) from None
    led = f", to which {path} leads," if target != path.absolute() else ""
    if not target.parent.is_dir():
        raise SettingsError(
            "The settings cannot be written",
            f"The folder of {target}{led} does not exist.",
            "Make it, or remove the symlink.",
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
    """One at a time, processes and threads alike. Raises TunerError when another does not let go."""
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
                        f"Another program has held {path} for {PATIENCE_SECONDS:.0f} s.",
                        "End that program, then try again.",
                    ) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
