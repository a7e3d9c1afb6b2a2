"""Which tool a file of settings is for, by its keys."""

from __future__ import annotations

from typing import Any

from tuner_tui.errors import InputError
from tuner_tui.importing.table import TOOLS, table
from tuner_tui.text import listed, plain

FEWEST_KEYS = 2
"""Keys of a tool that a file must have; one alone, such as seed, says little."""
FOLDER = TOOLS[-1]


def recognised(values: dict[str, Any], file: str) -> str:
    """The tool whose own keys a file has most of. Raises InputError where none or two of them stand out."""
    scores = {tool: _score(values, table(tool).signature) for tool in TOOLS if tool != FOLDER}
    best = max(scores.values())
    found = [tool for tool, score in scores.items() if score == best]
    if best >= FEWEST_KEYS and len(found) == 1:
        return found[0]
    if best >= FEWEST_KEYS:
        reason = f"its keys are as much those of {listed([table(tool).title for tool in found])}"
    else:
        keys = [plain(key) for key in list(values)[:5]]
        reason = f"it has {', '.join(keys)}{' and more' if len(values) > len(keys) else ''}"
    raise InputError(
        "The tool is not recognised",
        f"{plain(file)}: {reason}.",
        f"Name the tool with --from {'|'.join(TOOLS)}.",
    )


def _score(values: dict[str, Any], signature: tuple[str, ...]) -> int:
    return sum(_has(values, key) for key in signature)


def _has(values: dict[str, Any], key: str) -> bool:
    at: Any = values
    for part in key.split("."):
        if not isinstance(at, dict) or part not in at:
            return False
        at = at[part]
    return not (isinstance(at, dict) and "." not in key and key == "model")
