"""Creates a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.config import paths
from tuner_tui.errors import TunerError
from tuner_tui.files import make_empty, make_folder, path_problem, sync_folder, write_atomic
from tuner_tui.models.weights_digest import weights_digest
from tuner_tui.planning.plan import encode_plan
from tuner_tui.runs.folder import SPEC_FILE, RunFolder
from tuner_tui.runs.lineage import keep_start
from tuner_tui.runs.notes import note_file
from tuner_tui.runs.run_names import fresh_name

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.planning.plan import Plan


def create_run(spec: RunSpec, plan: Plan) -> RunFolder:
    """Create a run's folder atomically. Raises TunerError when the data folder cannot be written."""
    from tuner_tui.config.spec_writer import spec_text

    plan = with_digest(plan)
    contents: dict[str, str | bytes] = {SPEC_FILE: spec_text(spec), "plan.json": encode_plan(plan)}
    parent = paths.runs_dir()
    name = fresh_name(spec, lambda name: (parent / name).exists() or note_file(name).exists())
    making = parent / f".making-{name}"
    try:
        RunFolder(making).owned.claim()
        for file, content in contents.items():
            write_atomic(making / file, content)
        for inner in ("control", "checkpoints"):
            make_folder(making / inner)
        for empty in ("events.jsonl", "worker.log", "lock"):
            make_empty(making / empty)
        if plan.start is not None:
            keep_start(plan.start, making)
        making.rename(parent / name)
        sync_folder(parent)
    except OSError as error:
        RunFolder(making).owned.discard_all()
        raise TunerError(
            "The run's folder cannot be created",
            f"{path_problem(error, parent)}.",
            "Free space there, change its permissions, or set another folder with TUNER_TUI_HOME.",
        ) from error
    return RunFolder(parent / name)


def with_digest(plan: Plan) -> Plan:
    """The plan with the digest of its base's weights, if they are on this machine."""
    location = Path(plan.model_location)
    return msgspec.structs.replace(
        plan, base_digest=weights_digest(location) if location.is_absolute() else ""
    )
