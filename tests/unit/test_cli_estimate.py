"""`tuner-tui estimate`: figures for people and for scripts, for this machine and for a card that is not here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import save_file

from tests.unit.models_on_disk import CONFIG, make_folder, write_header
from tuner_tui.cli.estimate import estimate
from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.models.facts import facts_from
from tuner_tui.planning.shape import shape_of
from tuner_tui.planning.what_if import parse_gpu

GIB = 1 << 30
SMALL = CONFIG | {"hidden_size": 512, "intermediate_size": 2048, "head_dim": 128}


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(estimate, list(arguments))
    if isinstance(result.exception, TunerError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model", SMALL)


def make_model(folder: Path, config: dict[str, Any]) -> Path:
    """A model whose weights are a hole in the file, so that any size costs no disk; its header is whole."""
    make_folder(folder, config)
    shape = shape_of(facts_from(config, {}))
    assert shape is not None
    tensors = {"model.embed_tokens.weight": [shape.vocab, shape.hidden]}
    for matrix in shape.weights.matrices:
        for layer in range(matrix.count):
            tensors[f"model.layers.{layer}.{matrix.name}.weight"] = [matrix.outputs, matrix.inputs]
    header, end = {}, 0
    for name, sizes in tensors.items():
        size = 2 * sizes[0] * sizes[1]
        header[name] = {"dtype": "BF16", "shape": sizes, "data_offsets": [end, end + size]}
        end += size
    write_header(folder / "model.safetensors", header)
    with (folder / "model.safetensors").open("rb+") as file:
        file.truncate(file.seek(0, 2) + end)
    return folder


def test_a_table_and_a_plan_for_people(folder: Path) -> None:
    text = run(str(folder), "--gpu", "24GB", "--terms").output
    assert "a GPU given as 24GB, counted as 22.5 GiB" in text and ">bf16" in text
    assert "fits" in text and "micro-batch" in text and "workspaces" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_json_has_every_term(folder: Path) -> None:
    found: dict[str, Any] = json.loads(run(str(folder), "--gpu", "8GB", "--json").output)
    assert found["chosen"] == "bf16"
    assert {row["precision"] for row in found["precisions"]} == {"fp32", "bf16", "int8", "nf4"}
    for row in found["precisions"]:
        assert sum(term["bytes"] for term in row["terms"]) == row["allocated_bytes"]
        assert row["low_bytes"] <= row["high_bytes"]
    assert found["plan"]["verdict"] == "fits"


def test_settings_and_a_spec_are_heeded(folder: Path, tmp_path: Path) -> None:
    spec = tmp_path / "run.toml"
    spec.write_text('[model]\nsource = "other"\n[data]\ntrain = "rows.jsonl"\n[tuning]\nkind = "full"\n')
    (tmp_path / "rows.jsonl").write_text('{"question": "Who?", "answer": "Me."}\n')
    found = json.loads(run(str(folder), "--spec", str(spec), "--gpu", "8GB", "--json").output)
    assert {row["precision"] for row in found["precisions"]} == {"fp32", "bf16"}
    more = json.loads(
        run(
            str(folder),
            "--gpu",
            "8GB",
            "--json",
            "--set",
            "tuning.rank=64",
            "--set",
            "training.micro_batch=1",
        ).output
    )
    assert more["plan"]["micro_batch"] == 1


def test_where_nothing_fits_there_are_ways_out(tmp_path: Path) -> None:
    big = CONFIG | {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "intermediate_size": 14336,
        "vocab_size": 128256,
    }
    text = run(str(make_model(tmp_path / "big", big)), "--gpu", "4GB").output
    assert "too big by" in text and "Suggestions" in text


@pytest.mark.parametrize(
    ("words", "gib"),
    [
        ("24GB", 22.5), ("24", 22.5), ("Tesla T4 16GB", 15), ("NVIDIA A100-SXM4-80GB", 75), ("15.5 GiB", 15.5),
        ("80gb", 75), ("RTX 3060 12GB", 11.25),
    ],
)  # fmt: skip
def test_cards_are_told_by_their_memory_with_care(words: str, gib: float) -> None:
    assert parse_gpu(words) == round(gib * GIB)


@pytest.mark.parametrize(
    "words", ["", "big", "0GB", "-4GB", "10000000GB", "RTX 4090", "1e3GB", "-24GB", "x -4 GB"]
)
def test_other_words_are_refused(words: str) -> None:
    with pytest.raises(InputError, match="is not a memory size"):
        parse_gpu(words)


def test_a_config_without_sizes_is_an_error(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "odd", CONFIG | {"num_hidden_layers": 0})
    with pytest.raises(InputError) as caught:
        run(str(folder), "--gpu", "8GB")
    assert "layers" in caught.value.message


def test_headers_that_are_not_the_configs_are_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "mixed", SMALL)
    (folder / "config.json").write_text(json.dumps(SMALL | {"num_hidden_layers": 64}))
    with pytest.raises(InputError) as caught:
        run(str(folder), "--gpu", "8GB")
    assert "do not match the weights" in caught.value.message


def test_an_unknown_architecture_says_so(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "new", SMALL | {"model_type": "brand_new"})
    assert "brand_new: activations unknown, wide range" in run(str(folder), "--gpu", "8GB").output


@pytest.mark.parametrize("length", [1 << 62, 100_000_001, 3])
def test_headers_that_cannot_be_read_leave_a_wide_range_that_says_why(tmp_path: Path, length: int) -> None:
    whole = make_model(tmp_path / "model", SMALL)
    exact = json.loads(run(str(whole), "--gpu", "8GB", "--json").output)["precisions"][0]
    with (whole / "model.safetensors").open("rb+") as file:
        file.write(length.to_bytes(8, "little"))
    found = json.loads(run(str(whole), "--gpu", "8GB", "--json").output)
    assert "from config.json only, wide range" in found["note"]
    rough = found["precisions"][0]
    assert rough["is_known"] is False and rough["high_bytes"] > exact["high_bytes"]


def test_what_else_a_run_needs_is_told(folder: Path) -> None:
    text = run(str(folder), "--gpu", "8GB").output
    assert "download: none, the model is on this machine" in text and "main memory while loading" in text
    found = json.loads(run(str(folder), "--gpu", "8GB", "--json").output)
    storage, chosen = found["storage"], found["precisions"][1]
    states = {term["name"]: term["bytes"] for term in chosen["terms"]}
    kept = states["adapters"] + states["optimizer states"]
    assert kept < storage["checkpoint"] < kept + 10_000_000
    assert storage["checkpoints"] == 3 * storage["checkpoint"] and storage["download"] == 0
    assert found["time"] == {"seconds": None, "energy_wh": None, "cost": None}


def test_an_adapter_that_it_starts_from_gives_rank_and_targets(folder: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "earlier"
    adapter.mkdir()
    config = {
        "peft_type": "LORA", "base_model_name_or_path": str(folder), "r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM",
        "target_modules": ["q_proj"],
    }  # fmt: skip
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    hidden = SMALL["hidden_size"]
    sides = {"A": np.zeros((4, hidden), np.float32), "B": np.zeros((hidden, 4), np.float32)}
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight": values
        for layer in range(SMALL["num_hidden_layers"])
        for side, values in sides.items()
    }
    save_file(tensors, adapter / "adapter_model.safetensors")

    def terms(*more: str) -> dict[str, int]:
        found = json.loads(run(str(folder), "--gpu", "8GB", "--json", *more).output)
        return {term["name"]: term["bytes"] for term in found["precisions"][1]["terms"]}

    start = ("--set", f"model.adapter={adapter}")
    sizes = SMALL["hidden_size"], SMALL["num_hidden_layers"]
    assert terms(*start)["adapters"] == 4 * sizes[1] * 4 * 2 * sizes[0]
    assert terms()["adapters"] > terms(*start)["adapters"] and "frozen adapter" not in terms(*start)
    dpo = terms(*start, "--set", "method.kind=dpo")
    assert dpo["frozen adapter"] == dpo["adapters"]
    with pytest.raises(NotFoundError, match="No such adapter"):
        run(str(folder), "--gpu", "8GB", "--set", "model.adapter=/nope")
