"""Folders and GGUF files that cannot be tuned are refused, by name and with a next step."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.unit.models_on_disk import (
    CONFIG,
    make_folder,
    make_shards,
    write_gguf,
    write_header,
    write_safetensors,
)
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.models.check import GGUF_ARCHITECTURES, check_source, needs_remote_code
from tuner_tui.models.gguf_header import GgufArray, read_gguf
from tuner_tui.models.safetensors_header import read_safetensors
from tuner_tui.models.source import ModelSource


def check(path: Path) -> None:
    check_source(ModelSource("folder" if path.is_dir() else "gguf", path.name, path))


def refusal(path: Path) -> InputError:
    """The error that checking a model ends with; it always has a title and something to do."""
    with pytest.raises(InputError) as caught:
        check(path)
    assert caught.value.title and caught.value.message
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "model")


def test_whole_models_pass(folder: Path, tmp_path: Path) -> None:
    check(folder)
    check(make_shards(tmp_path / "shards"))
    check(write_gguf(tmp_path / "model.gguf"))


def test_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "no config.json" in refusal(folder).message


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{", b"[" * 100_000])
def test_config_is_not_json(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    assert refusal(folder).title == "config.json is not JSON"


def test_config_is_no_object_or_has_no_type(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")
    assert "not a JSON object" in refusal(folder).title
    (folder / "config.json").write_text("{}")
    assert "no model_type" in refusal(folder).message


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refusal(folder).title == "No weights"
    (folder / "training_args.bin").write_bytes(b"")
    assert refusal(folder).title == "No weights"
    write_safetensors(folder / "consolidated.safetensors")
    assert "consolidated.safetensors" in refusal(folder).message


def test_pickles_are_refused_with_the_reason(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    error = refusal(folder)
    assert "pytorch_model.bin" in error.message and "can run any code" in error.message
    assert "convert" in error.hint


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "shards")
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "names model-00002-of-00002.safetensors, which is not" in refusal(folder).message


def test_an_index_that_lies(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "shards")
    write_safetensors(folder / "model-00002-of-00002.safetensors", ("other.weight",))
    assert "lists lm_head.weight in model-00002-of-00002" in refusal(folder).message


@pytest.mark.parametrize(
    "index", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": []}}']
    + [json.dumps({"weight_map": {"a": name}}) for name in ("../x.safetensors", "/x.safetensors", "x.bin")],
)  # fmt: skip
def test_a_broken_index(tmp_path: Path, index: str) -> None:
    folder = make_shards(tmp_path / "shards")
    (folder / "model.safetensors.index.json").write_text(index)
    assert "model.safetensors.index.json" in refusal(folder).message


def test_a_cut_safetensors_file_says_by_how_much(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for missing in (1, 700):
        path.write_bytes(whole[:-missing])
        error = refusal(folder)
        assert error.title == "Model file is truncated"
        assert f"{path} is {missing} bytes short of the {len(whole):,}" in error.message
    path.write_bytes(whole[:20])
    assert "ends inside its header" in refusal(folder).message
    path.write_bytes(b"abc")
    assert "only 3 bytes" in refusal(folder).message
    path.write_bytes(whole + b"!")
    assert "1 bytes longer" in refusal(folder).message


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"{not json}", "not JSON"),
        (b"[" * 50_000, "not JSON"),
        ([1], "not a JSON object"),
        ({"a": 1}, "lacks dtype"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, "lacks dtype"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, "impossible values"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "impossible values"),
        ({"a": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}}, "impossible values"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "needs 8 bytes but has 4"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "starts at byte 4 instead of 0"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
          "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "starts at byte 0 instead of 4"),
    ],
)  # fmt: skip
def test_headers_that_lie(folder: Path, header: object, said: str) -> None:
    write_header(folder / "model.safetensors", header, b"\0" * 8)
    error = refusal(folder)
    assert error.title == "Not a valid safetensors file"
    assert said in error.message and "model.safetensors" in error.message


def test_a_huge_header_is_refused_unread(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((100_000_001).to_bytes(8, "little"))
    assert "the limit is 100 MB" in refusal(folder).message


def test_headers_agree_with_the_library(folder: Path) -> None:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "numpy") as file:
        assert set(file.keys()) == set(read_safetensors(folder / "model.safetensors"))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_git_lfs_pointers(folder: Path, name: str) -> None:
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    assert "git lfs pull" in refusal(folder).hint


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").touch()
    assert refusal(folder).title == "No tokenizer"
    (folder / "merges.txt").touch()
    check(folder)


@pytest.mark.parametrize("with_config", [False, True])
def test_an_adapter_is_not_a_base(tmp_path: Path, with_config: bool) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    write_safetensors(folder / "adapter_model.safetensors")
    if with_config:
        (folder / "config.json").write_text(json.dumps(CONFIG))
    error = refusal(folder)
    assert error.title == "This is an adapter, not a base model"
    assert error.hint == "Use the base instead: owner/base"


def test_a_folder_of_gguf_files(tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf")
    assert "model.gguf" in refusal(tmp_path).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(folder: Path) -> None:
    (folder / "config.json").chmod(0)
    assert "there is no permission to read it" in refusal(folder).message


def test_a_model_that_went_away(folder: Path, tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "model.gguf")
    gguf.unlink()
    shutil.rmtree(folder)
    for kind, path in (("gguf", gguf), ("folder", folder)):
        with pytest.raises(NotFoundError, match="missing"):
            check_source(ModelSource(kind, path.name, path))  # type: ignore[arg-type]


def test_remote_code_is_seen(folder: Path, tmp_path: Path) -> None:
    assert not needs_remote_code(folder)
    assert needs_remote_code(make_folder(tmp_path / "own", CONFIG | {"auto_map": {"AutoModel": "own.Model"}}))
    assert not needs_remote_code(tmp_path)


def test_gguf_magic_and_version(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf")
    whole = path.read_bytes()
    path.write_bytes(b"GGML" + whole[4:])
    assert refusal(path).title == "Not a GGUF file"
    path.write_bytes(b"")
    assert refusal(path).title == "Not a GGUF file"
    for version, said in ((1, "version 1"), (99, "version 99"), (3 << 24, "big-endian")):
        path.write_bytes(whole[:4] + version.to_bytes(4, "little") + whole[8:])
        assert said in refusal(path).message
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in refusal(path).hint


def test_a_gguf_file_cut_anywhere_is_said(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf")
    whole = path.read_bytes()
    for length in range(4, len(whole) - 200, 7):
        path.write_bytes(whole[:length])
        assert refusal(path).title == "GGUF file is truncated", length
    needed = read_end(whole, tmp_path)
    path.write_bytes(whole[: needed - 100])
    assert f"is 100 bytes short of {needed:,}" in refusal(path).message


def read_end(whole: bytes, tmp_path: Path) -> int:
    """Where the last tensor ends, by the library's own reader."""
    from gguf import GGUFReader

    copy = tmp_path / "copy.gguf"
    copy.write_bytes(whole)
    return max(int(tensor.data_offset) + int(tensor.n_bytes) for tensor in GGUFReader(copy).tensors)


def test_gguf_headers_with_random_damage_never_surprise(tmp_path: Path) -> None:
    """A flipped byte is refused, or harmless; it never ends in another exception or takes for ever."""
    path = write_gguf(tmp_path / "model.gguf")
    whole = path.read_bytes()
    for place in range(4, len(whole) - 600, 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            check(path)
        except InputError as error:
            assert error.title


def test_gguf_header_agrees_with_the_library(tmp_path: Path) -> None:
    from gguf import GGUFReader

    path = write_gguf(tmp_path / "model.gguf")
    ours, theirs = read_gguf(path), GGUFReader(path)
    assert [(tensor.name, tensor.dtype, tensor.elements, tensor.size_bytes) for tensor in ours.tensors] == [
        (tensor.name, tensor.tensor_type.name, int(tensor.n_elements), int(tensor.n_bytes))
        for tensor in theirs.tensors
    ]
    for key, field in theirs.fields.items():
        if not key.startswith("GGUF."):
            value = ours.metadata[key]
            assert (
                value == GgufArray(len(field.data))
                if isinstance(value, GgufArray)
                else value == field.contents()
            )


@pytest.mark.parametrize(
    ("architecture", "tokens", "extra", "said"),
    [
        ("clip", 32, {}, "cannot be read from GGUF"),
        ("llama", 0, {}, "No tokenizer"),
        ("llama", 32, {"general__type": "adapter"}, "This is an adapter"),
        ("clip", 0, {"general__type": "mmproj"}, "Not a language model"),
        ("llama", 32, {"split__count": 3}, "Only part of a model"),
    ],
)
def test_gguf_files_that_are_no_base(
    tmp_path: Path, architecture: str, tokens: int, extra: dict[str, str | int], said: str
) -> None:
    assert said in refusal(write_gguf(tmp_path / "x.gguf", architecture, tokens, **extra)).title


def test_gguf_architectures_are_those_of_transformers() -> None:
    """Read from its source, because importing transformers takes seconds."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("transformers is not installed")
    path = Path(spec.submodule_search_locations[0]) / "integrations" / "ggml.py"
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "GGUF_CONFIG_MAPPING":
            readable = set(ast.literal_eval(statement.value))
    spellings = {name.replace("-", "_").replace("moe", "_moe") for name in GGUF_ARCHITECTURES}
    assert spellings <= readable
    assert readable - spellings == {"general", "tokenizer", "t5", "umt5"}  # the last two are encoder-decoders
