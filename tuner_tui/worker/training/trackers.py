"""TensorBoard, trackio and W&B through transformers' callbacks; their failures never end a run."""

from __future__ import annotations

import copy
import logging
import os
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from tuner_tui.config.settings import read_settings
from tuner_tui.errors import TunerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.worker.job import Job

_log = logging.getLogger(__name__)
find_callbacks: Any = get_reporting_integration_callbacks  # it has no types

EVENTS = tuple(name for name in dir(TrainerCallback) if name.startswith("on_"))


def add_trackers(trainer: Any, job: Job) -> None:
    """Report to the trackers that the settings name; one that is not installed or cannot start is a warning."""
    try:
        settings = read_settings()
    except TunerError as error:
        job.warn(f"No tracker is used for this run: {error.title}.", error.hint)
        return
    project = settings.text("trackers.project") or "tuner-tui"
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(job.folder.path / "tensorboard"))
    for name in settings.words("trackers.report_to"):
        try:
            [make] = find_callbacks([name])
            tracker = make()
        except Exception as error:  # a tracker's failure must not end the run
            _log.warning("%s does not start", name, exc_info=True)
            job.warn(
                f"{name} is not used for this run: {_first_line(error)}",
                f"Install it with: pip install 'tuner-tui[{name}]'",
            )
            continue
        trainer.add_callback(SoftTracker(name, tracker, job.folder.name, project, job.warn))


class SoftTracker(TrainerCallback):
    """Forwards a trainer's events to a tracker until that fails; then the run continues without it."""

    def __init__(
        self, name: str, tracker: Any, run_name: str, project: str, warn: Callable[[str, str], None]
    ) -> None:
        self._name = name
        self._tracker: Any | None = tracker
        self._run_name = run_name
        self._project = project
        self._warn = warn

    def hand_on(self, event: str, args: Any, *rest: Any, **named: Any) -> None:
        """Forward one event; changes that the tracker makes to the training's control are ignored."""
        if self._tracker is None:
            return
        renamed_args = copy.copy(args)
        renamed_args.run_name, renamed_args.project = self._run_name, self._project
        try:
            getattr(self._tracker, event)(renamed_args, *rest, **named)
        except Exception as error:  # offline, full, not logged in: never a reason to end the run
            self._tracker = None
            _log.warning("%s failed", self._name, exc_info=True)
            self._warn(
                f"{self._name} failed and is no longer used: {_first_line(error)}",
                "The run continues; its own events have all metrics.",
            )


def _handing_on(event: str) -> Callable[..., None]:
    def hand_on(self: SoftTracker, args: Any, *rest: Any, **named: Any) -> None:
        self.hand_on(event, args, *rest, **named)

    return hand_on


for _event in EVENTS:
    setattr(SoftTracker, _event, _handing_on(_event))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]
