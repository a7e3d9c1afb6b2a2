"""Runs in columns: how each went, and the settings in which they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.content import Content

from tuner_tui.runs.comparison import ComparedRun, Difference, differences, results
from tuner_tui.text import plain
from tuner_tui.ui.widgets.literal import fit, literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner_tui.ui.widgets.runs_table import Mark

NAME_CELLS = 24
NARROWEST = 9


def comparison_content(compared: Sequence[ComparedRun], marks: Mapping[str, Mark], width: int) -> Content:
    """A table as wide as the space; a line counts the runs that do not fit."""
    names = NAME_CELLS if width >= 70 else 18
    most = max(1, (width - names) // (NARROWEST + 2))
    shown = compared[:most]
    if not shown:
        return literal("No run is selected.", "$faint")
    rows = [*results(shown)]
    differing = differences([run.settings for run in shown]) if len(shown) > 1 else ()
    cells = _cell_widths([*rows, *differing], len(shown), width - names)
    lines = [_heads(shown, marks, names, cells)]
    lines += [_row(row, names, cells) for row in rows]
    lines.append(Content(""))
    if len(shown) < 2:
        lines.append(
            literal("Mark two or more runs with the space bar to see how their settings differ.", "$faint")
        )
    elif not differing:
        lines.append(literal("Their settings are the same.", "$faint"))
    else:
        lines.append(Content.styled("Settings that differ", "bold $primary"))
        lines += [_row(row, names, cells) for row in differing]
    lines += [literal(f"! {run.folder.name}: {run.problem}", "$warning") for run in shown if run.problem]
    if len(compared) > most:
        lines.append(literal(f"{len(compared) - most} more need a wider terminal.", "$faint"))
    return Content("\n").join(lines)


def _cell_widths(rows: Sequence[Difference], count: int, room: int) -> list[int]:
    """Each column as wide as its longest value, within the space."""
    widths = [max(cell_len(plain(row.values[column])) for row in rows) for column in range(count)]
    fair = max(NARROWEST, room // count - 2)
    return [min(width, fair) for width in widths]


def _heads(shown: Sequence[ComparedRun], marks: Mapping[str, Mark], names: int, cells: list[int]) -> Content:
    parts: list[Content | tuple[str, str]] = [(" " * names, "")]
    for run, width in zip(shown, cells, strict=True):
        letter, colour = marks.get(run.folder.name, ("·", "primary"))
        parts.append((fit(letter, width) + "  ", f"bold ${colour}"))
    return Content.assemble(*parts)


def _row(row: Difference, names: int, cells: list[int]) -> Content:
    values = "  ".join(_ending(value, width) for value, width in zip(row.values, cells, strict=True))
    return Content.assemble((fit(row.key, names - 2) + "  ", "$faint"), values)


def _ending(value: str, width: int) -> str:
    """A value in a number of cells; a path keeps its end."""
    shown = plain(value)
    if "/" in shown and cell_len(shown) > width:
        return fit("…" + shown[-(width - 1) :], width)
    return fit(shown, width)
