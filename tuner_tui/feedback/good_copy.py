"""The last good copy of a collection: replaced only by one that is complete and lacks none of its rows."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.errors import TunerError
from tuner_tui.feedback import store_errors
from tuner_tui.feedback.integrity import (
    annotations_in,
    complete,
    connect,
    rows_lost,
)
from tuner_tui.feedback.store_errors import UnlikeCopy
from tuner_tui.files import new_mode, path_problem, share_with_group, sync_folder
from tuner_tui.text import counted, shell_command

if TYPE_CHECKING:
    from tuner_tui.feedback.collection_file import CollectionFile


UNLIKE_SUFFIX = ".unlike-copy"


def replace_copy(store: CollectionFile, target: Path) -> None:
    """Replace the older copy by a new one, once that is verified as complete and has all rows of the older one.

    Raises DamagedStore for a damaged collection and UnlikeCopy for one that lacks rows of the older copy, which
    then stays as it is; TunerError when the copy cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            making = Path(scratch) / target.name
            lost = _copy_compared(store, making, target)
            share_with_group(making, target.parent)
            making.chmod(new_mode(target.parent))
            if lost:
                making.replace(target.with_name(f"{store.path.name}{UNLIKE_SUFFIX}"))
                raise _unlike(store, target, lost)
            making.replace(target)
            sync_folder(target.parent)
    except OSError as error:
        raise TunerError("The copy cannot be written", f"{path_problem(error, target)}.") from error


def _copy_compared(store: CollectionFile, making: Path, older: Path) -> int:
    """Make a copy; returns how many rows of an older, complete one it lacks. Raises DamagedStore, MovedStore."""
    with store.explaining("copied"):
        store.require_in_place()
        with (
            contextlib.closing(connect(store.path, timeout=store_errors.PATIENCE_SECONDS)) as reader,
            contextlib.closing(sqlite3.connect(making)) as copy,
        ):
            reader.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        store.require_in_place()
        with complete(making) as copy:
            return rows_lost(copy, older) if annotations_in(older) is not None else 0


def _unlike(store: CollectionFile, target: Path, lost: int) -> UnlikeCopy:
    name = store.path.stem
    return UnlikeCopy(
        "The collection lacks rows of its last good copy",
        f"{store.path}: {counted(lost, 'row')} of {target.name} {'is' if lost == 1 else 'are'} missing or "
        "different in it. That copy is kept; the "
        f"current collection is copied to {store.path.name}{UNLIKE_SUFFIX}.",
        f"Restore the good copy: {shell_command('feedback restore', name)}. If the collection is correct as it is, "
        f"move {target.name} away.",
    )
