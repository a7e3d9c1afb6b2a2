"""The record of an export's verification, which goes with its files: `verification.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from tuner_tui.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.runs.export_events import Checked

RECORD = "verification.json"
SKIPPED_WORDS = "It was not verified: whether it behaves like the trained model was not compared."

Verification = Literal["compared", "skipped", "not needed"]
"""Compared with the trained model; skipped by the user; or not needed, for a script and for the same bytes."""


def write_record(folder: Path, checked: Checked | None) -> None:
    """Write how the files in a folder were verified, without prompts and answers; or that this was skipped."""
    record: dict[str, object] = {"verification": "skipped" if checked is None else "compared"}
    if checked is None:
        record["meaning"] = SKIPPED_WORDS
    else:
        record |= {
            "reader": checked.reader,
            "against": checked.against,
            "agreement": msgspec.to_builtins(checked.agreement),
        }
    text = msgspec.json.format(msgspec.json.encode(record)).decode()
    write_atomic(folder / RECORD, f"{text}\n", is_private=False)
