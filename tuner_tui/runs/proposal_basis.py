"""What proposals are made of, as it is on this machine: the device, the table of models, and the models here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.hardware.free_memory import read_free_memory
from tuner_tui.models.listing import list_models
from tuner_tui.models.open_models import ModelTable, read_open_models
from tuner_tui.planning.candidates import Candidate, candidates_of
from tuner_tui.planning.place import GB, Place, leave_free_bytes, place_of
from tuner_tui.runs.measurements import all_measured
from tuner_tui.text import counted

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ProposalBasis:
    """The machine and its models."""

    place: Place
    table: ModelTable
    candidates: tuple[Candidate, ...]

    @property
    def table_words(self) -> str:
        """The table's size and date."""
        return f"{counted(len(self.table.models), 'open model')} as of {self.table.date}"

    @property
    def place_words(self) -> str:
        """The device, with its free memory if that is known."""
        room = self.place.room_bytes
        return self.place.name if room is None else f"{self.place.name}, {room / GB:.1f} GB free"


def read_basis(folder: Path, place: Place | None = None) -> ProposalBasis:
    """Read it; models of `folder` and the Hub's cache are on this machine. `place` is another device in its place.

    Raises InputError for a table of models that cannot be read, and TunerError for settings.
    """
    table = read_open_models()
    place = place or place_of(read_free_memory(), leave_free_bytes(), all_measured())
    return ProposalBasis(place, table, tuple(candidates_of(table, list_models(folder))))
