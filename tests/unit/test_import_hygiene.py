"""Everything but the worker starts without torch and its kin, shown in fresh interpreters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "bitsandbytes", "accelerate")
ROWS = '{"question": "Who?", "answer": "Me."}\n'
SPEC = '[model]\nsource = "demo"\n[data]\ntrain = "rows.jsonl"\n'
SETTINGS = (
    "base_model: demo\nadapter: lora\ndatasets:\n  - {path: rows.jsonl, type: alpaca}\nlearning_rate: 1e-4\n"
)


def loaded_modules(code: str, home: Path) -> set[str]:
    """Top-level modules in `sys.modules` after a fresh interpreter has run some code."""
    report = f"{code}\nimport json, sys\nsys.stderr.write('\\n' + json.dumps(sorted(sys.modules)))"
    child = subprocess.run(
        [sys.executable, "-c", report],
        env=os.environ | {"TUNER_TUI_HOME": str(home), "HOME": str(home), "HF_HUB_OFFLINE": "1"},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in json.loads(child.stderr.splitlines()[-1])}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["runs", "list"],
        ["runs", "show", "last"],
        ["runs", "stop", "nothing"],
        ["runs", "disk"],
        ["queue", "list"],
        ["config", "list"],
        ["presets", "list"],
        ["pick", "--goal", "style"],
        ["presets", "show", "first-try"],
        ["presets", "check", "run.toml"],
        ["models", "list"],
        ["doctor", "--no-torch"],
        ["doctor", "--no-torch", "--bundle", "bug.md"],
        ["train", "run.toml", "--check"],
        ["train", "nothing.toml"],
        ["train", "--model", "demo", "--data", "rows.jsonl", "--check"],
        ["import", "settings.yml", "--out", "imported.toml"],
        ["demo", "--help"],
        ["feedback", "list"],
        ["feedback", "import", "evening", "rows.jsonl"],
        ["chat", "--help"],
    ],
)
def test_commands_start_without_torch(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(SPEC)
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "settings.yml").write_text(SETTINGS)
    code = (
        "import sys\n"
        f"sys.argv = ['tuner-tui', *{arguments!r}]\n"
        "from tuner_tui.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert loaded_modules(code, tmp_path).isdisjoint(HEAVY)


def test_keeper_starts_without_torch(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    code = "from tuner_tui.keeper.__main__ import main\nassert main() == 0"
    modules = loaded_modules(code, tmp_path)
    assert "tuner_tui" in modules
    assert modules.isdisjoint((*HEAVY, "textual", "click", "pydantic"))


def test_the_help_is_cheap(tmp_path: Path) -> None:
    code = "import sys\nsys.argv = ['tuner-tui', '--help']\nfrom tuner_tui.cli import main\nmain()"
    code = f"try:\n    {code.replace(chr(10), chr(10) + '    ')}\nexcept SystemExit:\n    pass"
    modules = loaded_modules(code, tmp_path)
    assert modules.isdisjoint(("pydantic", "textual", "numpy", "huggingface_hub", "psutil", "tomlkit"))
