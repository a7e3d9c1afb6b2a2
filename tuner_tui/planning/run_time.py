"""Predicts a run's duration and energy cost from earlier runs on this machine."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.planning.calibration import alike_runs, run_seconds
from tuner_tui.text import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.planning.measurement import Measured
    from tuner_tui.planning.place import Rows
    from tuner_tui.planning.workload import Workload

JOULES_PER_WH = 3600.0


@dataclass(frozen=True)
class Outlook:
    """The prediction; None for what was never measured here."""

    seconds: float | None = None
    energy_wh: float | None = None
    """Energy of GPU and CPU, as far as they report it; not of the whole machine."""
    cost: str = ""
    """The cost, such as 0.09 EUR; empty without a price in the settings."""

    @property
    def words(self) -> str:
        """For example `about 1 h 10 min, 0.31 kWh, 0.09 EUR`; empty if unknown."""
        if self.seconds is None:
            return ""
        energy = "" if self.energy_wh is None else f"{self.energy_wh / 1000:.2g} kWh"
        return ", ".join(part for part in (f"about {duration(self.seconds)}", energy, self.cost) if part)


UNKNOWN = Outlook()


def outlook_of(
    spec: RunSpec, load: Workload, rows: Rows, measured: Sequence[Measured], model_name: str
) -> Outlook:
    """The prediction from runs and probes of the same model, method, tuning and precision on this machine."""
    seconds = run_seconds(spec, load, rows, measured, model_name)
    if seconds is None:
        return UNKNOWN
    watts = [run.watts for run in alike_runs(load, measured, model_name) if run.watts]
    if not watts:
        return Outlook(seconds)
    from tuner_tui.config.settings import money_words

    energy = statistics.median(watts) * seconds / JOULES_PER_WH
    return Outlook(seconds, energy, money_words(energy))
