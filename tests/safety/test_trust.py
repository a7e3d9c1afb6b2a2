"""Code and pickles that come with a model or an adapter: run only when allowed by name, or never."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.worker.runs import Run, write_rows
from tuner_tui.config.spec import ModelSpec, RunSpec
from tuner_tui.errors import InputError
from tuner_tui.generation.candidates import find_adapter
from tuner_tui.keeper import launch
from tuner_tui.models.adapter import read_adapter
from tuner_tui.models.check import check_source
from tuner_tui.models.source import find_source
from tuner_tui.models.trusted_code import is_trusted, trust
from tuner_tui.models.untrusted_code import UntrustedCode
from tuner_tui.planning.plan import make_plan
from tuner_tui.runs.create import create_run
from tuner_tui.runs.events import RunFailed
from tuner_tui.runs.folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "hf" / "modules"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "home"


@pytest.fixture
def odd_model(tmp_path: Path, tiny_model: Path) -> Path:
    """A model that brings Python code, which leaves a file behind when it runs."""
    folder = tmp_path / "odd model"
    shutil.copytree(tiny_model, folder)
    (folder / "odd.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
        "from transformers import LlamaConfig\n"
        "class OddConfig(LlamaConfig):\n    model_type = 'odd'\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "odd", "auto_map": {"AutoConfig": "odd.OddConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def spec_of(model: Path, tmp_path: Path) -> RunSpec:
    return RunSpec.model_validate(
        {
            "model": {"source": str(model), "trust_remote_code": True, "precision": "fp32"},
            "data": {"train": str(write_rows(tmp_path / "rows.jsonl"))},
            "training": {"max_steps": 1, "batch_size": 4},
            "machine": {"device": "cpu", "threads": 1},
        }
    )


def received_run(model: Path, tmp_path: Path) -> RunFolder:
    """A run folder as another person would send it."""
    spec = spec_of(model, tmp_path)
    return create_run(spec, make_plan(spec, find_source(str(model))))


def test_a_run_toml_alone_allows_no_code(odd_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UntrustedCode) as refusal:
        launch.launch(spec_of(odd_model, tmp_path))
    with pytest.raises(UntrustedCode):  # as `train --check` asks
        launch.check(spec_of(odd_model, tmp_path))
    assert str(odd_model) in refusal.value.message
    assert refusal.value.hint.endswith(f"tuner-tui models trust '{odd_model}'")
    with pytest.raises(UntrustedCode):
        launch.resume(received_run(odd_model, tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_worker_runs_a_models_code_only_after_it_was_allowed(odd_model: Path, tmp_path: Path) -> None:
    from tuner_tui.worker.train import run_job

    folder = received_run(odd_model, tmp_path)
    refused = Run(folder, run_job(folder.path))
    assert "trust_remote_code" in refused.last(RunFailed).message
    assert not (tmp_path / "ran").exists()
    command = [sys.executable, "-m", "tuner_tui", "models", "trust", str(odd_model)]
    subprocess.run(command, check=True, capture_output=True)
    run_job(folder.path)
    assert (tmp_path / "ran").exists()


def test_what_was_allowed_is_that_code_and_no_other(odd_model: Path, tmp_path: Path) -> None:
    trust(str(odd_model), None)
    assert is_trusted(str(odd_model), None)
    (odd_model / "odd.py").write_text("import os\n")
    assert not is_trusted(str(odd_model), None)
    trust("owner/model", "v1")
    assert is_trusted("owner/model", "v1")
    assert not is_trusted("owner/model", None) and not is_trusted("owner/model", "v2")


async def test_the_app_asks_by_name(odd_model: Path, tmp_path: Path) -> None:
    from tuner_tui.ui.app import TunerApp
    from tuner_tui.ui.modals.confirm import ConfirmModal
    from tuner_tui.ui.screens.base import TunerScreen

    calls = []

    def action() -> str:
        calls.append(is_trusted(str(odd_model), None))
        if not calls[-1]:
            raise UntrustedCode("odd", str(odd_model), None)
        return "Started."

    async def asked() -> ConfirmModal:
        for _ in range(200):
            await pilot.pause(0.02)
            if isinstance(app.screen, ConfirmModal):
                return app.screen
        raise AssertionError("nobody asked")

    app = TunerApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, TunerScreen)
        screen.perform(action)
        assert "odd" in (await asked()).question
        await pilot.press("n")
        await pilot.pause(0.1)
        assert calls == [False]
        screen.perform(action)
        await asked()
        await pilot.press("y")
        for _ in range(200):
            await pilot.pause(0.02)
            if len(calls) == 3:
                break
        assert calls == [False, False, True]


def test_an_adapter_in_a_bases_folder_is_told(tiny_model: Path, tmp_path: Path) -> None:
    from tuner_tui.worker.device.machine import choose_machine
    from tuner_tui.worker.model.loading import load_base

    folder = tmp_path / "base"
    shutil.copytree(tiny_model, folder)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "/other"}')
    with pytest.raises(InputError, match="folder contains an adapter") as refusal:
        check_source(find_source(str(folder)))
    assert str(folder / "adapter_config.json") in refusal.value.message
    machine = choose_machine(spec_of(folder, tmp_path))
    with pytest.raises(InputError, match="folder contains an adapter"):
        load_base(str(folder), None, ModelSpec(source=str(folder)), machine)


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter.pt"])
def test_a_pickle_adapter_is_refused_by_us(name: str, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8}')
    (folder / name).write_bytes(b"not to be read")
    for read in (read_adapter, lambda path: find_adapter(str(path))):
        with pytest.raises(InputError, match="Python pickle") as refusal:
            read(folder)
        assert name in refusal.value.message
    command = [sys.executable, "-m", "tuner_tui", "chat", f"{tiny_model}+{folder}", "--prompt", "Hi"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == InputError.exit_code and "pickle" in done.stderr


HOLD = """
import sys
from pathlib import Path
from tuner_tui.runs.folder import RunFolder
from tuner_tui.sharing.push_lock import only_push_of
with only_push_of(RunFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_push(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is pushing the run `mine`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "mine")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_push_of_a_run_is_told(
    other_push: subprocess.Popen[str], tiny_model: Path, tmp_path: Path
) -> None:
    from tests.safety.test_received import write_events

    spec = RunSpec.model_validate(
        {"model": {"source": str(tiny_model)}, "data": {"train": str(write_rows(tmp_path / "rows.jsonl"))}}
    )
    made = create_run(spec, make_plan(spec, find_source(str(tiny_model))))
    run = RunFolder(made.path.rename(made.path.with_name("mine")))
    run.adapter.mkdir()
    write_events(run)
    command = [sys.executable, "-m", "tuner_tui", "push", str(run.path), "--to", "me/mine", "--base", "a/b"]
    kept = tmp_path / "home" / "cache" / "pushes" / "mine-adapter-default-trained"
    kept.mkdir(parents=True)
    (kept / "of the other").touch()
    refused = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=False)
    assert refused.returncode == 4 and "already being pushed" in refused.stderr
    assert (kept / "of the other").exists()
    other_push.kill()
    other_push.wait()
    later = subprocess.run(
        [*command, "--dry-run"], capture_output=True, text=True, check=False, env=os.environ
    )
    assert "already being pushed" not in later.stderr
