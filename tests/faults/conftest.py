"""A home for each test, whose processes are all gone when the test is over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.faults.home import Home
from tests.faults.nursery import COLD_VARIABLE, Nursery
from tests.faults.nursery import start as start_nursery
from tuner_tui.keeper import process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """A process with torch loaded from which keepers and workers are forked."""
    nursery = start_nursery(tmp_path_factory.mktemp("nursery") / "door")
    yield nursery
    nursery.close()


@pytest.fixture
def home(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Home]:
    """An empty home that this process and those it starts use.

    Keepers and workers are forked from the nursery, except where a test is marked as cold or runs code of its own in
    the worker.
    """
    is_cold = request.node.get_closest_marker("cold") or "do_in_worker" in request.fixturenames
    is_forked = process.start_keeper.__module__ != process.__name__  # by the module's own nursery
    if not (is_cold or is_forked or os.environ.get(COLD_VARIABLE)):
        monkeypatch.setattr(process, "start_keeper", request.getfixturevalue("nursery").start_keeper)
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
