"""What a run needs apart from training memory: download, main memory while loading, and disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.planning.ranges import PROCESS_HIGH, PROCESS_LOW
from tuner_tui.text import size

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.facts import ModelFacts
    from tuner_tui.models.source import ModelSource
    from tuner_tui.planning.estimate import Estimate

TOKENIZER_BYTES = 5_000_000
"""Tokenizer, random states and manifest of a checkpoint."""
LOADED_AT_ONCE = 4
"""Tensors that transformers reads in parallel while loading."""


@dataclass(frozen=True)
class Storage:
    """All in bytes."""

    download: int | None
    """Download size of the model; 0 if it is on this machine, None if unknown."""
    loading_low: int
    """Main memory while the model is loaded, at least."""
    loading_high: int
    """The same with the files' page cache, which the system frees when memory is short."""
    checkpoint: int
    """One checkpoint: trained parameters and optimizer states."""
    checkpoints: int
    """All checkpoints at once: those the spec keeps, and the one being written."""
    kept: int
    """Number of checkpoints in `checkpoints`."""
    result: int
    """The result: the adapter, or the tuned model."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The values as text for users."""
        download = {None: "download: size unknown", 0: "download: none, the model is on this machine"}.get(
            self.download, f"download: {size(self.download)}"
        )
        return (
            download,
            f"main memory while loading: {size(self.loading_low)} to {size(self.loading_high)}",
            f"disk: {size(self.checkpoints)} for {self.kept} checkpoints, {size(self.result)} at the end",
        )


def storage_of(spec: RunSpec, source: ModelSource, facts: ModelFacts, estimate: Estimate) -> Storage:
    """The storage that a spec needs, given its memory estimate."""
    load, parts = estimate.load, estimate.parts
    tables = max(estimate.shape.table, estimate.shape.weights.embedding)
    largest = max([tables, *(matrix.inputs * matrix.outputs for matrix in estimate.shape.weights.matrices)])
    moving = LOADED_AT_ONCE * largest * (4 if load.loaded_as == "fp32" else 2)
    files = facts.weight_bytes or 0
    resident = 0 if load.is_gpu else parts.weights
    trained = parts.gradients if load.trains_base else parts.adapters
    checkpoint = trained + parts.states + TOKENIZER_BYTES
    return Storage(
        download=0 if source.path is not None else facts.weight_bytes,
        loading_low=PROCESS_LOW + resident + moving,
        loading_high=PROCESS_HIGH + resident + max(moving, files),
        checkpoint=checkpoint,
        checkpoints=(spec.checkpoints.keep + 1) * checkpoint,
        kept=spec.checkpoints.keep + 1,
        result=trained + TOKENIZER_BYTES,
    )
