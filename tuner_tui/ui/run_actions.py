"""Actions on a run from any screen; each returns a confirmation. They block: call them in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.text import size

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.runs.disk import CleanUpItem
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.notes import Note
    from tuner_tui.runs.trash import Trash


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
    """Ask a run to save and free the GPU."""
    from tuner_tui.runs.control import leave_request

    leave_request(folder, "pause")
    return "Pause requested; it saves first. r resumes it."


def resume_run(folder: RunFolder) -> str:
    """Resume from the last checkpoint."""
    from tuner_tui.keeper.launch import resume

    resume(folder)
    return "Resuming from the last checkpoint."


def delete_run(folder: RunFolder, trash: Trash) -> str:
    """Move a run to the trash. Raises RunProblem when it is live."""
    from tuner_tui.keeper.start import wake

    trash.move_run(folder)
    wake()  # the queue may have been held for it
    return f"Deleted {folder.name}; u on the Runs screen brings it back until the app closes."


def keep_note(folder: RunFolder, note: Note) -> str:
    """Save a note about a run."""
    from tuner_tui.runs.notes import write_note

    write_note(folder.name, note)
    return "Note saved."


def throw_item(item: CleanUpItem, trash: Trash) -> str:
    """Move something that is not needed to the trash."""
    from tuner_tui.runs.disk import delete_item

    if item.owned is None or item.paths == (item.owned.folder,):
        delete_item(item)
        return f"Freed {size(item.size_bytes)}."
    trash.move_items(item.owned, item.paths, item.name)
    return f"{item.name} is in the trash; u brings it back."


def undo(trash: Trash) -> str:
    """Restore what was deleted last."""
    undone = trash.undo()
    return f"{undone.words} is restored." if undone else "There is nothing to restore."


def start_demo() -> RunFolder:
    """Queue the demo's run."""
    from tuner_tui.config.presets import find_preset, preset_spec
    from tuner_tui.sharing.start_run import start_run

    return start_run(preset_spec(find_preset("first-try")))


def spec_of(folder: RunFolder) -> tuple[RunSpec, str]:
    """A run's spec, and its file."""
    from tuner_tui.config.spec_file import read_spec, read_text

    return read_spec(folder.spec), read_text(folder.spec)
