"""What can be done to a run from any screen; each says in words what it did. They block: call them in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.runs.folder import RunFolder


def stop_run(folder: RunFolder) -> str:
    """Take a run out of the queue, or ask it to save and stop."""
    from tuner_tui.runs import queue
    from tuner_tui.runs.control import leave_request

    if queue.withdraw(folder.name):
        return "Taken out of the queue."
    leave_request(folder, "stop")
    return "Asked to stop; it saves first."


def pause_run(folder: RunFolder) -> str:
    """Ask a run to save and let go of the card."""
    from tuner_tui.runs.control import leave_request

    leave_request(folder, "pause")
    return "Asked to pause; it saves first. r goes on."


def resume_run(folder: RunFolder) -> str:
    """Go on from the last checkpoint."""
    from tuner_tui.keeper.launch import resume

    resume(folder)
    return "Going on from the last checkpoint."


def delete_run(folder: RunFolder) -> str:
    """Delete a run's folder for good. Raises RunProblem when it is live."""
    from tuner_tui.runs.folder import delete_run as delete

    delete(folder)
    return f"Deleted {folder.name}."


def start_demo() -> RunFolder:
    """Queue the demo's run."""
    from tuner_tui.config.presets import find_preset, preset_spec
    from tuner_tui.keeper.launch import launch

    return launch(preset_spec(find_preset("first-try")))


def spec_of(folder: RunFolder) -> tuple[RunSpec, str]:
    """A run's spec, and the file it stands in."""
    from tuner_tui.config.spec_file import read_spec, read_text

    return read_spec(folder.spec), read_text(folder.spec)
