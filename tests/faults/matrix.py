"""`python -m tests.faults.matrix [WORDS]` meets every fault at every moment (or those whose names have the words)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDTHS = (34, 32)


def lines(cells: Iterable[tuple[str, str, str]]) -> list[str]:
    """The matrix as text: fault, moment, how the attempts ended and what was compared."""
    rows = [("fault", "moment", "outcome"), *cells]
    return [
        f"{fault:<{WIDTHS[0]}} {moment:<{WIDTHS[1]}} {outcome}".rstrip() for fault, moment, outcome in rows
    ]


def cells_of(reports: Iterable[Any]) -> list[tuple[str, str, str]]:
    """The cells that pytest's reports tell of, failed ones as well."""
    found = []
    for report in reports:
        known = dict(report.user_properties).get("cell")
        if known is not None:
            found.append(tuple(known))
        elif report.outcome != "passed" and "test_matrix.py::test_cell[" in report.nodeid:
            fault, _, moment = report.nodeid.split("[", 1)[1].removesuffix("]").partition(" at ")
            found.append((fault, moment, report.outcome.upper()))
    return found


def main(words: list[str]) -> int:
    """Run the cells and print them; 1 when one of them lost something."""
    import pytest

    choice = ["-k", " and ".join(" ".join(words).split())] if words else []
    path = str(Path(__file__).with_name("test_matrix.py"))
    return int(pytest.main([path, "-m", "slow", "-q", "--no-header", "-p", "no:cacheprovider", *choice]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
