"""Notes on runs: a text and tags, one small file per run.

They are in the data folder's `notes/`, since only keeper and worker write to a run's folder.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.errors import InputError, TunerError
from tuner_tui.files import path_problem, write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.owned import Layout, Owned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_CHARACTERS = 20_000
LONGEST_TAG = 30
_GAPS = re.compile(r"[\s,]+")


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The note on one run."""

    text: str = ""
    tags: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.text or self.tags)


def note_file(run_name: str) -> Path:
    """The file of a run's note."""
    return paths.notes_dir() / f"{run_name}.json"


def owned() -> Owned:
    """The folder of the notes, for deleting in it."""
    return Owned(paths.notes_dir(), "notes", layout=LAYOUT, may_be_older=True)


def _was_made(path: Path) -> bool:
    """Whether the file is named for a run and holds a note and nothing else."""
    keys = guarded.read_json(path, dict).keys()
    is_note = bool(keys) and keys <= {"text", "tags"} and not guarded.read_json(path, Note).is_empty
    return is_note and _OF_A_RUN.fullmatch(path.name) is not None


_OF_A_RUN = re.compile(r"\d{4}-\d\d-\d\d-.+-[0-9a-f]{4}\.json", re.ASCII)
LAYOUT = Layout(r".+\.json", Path.is_file, _was_made)


def read_note(run_name: str) -> Note:
    """A run's note; an empty one when there is none. Raises Unreadable."""
    try:
        return guarded.read_json(note_file(run_name), Note)
    except Unreadable as error:
        if error.is_missing:
            return Note()
        raise


def write_note(run_name: str, note: Note) -> None:
    """Write a run's note; an empty one is removed.

    Raises InputError for a text that is too long, Unreadable instead of overwriting a note that cannot be read, and
    TunerError when writing fails.
    """
    if len(note.text) > MOST_CHARACTERS:
        raise InputError(
            "The note is too long", f"{len(note.text):,} characters; at most {MOST_CHARACTERS:,}."
        )
    path = note_file(run_name)
    if not note.is_empty:
        read_note(run_name)
    try:
        if note.is_empty:
            if path.exists():
                owned().remove(path)
            return
        owned().claim()
        write_atomic(path, msgspec.json.encode(note))
    except OSError as error:
        raise TunerError("The note cannot be saved", f"{path_problem(error, path)}.") from error


def parse_tags(text: str) -> tuple[str, ...]:
    """Unique tags from a line, separated by spaces or commas. Raises InputError for a tag that is too long."""
    tags = tuple(
        dict.fromkeys(tag.lstrip("#").lower() for tag in _GAPS.split(text.strip()) if tag.lstrip("#"))
    )
    for tag in tags:
        if len(tag) > LONGEST_TAG:
            raise InputError("The tag is too long", f"{tag!r}: at most {LONGEST_TAG} characters.")
    return tags


class NotesReader:
    """Reads all notes repeatedly at low cost: the folder's modification time shows whether any has changed."""

    def __init__(self) -> None:
        self._seen = -1
        self._notes: dict[str, Note] = {}

    def read(self) -> Mapping[str, Note]:
        """All notes by the runs' names."""
        try:
            changed_at = paths.notes_dir().stat().st_mtime_ns
        except OSError:
            return {}
        if changed_at != self._seen:
            self._seen = changed_at
            files = [path for path in paths.notes_dir().glob("*.json") if path.name[0] != "."]
            self._notes = {}
            for path in files:
                with contextlib.suppress(Unreadable):  # reported with the run (runs/problems.py)
                    self._notes[path.stem] = read_note(path.stem)
        return self._notes


def fits(words: Iterable[str], shown: str, note: Note) -> bool:
    """Whether a run matches: each word is in what is shown of it or in its note, or with a # is one of its tags."""
    text = f"{shown} {note.text} {' '.join(note.tags)}".lower()
    return all(word[1:] in note.tags if word.startswith("#") else word in text for word in words)
