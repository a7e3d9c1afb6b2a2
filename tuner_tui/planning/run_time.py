"""Predicts a run's duration and energy cost from earlier runs on this machine."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.hardware.system import usable_cpu_count
from tuner_tui.planning.calibration import alike_runs, run_seconds
from tuner_tui.planning.speed import rough_seconds
from tuner_tui.text import counted, duration, duration_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.planning.measurement import Measured
    from tuner_tui.planning.place import Rows
    from tuner_tui.planning.shape import ModelShape
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
    rough: tuple[float, float] | None = None
    """Seconds at least and at most by arithmetic, where nothing was measured."""
    where: str = ""
    """What the arithmetic assumes, such as `a CPU with 2 cores`."""

    @property
    def rough_words(self) -> str:
        """For example `9 to 90 days on a CPU with 2 cores, by arithmetic`; empty if measured, or unknown.

        Empty, too, where even the most is so little that starting and loading take longer than the arithmetic.
        """
        return f"{self.rough_range} on {self.where}, by arithmetic" if self.rough_range else ""

    @property
    def rough_range(self) -> str:
        """The same without where, such as `9 to 90 days`."""
        if self.is_measured or self.rough is None or self.rough[1] < SHORTEST_TOLD_SECONDS:
            return ""
        return duration_range(*self.rough)

    @property
    def is_measured(self) -> bool:
        return self.seconds is not None

    @property
    def is_slow(self) -> bool:
        """Whether it takes more than a day even by the best guess."""
        least = self.seconds if self.seconds is not None else self.rough[0] if self.rough else 0.0
        return least > SLOW_SECONDS

    @property
    def words(self) -> str:
        """For example `about 1 h 10 min, 0.31 kWh, 0.09 EUR`; empty if unknown."""
        if self.seconds is None:
            return ""
        energy = "" if self.energy_wh is None else f"{self.energy_wh / 1000:.2g} kWh"
        return ", ".join(part for part in (f"about {duration(self.seconds)}", energy, self.cost) if part)


UNKNOWN = Outlook()
SLOW_SECONDS = 24 * 3600.0
SHORTEST_TOLD_SECONDS = 120.0


def outlook_of(
    spec: RunSpec,
    load: Workload,
    rows: Rows,
    measured: Sequence[Measured],
    model_name: str,
    *,
    shape: ModelShape | None = None,
    count: int | None = None,
) -> Outlook:
    """The prediction from runs and probes of the same model, method, tuning and precision on this machine.

    Where there are none, a range by arithmetic if the model's `shape` is given; `count` are the rows that are known
    where their tokens are not.
    """
    seconds = run_seconds(spec, load, rows, measured, model_name)
    if seconds is None:
        cores = usable_cpu_count()
        rough = None if shape is None else rough_seconds(spec, load, shape, rows, count, cores)
        where = "a GPU" if load.is_gpu else f"a CPU with {counted(cores, 'core')}"
        return UNKNOWN if rough is None else Outlook(rough=rough, where=where)
    watts = [run.watts for run in alike_runs(load, measured, model_name) if run.watts]
    if not watts:
        return Outlook(seconds)
    from tuner_tui.config.settings import money_words

    energy = statistics.median(watts) * seconds / JOULES_PER_WH
    return Outlook(seconds, energy, money_words(energy))
