"""Exports a run: writes beside the target, reads back and compares, adds checksums, then renames into place."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.errors import InputError, TunerError
from tuner_tui.files import expanded, folder_size, settle_modes
from tuner_tui.hardware.system import disk_free_bytes
from tuner_tui.models.dequantised import entry_folder, fingerprint
from tuner_tui.models.hub_cache import cached_snapshot
from tuner_tui.owned import Owned
from tuner_tui.runs.export_events import (
    WORKER_FORMS,
    Agreement,
    BaseAs,
    BytesWritten,
    Checked,
    Event,
    ExportRequest,
    Form,
    StepEntered,
    Written,
)
from tuner_tui.sharing.archive import write_archive
from tuner_tui.sharing.checksums import write_sums
from tuner_tui.sharing.modelfile import modelfile
from tuner_tui.sharing.train_script import write_script
from tuner_tui.sharing.verification import Verification, write_record
from tuner_tui.sharing.worker_job import Cancelled, run_job
from tuner_tui.text import shell_line

if TYPE_CHECKING:
    from tuner_tui.sharing.run_facts import RunFacts

Tell = Callable[[Event], None]
DEFAULT_QUANT: dict[str, str] = {"gguf-adapter": "f32", "gguf": "f16", "ollama": "f16"}
ADAPTER_QUANTS = ("f32", "f16")
SPARE_BYTES = 50 * 10**6
DEQUANTISED_GROWTH = 8


@dataclass(frozen=True)
class Exported:
    """An export in its place."""

    folder: Path
    files: tuple[Path, ...]
    size_bytes: int
    checked: Checked | None
    """The comparison with the trained model; None where there was none, as `verification` says."""
    verification: Verification


@dataclass(frozen=True)
class ExportOptions:
    """Options of a form."""

    form: Form
    out: Path
    quant: str | None = None
    base_as: BaseAs = "trained"
    is_verified: bool = True
    """Whether it is compared with the trained model."""


def export(
    facts: RunFacts,
    options: ExportOptions,
    tell: Tell = lambda event: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    is_skipping: Callable[[], bool] = lambda: False,
) -> Exported:
    """Export one form of a run to a new folder.

    `is_skipping` is asked again and again during the verification, which ends once it is true.

    Raises InputError when the form or folder cannot be used, TunerError when it fails or does not behave like the
    trained model, and Cancelled; nothing is left behind then.
    """
    out = expanded(options.out).absolute()
    require_new(out)
    check_options(facts, options)
    require_room(facts, options, out)
    remove_leftovers(out)
    making = _staging(out.with_name(f"{_staging_prefix(out)}{os.getpid()}"))
    staging = making.folder / "content"
    checked = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        making.claim()
        staging.mkdir()
        if options.form in WORKER_FORMS:
            checked = _by_worker(facts, options, staging, tell, is_cancelled, is_skipping)
            write_record(staging, checked)
        elif options.form == "script":
            write_script(facts, staging)
        else:
            tell(StepEntered(what="packing the run, then reading it back"))
            target = staging / f"{facts.folder.name}.tar.gz"
            write_archive(
                facts.folder, target, lambda done, all_: tell(BytesWritten(done_bytes=done, total_bytes=all_))
            )
        tell(StepEntered(what="writing checksums"))
        write_sums(staging)
        settle_modes(staging, is_private=False)
        _take_place(staging, out)
    except OSError as error:
        raise TunerError(
            "The export cannot be written", f"{error.filename or out}: {error.strerror or error}."
        ) from error
    finally:
        making.discard_all()
    files = tuple(sorted(path for path in out.rglob("*") if path.is_file()))
    is_comparable = options.form in WORKER_FORMS
    verification: Verification = "compared" if checked else "skipped" if is_comparable else "not needed"
    return Exported(out, files, folder_size(out), checked, verification)


def remove_leftovers(out: Path) -> None:
    """Remove leftovers of killed exports to the same folder."""
    import psutil

    for left in out.parent.glob(f"{glob.escape(_staging_prefix(out))}*"):
        pid = left.name.rpartition("-")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            _staging(left).discard_all()


def _take_place(made: Path, out: Path) -> None:
    """Rename a folder into place; keep mode and group of an empty one that the user created there."""
    if out.is_dir():
        there = out.stat()
        made.chmod(stat.S_IMODE(there.st_mode))
        with contextlib.suppress(OSError):
            os.chown(made, -1, there.st_gid)
    made.rename(out)


def _staging(folder: Path) -> Owned:
    """The staging folder beside the target."""
    return Owned(folder, "export")


def _staging_prefix(out: Path) -> str:
    return f".{out.name}.partial-"


def compare_bases(
    facts: RunFacts, tell: Tell = lambda event: None, is_cancelled: Callable[[], bool] = lambda: False
) -> Agreement:
    """How the adapter behaves on the original weights, against the quantised ones it was trained on."""
    results = run_job("compare-bases", _request(facts, "merged", ""), facts.plan.threads, tell, is_cancelled)
    return next(event.agreement for event in results if isinstance(event, Checked))


def check_options(facts: RunFacts, options: ExportOptions) -> None:
    """Raise InputError for forms that are impossible for this run."""
    if facts.gives_scores and (facts.is_full or options.form not in ("adapter", "archive", "script")):
        raise InputError(
            "A reward model outputs scores, not text",
            f"{facts.folder.name} is not a language model, so it has no {options.form} form.",
            f"Its result loads into plain transformers as it is: {facts.folder.adapter}"
            if facts.is_full
            else "Export it with --as adapter.",
        )
    if facts.is_full and options.form in ("adapter", "gguf-adapter"):
        raise InputError(
            "Full tuning has no adapter",
            f"{facts.folder.name} trained every weight.",
            "Export the model: --as merged, gguf or ollama",
        )
    tuning = tuning_traits(facts.spec.tuning.kind)
    if options.form not in tuning.export_forms:
        raise InputError(
            "The tuning does not have this form",
            f"{facts.folder.name} was trained by {tuning.title}, which has no {options.form} form.",
            f"Use one of: {', '.join(tuning.export_forms)}.",
        )
    if options.quant and options.form not in DEFAULT_QUANT:
        raise InputError(
            "Only GGUF forms have a data type",
            f"--quant {options.quant} does not apply to {options.form}.",
            "Omit it.",
        )
    if options.form == "gguf-adapter" and (options.quant or "f32").lower() not in ADAPTER_QUANTS:
        raise InputError(
            "A GGUF adapter is not quantised",
            f"--quant {options.quant} does not apply to its small matrices; they are written as f32 or f16.",
            "Omit it, or use --quant f16.",
        )
    if options.base_as == "original" and not facts.is_quantised:
        raise InputError(
            "The base was not quantised",
            f"It was loaded in {facts.precision}, so the adapter is merged into the original weights anyway.",
            "Omit --into.",
        )


def require_new(out: Path) -> None:
    """Raise InputError when a folder cannot be made or already holds something."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        raise InputError(
            "The folder is not empty", f"{out} exists and is not empty.", "Name a new folder with --out."
        )
    parent = next((parent for parent in out.parents if parent.exists()), Path("/"))
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(
            "The folder cannot be created", f"{parent} cannot be written to.", "Name another with --out."
        )


def require_room(facts: RunFacts, options: ExportOptions, out: Path) -> None:
    """Raise TunerError when the disk has too little space for the form."""
    needed = needed_bytes(facts, options.form, options.quant)
    free = disk_free_bytes(next(parent for parent in out.parents if parent.exists()))
    if free is not None and free < needed:
        raise TunerError(
            "The disk is too full",
            f"{out.parent}: {free / 1e9:.1f} GB free, and this form needs about {needed / 1e9:.1f} GB.",
            "Free space there, or name another folder with --out.",
        )


def needed_bytes(facts: RunFacts, form: Form, quant: str | None = None) -> int:
    """The approximate size of a form in bytes."""
    adapter = folder_size(facts.folder.adapter)
    if form in ("adapter", "gguf-adapter", "script"):
        return adapter + SPARE_BYTES
    if form == "archive":
        return folder_size(facts.folder.path) + SPARE_BYTES
    weights = adapter if facts.is_full else _base_bytes(facts)
    return weights * (2 if quant not in (None, "f32", "f16", "q8_0") else 1) + SPARE_BYTES


def _base_bytes(facts: RunFacts) -> int:
    location = Path(facts.plan.model_location)
    if location.is_dir():
        return folder_size(location)
    if location.is_file():
        folder = entry_folder(fingerprint(location))
        return folder_size(folder) if folder.is_dir() else location.stat().st_size * DEQUANTISED_GROWTH
    snapshot = cached_snapshot(facts.plan.model_location, facts.plan.revision)
    return folder_size(snapshot) if snapshot else 0


def _by_worker(
    facts: RunFacts,
    options: ExportOptions,
    staging: Path,
    tell: Tell,
    is_cancelled: Callable[[], bool],
    is_skipping: Callable[[], bool],
) -> Checked | None:
    """Write in one process, verify in another; None where the verification was skipped."""
    request = _request(facts, options.form, str(staging), options)
    written = run_job("export", request, facts.plan.threads, tell, is_cancelled)
    result = next(event for event in written if isinstance(event, Written))
    if options.form == "ollama" and result.template is not None:
        text = modelfile(result.template, result.stop, result.context_length, result.sampling, "model.gguf")
        (staging / "Modelfile").write_text(text, encoding="utf-8")
    if not options.is_verified:
        return None
    try:
        results = run_job("check", request, facts.plan.threads, tell, lambda: is_cancelled() or is_skipping())
    except Cancelled:
        if is_cancelled():
            raise
        return None
    return next(event for event in results if isinstance(event, Checked))


def _request(facts: RunFacts, form: Form, out: str, options: ExportOptions | None = None) -> ExportRequest:
    quant = options.quant if options else None
    return ExportRequest(
        run=str(facts.folder.path),
        form=form,
        out=out,
        events="",
        precision=facts.precision,
        compute=facts.compute,
        base_as=options.base_as if options else "trained",
        quant=(quant or DEFAULT_QUANT.get(form, "f16")).lower(),
        base_name=facts.base_name,
        prompts=facts.prompts,
        is_verified=options.is_verified if options else True,
    )


def create_in_ollama(folder: Path, name: str) -> None:
    """Create the package in the Ollama on this machine. Raises TunerError when it is missing or fails."""
    program = shutil.which("ollama")
    if program is None:
        raise TunerError(
            "Ollama is not installed",
            "There is no `ollama` command on the path.",
            f"On a machine with Ollama: {shell_line(['cd', '--', str(folder)])} && "
            + shell_line(["ollama", "create", name, "-f", "Modelfile"]),
        )
    done = subprocess.run(
        [program, "create", name, "-f", "Modelfile"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = next(iter(done.stderr.strip().splitlines()[-1:]), f"exit code {done.returncode}")
        raise TunerError("Ollama cannot create the model", reason, f"The package is complete, in {folder}.")
