"""Rows that are read as prompts alone hold nothing that may be an answer or a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.data.recognition.mapping import mapping_lines
from tuner_tui.data.recognition.verdict_names import may_hold_answer, may_hold_verdict
from tuner_tui.data.rows.unused import field_name
from tuner_tui.errors import InputError
from tuner_tui.text import listed

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.data.recognition.columns import Columns
    from tuner_tui.data.recognition.layout import Layout


def require_bare_prompts(columns: Columns, layout: Layout, path: Path) -> None:
    """Raise InputError where fields beside a prompt may hold answers or verdicts, by their names."""
    dropped = [
        name
        for name in columns.names
        if name not in layout.used
        and columns.kinds[name] != "empty"
        and (may_hold_answer(name) or may_hold_verdict(name))
    ]
    if dropped:
        raise InputError(
            "Fields are not understood",
            f"{path}: {', '.join(map(field_name, dropped[:12]))} may hold answers or verdicts, and only "
            f"{listed([f'`{name}`' for name in layout.used], 'and')} would be used.",
            "Say what they are with --map lines (in run.toml: data.mapping). To use the prompts alone: "
            + " ".join(f"--map '{line}'" for line in mapping_lines(layout.mapping)),
        )
