"""The memory panel of New run knows what `tuner-tui estimate` knows, and shows what would fit on another GPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from textual.widgets import Input

from tests.tiny_model import make_tiny_model
from tests.ui.looking import footer_keys
from tests.ui.new_run_host import Walk, new_run
from tests.unit.models_on_disk import CONFIG
from tuner_tui.cli.estimate import estimate
from tuner_tui.config.spec import DataSpec, ModelSpec, RunSpec
from tuner_tui.ui.modals.pick_gpu import PickGpu
from tuner_tui.ui.screens.new_run import screen as new_run_screen
from tuner_tui.ui.widgets.memory_panel import MemoryPanel, MemoryView
from tuner_tui.ui.widgets.pick_list import PickList

BIG = CONFIG | {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "vocab_size": 128256}


@pytest.fixture
def home(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(new_run_screen, "FILES_SECONDS", 0.1)
    return fresh_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("memory-panel") / "tiny")


def estimated(model: Path, *options: str) -> dict[str, Any]:
    """What the command says, by precision."""
    done = CliRunner().invoke(estimate, [str(model), *options, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)
    return found


def spec_of(model: Path, data: str = "demo") -> RunSpec:
    return RunSpec(model=ModelSpec(source=str(model)), data=DataSpec(train=data))


async def figures(walk: Walk) -> MemoryView:
    """The panel, once it has figures."""
    panel = walk.screen.query_one(MemoryPanel)
    await walk.settled()
    await walk.until(lambda: bool(panel.view.rows), "figures")
    return panel.view


def assert_same(view: MemoryView, by_command: dict[str, Any]) -> None:
    assert [row.loaded_as for row in view.rows] == [row["precision"] for row in by_command["precisions"]]
    for row, other in zip(view.rows, by_command["precisions"], strict=True):
        assert (row.estimate.low, row.estimate.high) == (other["low_bytes"], other["high_bytes"])
        assert row.verdict == other["verdict"]


async def test_a_folder_with_a_config_alone_has_the_figures_of_the_command(home: Path) -> None:
    folder = home / "config-only"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(BIG))
    async with new_run(spec_of(folder)) as walk:
        view = await figures(walk)
        by_command = estimated(folder, "--data", "demo")
        assert_same(view, by_command)
        assert view.table is not None and view.table.note == by_command["note"]
        assert any(problem.key == "model.source" for problem in walk.state.problems)


async def test_a_folder_without_a_tokenizer_has_the_figures_of_the_command(home: Path, model: Path) -> None:
    folder = home / "no-tokenizer"
    shutil.copytree(model, folder)
    for file in folder.glob("*token*"):
        file.unlink()
    (home / "rows.jsonl").write_text('{"question": "Who?", "answer": "Me."}\n' * 4)
    async with new_run(spec_of(folder, "rows.jsonl")) as walk:
        view = await figures(walk)
        assert_same(view, estimated(folder, "--data", "rows.jsonl"))
        assert any("tokenizer" in problem.message for problem in walk.state.problems)


async def test_files_that_are_added_meanwhile_are_read(home: Path, model: Path) -> None:
    """First a config, then the weights, then the tokenizer and the rows: each shows without a change of the draft."""
    folder = home / "growing"
    folder.mkdir()
    shutil.copy(model / "config.json", folder)
    async with new_run(spec_of(folder, "rows.jsonl")) as walk:
        view = await figures(walk)
        assert view.table is not None and "config.json" in view.table.note
        assert {problem.key for problem in walk.state.problems} == {"model.source", "data.train"}
        shutil.copy(model / "model.safetensors", folder)
        await walk.until(lambda: not panel_note(walk), "figures by the weights' headers")
        for file in model.iterdir():
            shutil.copy(file, folder)
        row = json.dumps({"question": "Who?", "answer": "word " * 20})
        (home / "rows.jsonl").write_text(f"{row}\n" * 40)
        await walk.until(lambda: not walk.state.problems and bool(walk.state.rows.longest), "a whole run")
        await walk.settled()
        await walk.until(
            lambda: _is_same(walk, estimated(folder, "--data", "rows.jsonl")), "the same figures"
        )


def panel_note(walk: Walk) -> str:
    table = walk.screen.query_one(MemoryPanel).view.table
    return "waiting" if table is None else table.note


def _is_same(walk: Walk, by_command: dict[str, Any]) -> bool:
    view = walk.screen.query_one(MemoryPanel).view
    found = [(row.estimate.low, row.estimate.high) for row in view.rows]
    return found == [(row["low_bytes"], row["high_bytes"]) for row in by_command["precisions"]]


async def open_gpus(walk: Walk) -> None:
    await walk.press("f4")
    await walk.until(
        lambda: isinstance(walk.app.screen, PickGpu) and isinstance(walk.app.focused, Input),
        "the list of GPUs",
    )


async def test_a_gpu_that_is_not_here_is_chosen_by_its_memory(home: Path) -> None:
    folder = home / "config-only"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(BIG))
    async with new_run(spec_of(folder), size=(140, 45)) as walk:
        await figures(walk)
        await walk.until(lambda: footer_keys(walk.app).get("f4") == "GPU", "the key")
        here = walk.screen.query_one(MemoryPanel).view.rows
        await open_gpus(walk)
        assert "RTX 3090, 4090" in walk.text()
        await walk.type("4090")
        await walk.press("enter")
        panel = walk.screen.query_one(MemoryPanel)
        await walk.until(lambda: panel.view.what_if == "24 GB", "the GPU")
        assert_same(panel.view, estimated(folder, "--gpu", "24GB"))
        assert "What if 24 GB: 23.7 GB free on a GPU" in walk.text()
        await open_gpus(walk)
        await walk.type("5.5")
        await walk.press("enter")
        await walk.until(lambda: panel.view.what_if == "5.5 GB", "the other GPU")
        assert_same(panel.view, estimated(folder, "--gpu", "5.5GB"))
        await open_gpus(walk)
        assert walk.app.screen.query_one(PickList).picked_key == "5.5 GB"
        await walk.type("5.5")
        assert walk.app.screen.query_one(PickList).picked_key == "5.5 GB"
        await walk.press("home", "ctrl+k")
        await walk.type("this")
        await walk.press("enter")
        await walk.until(lambda: not panel.view.what_if, "this machine")
        assert panel.view.rows == here


async def test_what_is_no_gpu_is_told(home: Path) -> None:
    async with new_run(spec_of(home)) as walk:
        await open_gpus(walk)
        await walk.type("9000")
        await walk.press("enter")
        await walk.until(lambda: "'9000' is not a memory size of a GPU" in walk.text(), "the reason")
        assert isinstance(walk.app.screen, PickGpu)
