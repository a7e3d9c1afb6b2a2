"""The app in a real terminal, killed while its run trains: the run ends well, and a new app shows the same curve."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.terminal import Terminal, has_tmux
from tests.faults.home import Home, WatchedRun, kill, wait_for
from tuner_tui.config import paths
from tuner_tui.config.spec_writer import write_spec
from tuner_tui.runs.events import RunFinished
from tuner_tui.runs.folder import RunFolder

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not has_tmux(), reason="tmux is not installed")]
STEPS = 60


@pytest.fixture
def app(home: Home) -> list[str]:
    """The command that opens the app in the home."""
    return ["env", "-C", str(home.path), str(Path(sys.executable).with_name("tuner-tui"))]


@pytest.fixture
def terminal_environment(home: Home) -> dict[str, str]:
    """What a terminal has, besides what this process hands on."""
    return {
        "TUNER_TUI_HOME": str(home.path),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
    }


@pytest.fixture
def spec(home: Home) -> RunSpec:
    """A run of the tiny model, kept as the person's own preset as well."""
    from tuner_tui.config.spec_file import read_spec

    folder = home.make_run("tiny", STEPS).folder
    spec = read_spec(folder.spec)
    paths.user_presets_dir().mkdir(parents=True)
    write_spec(spec, paths.user_presets_dir() / "tiny.toml")
    for each in sorted(folder.path.rglob("*"), reverse=True):
        each.rmdir() if each.is_dir() else each.unlink()
    folder.path.rmdir()
    return spec


@pytest.mark.slow
def test_a_killed_app_harms_nothing(
    home: Home, spec: RunSpec, app: list[str], terminal_environment: dict[str, str], tmp_path: Path
) -> None:
    with Terminal(app, terminal_environment) as terminal:
        terminal.wait_for("New run")
        terminal.press("n")
        terminal.wait_for("Start from a preset")
        terminal.press("End", "Up", "Enter")
        terminal.wait_for("step 1 of 5: done")
        terminal.press("C-n", "C-n", "C-n", "C-n")  # a figure would be typed into the field
        terminal.wait_for("step 5 of 5: ready")
        terminal.press("s")
        run = WatchedRun(wait_for(_runs, "the run's folder")[0])
        run.wait_for_step(STEPS // 4)
        (shown,) = [each for each in home.processes() if each.cmdline()[-1:] == [app[-1]] and each.terminal()]
        kill(shown.pid)
        run.wait_for_step(STEPS // 2)
    assert isinstance(run.wait_for_end(), RunFinished)
    home.wait_until_idle()

    written = tmp_path / "run.toml"
    write_spec(spec, written)
    done = subprocess.run(
        [sys.executable, "-m", "tuner_tui", "train", str(written)],
        env=os.environ | terminal_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (headless,) = [folder for folder in _runs() if folder.name != run.folder.name]
    assert WatchedRun(headless).losses() == run.losses()
    curves = [_curve(app, terminal_environment, folder) for folder in (run.folder, headless)]
    assert curves[0] == curves[1]
    assert len(curves[0]) > STEPS


def _runs() -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(paths.runs_dir().glob("2*-tiny-*"))]


def _curve(app: list[str], environment: dict[str, str], folder: RunFolder) -> str:
    """The drawn points of a run's chart, in a new app."""
    with Terminal(app, environment) as terminal:
        terminal.wait_for(folder.name[-4:])
        terminal.press("/")
        terminal.type(folder.name[-4:])
        terminal.wait_for("1 of 2 runs")
        wait_for(lambda: "/ Filter" not in terminal.text(), "the footer of the line that is typed in")
        terminal.press("Enter")
        terminal.wait_for("/ Filter")
        terminal.press("Enter")
        terminal.wait_for(f"{STEPS}/{STEPS}")
        drawn, before = _points(terminal.wait_for("smoothed")), ""
        while drawn != before:  # a screen may be seen half drawn
            time.sleep(0.7)
            drawn, before = _points(terminal.wait_for("smoothed")), drawn
    return drawn


def _points(screen: str) -> str:
    return "\n".join(re.sub(r"[^\u2801-\u28ff]", " ", line).rstrip() for line in screen.splitlines()).strip()
