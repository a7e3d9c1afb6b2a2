"""Actions on a run from any screen; each returns a confirmation. They block: call them in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.text import size

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.runs.disk import CleanUpItem
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.notes import Note


def stop_run(folder: RunFolder) -> str:
    """Remove a run from the queue, or ask it to save and stop."""
    from tuner_tui.runs import queue
    from tuner_tui.runs.control import leave_request

    if queue.withdraw(folder.name):
        return "Removed from the queue."
    leave_request(folder, "stop")
    return "Stop requested; it saves first."


def end_run_now(folder: RunFolder) -> str:
    """Remove a run from the queue, or end its worker at once."""
    from tuner_tui.keeper.start import end_now
    from tuner_tui.runs import queue

    if queue.withdraw(folder.name):
        return "Removed from the queue."
    end_now(folder)
    return "Stopping now, without saving."


def pause_run(folder: RunFolder) -> str:
    """Ask a run to save and free its memory."""
    from tuner_tui.runs.control import leave_request

    leave_request(folder, "pause")
    return "Pause requested; it saves first. r resumes it."


def resume_run(folder: RunFolder) -> str:
    """Resume from the last checkpoint, whose step is said."""
    from tuner_tui.keeper.launch import resume
    from tuner_tui.runs.disk import complete_checkpoints

    resume(folder)
    saved = complete_checkpoints(folder)
    if not saved:
        return "Starting again: no checkpoint was saved."
    return f"Resuming from the checkpoint of step {int(saved[-1].name.rpartition('-')[2])}."


def delete_run(folder: RunFolder) -> str:
    """Move a run to the trash. Raises RunProblem when it is live."""
    from tuner_tui.keeper.start import wake
    from tuner_tui.runs.trash import KEPT_DAYS, delete_run

    delete_run(folder)
    wake()  # the queue may have been held for it
    return f"Deleted {folder.name}; it stays in the trash for {KEPT_DAYS} days. u on the Runs screen restores it."


def keep_note(folder: RunFolder, note: Note) -> str:
    """Save a note about a run."""
    from tuner_tui.runs.notes import write_note

    write_note(folder.name, note)
    return "Note saved."


def throw_item(item: CleanUpItem) -> str:
    """Move something that is not needed to the trash, or delete what cannot be restored."""
    from tuner_tui.runs.disk import delete_item
    from tuner_tui.runs.trash import delete_items

    if item.owned is None or not item.can_be_restored:
        delete_item(item)
        return f"Freed {size(item.size_bytes)}."
    deleted = delete_items(item.owned, item.paths, f"{item.name} {item.kind}".replace("/", " "))
    return f"{deleted.name}: in the trash; u restores it."


def undo() -> str:
    """Restore what was deleted last."""
    from tuner_tui.keeper.start import wake
    from tuner_tui.runs.trash import restore_last

    name = restore_last()
    wake()
    return f"{name} is restored." if name else "The trash is empty."


def empty_trash() -> str:
    """Permanently delete everything in the trash. Raises TunerError for what stayed."""
    from tuner_tui.errors import TunerError
    from tuner_tui.runs import trash

    freed, stayed = trash.empty_trash()
    if stayed:
        raise TunerError(f"Freed {size(freed)}; not all of the trash could be deleted", "\n".join(stayed))
    return f"Freed {size(freed)}."


def start_demo() -> RunFolder:
    """Queue the demo's run."""
    from tuner_tui.config.presets import find_preset, preset_spec
    from tuner_tui.sharing.start_run import start_run

    return start_run(preset_spec(find_preset("first-try")))


def spec_of(folder: RunFolder) -> tuple[RunSpec, str]:
    """A run's spec, and its file."""
    from tuner_tui.config.spec_file import read_spec, read_text

    return read_spec(folder.spec), read_text(folder.spec)
