"""Keys of the Feedback screens that use a collection: train on it, and export it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual.binding import Binding

from tuner_tui.feedback.export_file import export_collection
from tuner_tui.feedback.to_train import training_spec
from tuner_tui.ui.modals.pick_path import PickPath

if TYPE_CHECKING:
    from tuner_tui.ui.screens.base import TunerScreen

TRAIN = Binding("R", "train", "Train", tooltip="A new run on this collection, with a method that fits it")
EXPORT = Binding("O", "export", "Export", tooltip="Write the annotations to a file, in TRL's formats")


def train_on(screen: TunerScreen, name: str) -> None:
    """Open New run on a collection; an error is shown on the screen."""
    screen.open_same_again(lambda: (training_spec(name), None))


async def export_from(screen: TunerScreen, name: str) -> None:
    """Ask for a file, and write what `feedback export` writes."""
    path = await screen.app.push_screen_wait(PickPath(f"Export {name} to", Path(f"{name}.jsonl")))
    if path is not None:
        screen.perform(lambda: _exported(name, path))


def _exported(name: str, path: Path) -> str:
    report = export_collection(name, path, may_replace=True)  # the dialog has asked
    return "\n".join((*report.lines, *report.left_out))
