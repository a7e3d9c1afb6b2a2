"""A home for each test, whose processes are all gone when the test is over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.faults.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """An empty home that this process and those it starts use."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    home = Home(tmp_path / "home", tiny_model)
    yield home
    home.end_all()


@pytest.fixture
def do_in_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Python file that workers, and only they, run before anything else."""
    folder = tmp_path / "startup"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\nif 'tuner_tui.worker' in sys.orig_argv:\n    import in_worker\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    yield folder / "in_worker.py"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrix of what test_matrix.py met."""
    from tests.faults.matrix import cells_of, lines

    reports = [
        report
        for outcome in ("passed", "failed", "skipped")
        for report in terminalreporter.getreports(outcome)
        if getattr(report, "when", "") == "call"
    ]
    cells = cells_of(reports)
    if cells:
        terminalreporter.section(f"{len(set(cells))} cells: fault x moment x outcome")
        for line in lines(cells):
            terminalreporter.write_line(line)
