"""The parts of a run to export: its base on this machine, its adapter, and the base's precision in training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.config.spec_file import read_spec
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.data.tokens.template import TEMPLATE_FILE
from tuner_tui.errors import InputError, RunProblem
from tuner_tui.models.hub_cache import cached_snapshot
from tuner_tui.planning.plan import read_plan
from tuner_tui.runs.folder import RunFolder
from tuner_tui.text import shell_command
from tuner_tui.worker.export.base_weights import BaseWeights
from tuner_tui.worker.export.merge import MergedWeights
from tuner_tui.worker.export.updates import read_updates
from tuner_tui.worker.model.loading import find_weights, load_tokenizer
from tuner_tui.worker.training.template_findings import choose_template, chosen_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tuner_tui.config.data_section import DataSpec
    from tuner_tui.planning.plan import Plan
    from tuner_tui.runs.export_events import ExportRequest
    from tuner_tui.worker.export.base_weights import BasePrecision


@dataclass(frozen=True)
class ExportSource:
    """A finished run, ready to export."""

    base: Path
    """The base's folder; for full tuning, the trained model's."""
    adapter: Path | None
    """The adapter's folder; None for a full tuning."""
    trained_as: BasePrecision
    """How training loaded the base: from its files, or quantised."""
    merged_as: BasePrecision
    """The weights that the adapter is merged into."""
    compute: str
    tokenizer_folder: Path
    tokenizer: PreTrainedTokenizerBase
    """With the chat template of training."""
    template: str | None
    """That template, if it is not the one in the tokenizer's files."""

    def merged(self) -> MergedWeights:
        """The merged weights, computed on demand."""
        weights = BaseWeights(self.base, self.merged_as, self.compute)
        return (
            MergedWeights(weights)
            if self.adapter is None
            else MergedWeights(weights, read_updates(self.adapter, weights.skeleton))
        )


def open_run(request: ExportRequest) -> ExportSource:
    """Find all parts of a run. Raises RunProblem or InputError when one is missing."""
    folder = RunFolder(Path(request.run))
    spec = read_spec(folder.spec)
    plan = read_plan(folder.plan)
    if not folder.adapter.is_dir():
        raise RunProblem(
            "The run has no result yet",
            f"{folder.name} ended without a saved adapter.",
            f"Resume it: {shell_command('runs resume', folder.name)}",
        )
    if not tuning_traits(spec.tuning.kind).is_adapter:
        base, adapter, precision = folder.adapter, None, "files"
    else:
        base, adapter, precision = _base_folder(plan), folder.adapter, request.precision
    trained_as: BasePrecision = "nf4" if precision == "nf4" else "int8" if precision == "int8" else "files"
    tokenizer_folder = folder.adapter if adapter is None else base
    tokenizer = load_tokenizer(str(tokenizer_folder), None, spec.model)
    template = None if adapter is None else _take_template(adapter, spec.data, tokenizer)
    return ExportSource(
        base=base,
        adapter=adapter,
        trained_as=trained_as,
        merged_as=trained_as if request.base_as == "trained" else "files",
        compute=request.compute,
        tokenizer_folder=tokenizer_folder,
        tokenizer=tokenizer,
        template=template,
    )


def _take_template(adapter: Path, spec: DataSpec, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Set the tokenizer's chat template to the one that the run used instead of the base's own, and return it.

    It is stored beside the adapter; older runs name it in their spec, which raises InputError for a missing file.
    """
    template_file = adapter / TEMPLATE_FILE
    if template_file.is_file():
        template = guarded.read_text(template_file)
        tokenizer.chat_template = template
        return template
    choose_template(spec, tokenizer)
    return chosen_template(spec, tokenizer)


def _base_folder(plan: Plan) -> Path:
    if plan.model_kind == "hub":
        if (local := Path(plan.model_location)).is_dir():
            return local
        snapshot = cached_snapshot(plan.model_location, plan.revision)
        if snapshot is None:
            raise InputError(
                "The base is not on this machine",
                f"{plan.model_location} is incomplete in the Hub's cache.",
                f"Download it: {shell_command('models download', plan.model_location)}",
            )
        return snapshot
    try:
        location = Path(find_weights(plan)[0])
    except FileNotFoundError as error:
        raise InputError(
            "The base is not on this machine",
            f"{error.filename or plan.model_location} is gone.",
            "Put the model back where it was.",
        ) from None
    if not location.is_dir():
        raise InputError(
            "The base is not on this machine",
            f"{location} does not exist.",
            "Put the model back where it was.",
        )
    return location
