"""Compares several runs: curves, results, and the settings in which they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.errors import TunerError
from tuner_tui.guarded import Unreadable
from tuner_tui.hardware.telemetry import last_sample
from tuner_tui.planning.plan import read_plan
from tuner_tui.runs.problems import folder_problems, in_one_line
from tuner_tui.runs.status import RunFollower
from tuner_tui.text import duration, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.state import RunSnapshot
    from tuner_tui.runs.status import Status

NOT_SET = "none"
NOT_APPLICABLE = "-"


@dataclass(frozen=True)
class ComparedRun:
    """The state of one compared run."""

    folder: RunFolder
    status: Status
    run: RunSnapshot
    settings: dict[str, str]
    """Every option that applies to it by its dotted key, as text; empty when its spec cannot be read."""
    problem: str = ""
    """Problems of the run's files, its spec first."""
    energy_wh: float | None = None


@dataclass(frozen=True)
class Difference:
    """A setting and its value in each run."""

    key: str
    values: tuple[str, ...]


class ComparisonReader:
    """Reads the selected runs repeatedly; runs that have ended are read once."""

    def __init__(self) -> None:
        self._followers: dict[RunFolder, RunFollower] = {}
        self._specs: dict[RunFolder, tuple[dict[str, str], str]] = {}

    def read(self, folders: Sequence[RunFolder]) -> tuple[ComparedRun, ...]:
        """The runs as they are now."""
        self._followers = {folder: self._followers.get(folder) or RunFollower(folder) for folder in folders}
        return tuple(map(self._read, folders))

    def _read(self, folder: RunFolder) -> ComparedRun:
        follower = self._followers[folder]
        follower.poll()
        if folder not in self._specs:
            self._specs[folder] = settings_of(folder)
        settings, problem = self._specs[folder]
        sample = last_sample(folder.telemetry)
        energy = sample.energy_wh if sample else None
        problem = in_one_line(
            (problem, *(file_problem.words for file_problem in folder_problems(folder)), follower.problem)
        )
        return ComparedRun(folder, follower.status, follower.state.snapshot(), settings, problem, energy)


def settings_of(folder: RunFolder) -> tuple[dict[str, str], str]:
    """A run's options as text, with planned values for open ones; or the reason why there are none."""
    from tuner_tui.config.spec_file import read_spec

    try:
        spec = read_spec(folder.spec)
    except TunerError as error:
        return {}, error.title
    return spec_settings(spec) | _chosen(folder, spec), ""


def spec_settings(spec: RunSpec) -> dict[str, str]:
    """The options that apply to a spec, as text; without the run's name."""
    from tuner_tui.config.options import as_text, options_of, value_of

    return {
        option.key: as_text(option, value_of(spec, option.key)).replace("\n", ", ") or NOT_SET
        for option in options_of(spec)
        if option.key != "name"
    }


def differences(compared: Sequence[dict[str, str]]) -> tuple[Difference, ...]:
    """The settings that differ, in the order of run.toml."""
    keys = dict.fromkeys(key for settings in compared for key in settings)
    rows = [
        Difference(key, tuple(settings.get(key, NOT_APPLICABLE) for settings in compared)) for key in keys
    ]
    return tuple(row for row in rows if len(set(row.values)) > 1)


def results(compared: Sequence[ComparedRun]) -> tuple[Difference, ...]:
    """The runs' results, one measure each."""
    rows: dict[str, list[str]] = {
        "status": [entry.status for entry in compared],
        "steps": [f"{entry.run.step} of {entry.run.total_steps}" for entry in compared],
        "tokens": [f"{entry.run.tokens:,}" for entry in compared],
        "last loss": [_loss(entry.run.loss) for entry in compared],
        "best held out": [_best(entry) for entry in compared],
        "time": [_took(entry) for entry in compared],
        "energy": [
            NOT_APPLICABLE if entry.energy_wh is None else f"{entry.energy_wh:.1f} Wh" for entry in compared
        ],
        "loaded as": [entry.run.model.precision if entry.run.model else NOT_APPLICABLE for entry in compared],
    }
    return tuple(Difference(key, tuple(values)) for key, values in rows.items())


def has_one_kind_of_loss(compared: Sequence[ComparedRun]) -> bool:
    """Whether the runs' losses are comparable: one method with one loss."""
    kinds = {(entry.settings.get("method.kind"), entry.settings.get("method.loss")) for entry in compared}
    return len(kinds) <= 1


def _chosen(folder: RunFolder, spec: RunSpec) -> dict[str, str]:
    """Values that the plan chose for the spec's open settings."""
    try:
        plan = read_plan(folder.plan)
    except Unreadable:
        return {}
    chosen = {}
    if spec.training.learning_rate is None:
        chosen["training.learning_rate"] = f"{plan.learning_rate:g} (chosen)"
    if spec.machine.threads is None:
        chosen["machine.threads"] = f"{plan.threads} (chosen)"
    return chosen


def _loss(loss: float | None) -> str:
    return NOT_APPLICABLE if loss is None else number(loss)


def _best(entry: ComparedRun) -> str:
    losses = [evaluation.loss for evaluation in entry.run.evaluations if evaluation.loss is not None]
    return number(min(losses)) if losses else NOT_APPLICABLE


def _took(entry: ComparedRun) -> str:
    seconds = entry.run.curves.seconds
    return duration(seconds[-1]) if seconds else NOT_APPLICABLE
