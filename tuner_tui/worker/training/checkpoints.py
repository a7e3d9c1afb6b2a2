"""Atomic checkpoints: written to a staging folder with a manifest, synced to disk, then renamed into place."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pickle
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tuner_tui import guarded
from tuner_tui.files import folder_size, make_folder, settle_modes, sync_folder, write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.models.adapter import PICKLES
from tuner_tui.owned import NotOurs, Owned
from tuner_tui.runs.events import CheckpointSaved
from tuner_tui.runs.folder import CHECKPOINT_NAME
from tuner_tui.versions import library_versions

if TYPE_CHECKING:
    from tuner_tui.worker.job import Job

MANIFEST = "manifest.json"
LARGEST_STATE_BYTES = 256 << 20
"""The trainer's state holds its whole log, some 200 bytes a logged step."""
STAGING = ".staging-"
OLD = ".old-"
KEEPERS_FILES = ("plan.json", "summary.json", "report.md")
_LEFT_BEHIND = re.compile(
    rf"{re.escape(STAGING)}([0-9]{{6,}}|start|adapter)-[0-9]+"
    rf"|{re.escape(OLD)}({CHECKPOINT_NAME.pattern}|adapter|started-from)-[0-9]+"
    rf"|\.({'|'.join(map(re.escape, KEEPERS_FILES))})\.[a-z0-9_]{{8}}",
    re.ASCII,
)
Reason = Literal["schedule", "request", "stop", "end"]
NOT_NEEDED = ("training_args.bin", "README.md")
"""Files that trainers add and that resuming does not use; training_args.bin is also a pickle."""
REFERENCE = "ref"
"""TRL's name of the frozen copy of an adapter; recreated from the run's own copy of its start adapter."""
_Trainer: Any = object  # transformers' own comes with the class that this is mixed into
_log = logging.getLogger(__name__)


class ManifestFile(msgspec.Struct, frozen=True):
    """One file of a checkpoint."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """The files of a checkpoint; written last, so that its presence means that the checkpoint is complete."""

    step: int
    made_at: float
    versions: dict[str, str]
    files: dict[str, ManifestFile]
    data: str = ""
    """The fingerprint of the training rows."""
    held_out: str = ""
    """The fingerprint of the evaluation rows; empty if there are none."""
    seed: int | None = None
    """The seed that rows, adapter and dropout were drawn by."""


class CompleteCheckpoints(_Trainer):  # type: ignore[misc]
    """A mixin for transformers' Trainer: saves through a staging folder and applies our rotation."""

    job: Job
    _staging: Path | None = None
    _completing: threading.Thread | None = None

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging else super()._get_output_dir(trial)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write no model card at each checkpoint: sharing writes one."""

    def train(self, *arguments: Any, **named: Any) -> Any:
        """Train; when this returns, no checkpoint is being written any more."""
        try:
            return super().train(*arguments, **named)
        finally:
            self.wait_until_complete()

    def wait_until_complete(self) -> None:
        """Wait until the checkpoint that is being written is complete."""
        if self._completing is not None:
            self._completing.join()
            self._completing = None

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write to the staging folder while training waits; a thread then syncs, renames and reports it.

        Raises out-of-memory errors; other failures are reported, and training continues.
        """
        from tuner_tui.worker.model.loading import is_out_of_memory  # imports torch, which is loaded by now

        self.wait_until_complete()
        started = time.perf_counter()
        step: int = self.state.global_step
        reason = self._reason()
        staging = self.job.folder.checkpoints / f"{STAGING}{step:06d}-{os.getpid()}"
        self._staging = staging
        try:
            make_folder(staging)  # as ours, before a library makes it by the umask
            super()._save_checkpoint(model, trial)
        except Exception as error:
            if is_out_of_memory(error):
                self.job.folder.owned.discard(staging)
                raise
            self._give_up(step, staging, error)
            self._stay_unless_saved(step)
            return
        finally:
            self._staging = None
            self.job.save.clear()
            self.job.times.checkpoints += time.perf_counter() - started
        best = self.state.best_global_step
        self._completing = threading.Thread(
            target=self._complete, args=(staging, step, best, reason, started), name="checkpoint"
        )
        self._completing.start()
        if step >= self.state.max_steps or self.job.stop.is_set():
            self.wait_until_complete()
            self._stay_unless_saved(step)

    def _determine_best_metric(self, *arguments: Any, **named: Any) -> bool:
        """Save the best evaluation's weights even when no checkpoint is due."""
        is_best: bool = super()._determine_best_metric(*arguments, **named)
        self.control.should_save |= is_best
        return is_best

    def _stay_unless_saved(self, step: int) -> None:
        """A pause must lose nothing: without a checkpoint of this step the run continues, with a warning."""
        job = self.job
        if not job.pause.is_set() or step >= self.state.max_steps or job.checkpoint == folder_name(step):
            return
        job.pause.clear()
        job.stop.clear()
        self.control.should_training_stop = False
        job.warn(
            f"Not paused: without a checkpoint of step {step} the last steps would be lost.",
            "Free disk space, then pause again; `runs stop` ends the run anyway.",
        )

    def _complete(self, staging: Path, step: int, best: int | None, reason: Reason, started: float) -> None:
        parent = self.job.folder.checkpoints
        target = parent / folder_name(step)
        try:
            written = staging / f"checkpoint-{step}"
            for name in (*NOT_NEEDED, REFERENCE):
                self.job.folder.owned.discard(written / name)
            _make_complete(
                written,
                step,
                self.job.data_fingerprint,
                self.job.spec.training.seed,
                self.job.held_out_fingerprint,
            )
            self.job.flush()  # events up to this step first: a resumed run does not repeat them
            replace_folder(written, target, self.job.folder.owned)
            self.job.checkpoint = target.name
            self.job.corrupt.discard(target.name)
            self._rotate(step, best)
        except Exception as error:
            self._give_up(step, staging, error)
            return
        self.job.folder.owned.discard(staging)
        self.job.emit(
            CheckpointSaved(
                step=step,
                path=str(target.relative_to(self.job.folder.path)),
                size_bytes=folder_size(target),
                seconds=time.perf_counter() - started,
                reason=reason,
            )
        )

    def _give_up(self, step: int, staging: Path, error: Exception) -> None:
        """Report the failure, usually a full disk; training continues, and the earlier checkpoints stay complete."""
        _log.error("the checkpoint of step %d was not saved", step, exc_info=error)
        self.job.folder.owned.discard(staging)
        self.job.warn(
            f"The checkpoint of step {step} was not saved: {error}",
            "Free disk space; training continues without this checkpoint.",
        )

    def _reason(self) -> Reason:
        if self.state.global_step >= self.state.max_steps:
            return "end"
        if self.job.stop.is_set():
            return "stop"
        return "request" if self.job.save.is_set() else "schedule"

    def _rotate(self, newest: int, best: int | None) -> None:
        """Delete all but the best and the last complete checkpoints; later ones are of another attempt."""
        folders = [
            path for path in checkpoint_folders(self.job.folder.checkpoints) if step_of(path) <= newest
        ]
        complete = [path for path in folders if path.name not in self.job.corrupt]
        wanted = {path for path in complete if step_of(path) == best} | set(
            complete[-self.job.spec.checkpoints.keep :]
        )
        for path in folders:
            if path not in wanted:
                _remove(path, self.job.folder.owned)


def folder_name(step: int) -> str:
    """The name of a step's checkpoint."""
    return f"step-{step:06d}"


def checkpoint_folders(parent: Path) -> list[Path]:
    """All checkpoints, the oldest first."""
    try:
        named = [path for path in parent.glob("step-*") if CHECKPOINT_NAME.fullmatch(path.name)]
        return sorted((path for path in named if path.is_dir()), key=step_of)
    except OSError:
        return []


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.name.removeprefix("step-"))


def read_manifest(checkpoint: Path) -> Manifest:
    """A checkpoint's manifest. Raises Unreadable when it is missing or damaged."""
    return guarded.read_json(checkpoint / MANIFEST, Manifest)


def is_at_end(checkpoint: Path) -> bool:
    """Whether all steps were made when a checkpoint was saved, so that only the result is missing."""
    content = guarded.read_bytes(checkpoint / "trainer_state.json", LARGEST_STATE_BYTES)
    state = json.loads(content)  # its losses may be NaN, which strict JSON parsers refuse
    return bool(state["global_step"] >= state["max_steps"])


def why_corrupt(checkpoint: Path) -> str | None:
    """Why a checkpoint is corrupt, or None when it is complete."""
    try:
        manifest = read_manifest(checkpoint)
    except Unreadable:
        return "its manifest is missing or corrupt"
    for name, expected in manifest.files.items():
        path = checkpoint / name
        try:
            if not path.is_file() or path.stat().st_size != expected.size:
                return f"{name} is missing or truncated"
            if _sha256(path) != expected.sha256:
                return f"{name} is corrupt"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
    return None


def refused_file(checkpoint: Path) -> Path | None:
    """The first file that PyTorch does not load because it holds more than tensors and plain values."""
    import torch
    from transformers.trainer_pt_utils import safe_globals

    for path in sorted(path for path in checkpoint.iterdir() if path.suffix in PICKLES):
        try:
            with safe_globals():  # type: ignore[no-untyped-call]
                torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            return path
        except Exception:  # damaged in another way, which says so itself
            continue
    return None


def _make_complete(written: Path, step: int, data: str, seed: int, held_out: str = "") -> None:
    settle_modes(written, place=written.parent.parent)  # not that of the staging folder
    files = {}
    for path in sorted(path for path in written.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[str(path.relative_to(written))] = ManifestFile(path.stat().st_size, _sha256(path))
    manifest = Manifest(step, time.time(), library_versions(), files, data, held_out, seed)
    write_atomic(written / MANIFEST, msgspec.json.encode(manifest))


def replace_folder(written: Path, target: Path, owned: Owned) -> None:
    """Rename a finished folder into place; a previous one is deleted only afterwards."""
    hidden = target.with_name(f"{OLD}{target.name}-{os.getpid()}")
    if target.exists():
        owned.move(target, hidden)
    written.rename(target)
    sync_folder(target.parent)
    owned.discard(hidden)


def remove_leftovers(owned: Owned, *parents: Path) -> None:
    """Delete what a killed worker or keeper left unfinished or half deleted, by the whole names that we give."""
    for parent in parents:
        for path in parent.glob(".*"):
            if _LEFT_BEHIND.fullmatch(path.name):  # no keeper writes its files while a worker runs
                owned.discard(path)


def _remove(folder: Path, owned: Owned) -> None:
    """Delete a folder atomically for readers, by renaming it first."""
    hidden = folder.with_name(f"{OLD}{folder.name}-{os.getpid()}")
    with contextlib.suppress(NotOurs):  # it was replaced with a symlink
        owned.move(folder, hidden)
        owned.discard(hidden)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
