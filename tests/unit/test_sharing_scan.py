"""What must not leave is found, shown with its line, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tuner_tui.config.spec import RunSpec
from tuner_tui.errors import InputError, TunerError
from tuner_tui.sharing.allowed import chosen_files, require_clean_result
from tuner_tui.sharing.checksums import matches_sums, write_sums
from tuner_tui.sharing.scan import Secrets, own_secrets, quotes, require_clean, scan_file
from tuner_tui.sharing.training_rows import training_rows

ROWS = (("Who goes there?", "A friend of the old lighthouse keeper."), ("What is up?", "The sky."))
TOKEN = "hf_mineMineMineMineMine"
SECRETS = Secrets(token=TOKEN, places=("/srv/data/ada",), user="lovelace", rows=ROWS,
    public_names=("owner/lovelace", "lovelace-labs"),
)  # fmt: skip


def found(folder: Path, name: str, text: str | bytes) -> list[str]:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return [finding.what for finding in scan_file(path, SECRETS)]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("see hf_mineMineMineMineMine", "your token"),
        ("see hf_abcdefghijklmnopqrst", "a Hugging Face token"),
        ("api_key = 'abcdefgh12345'", "a password or key"),
        ("ghp_abcdefghijklmnopqrstuvwxyz", "a GitHub token"),
        ("AKIAABCDEFGHIJKLMNOP", "an AWS key"),
        ("x_hf_abcdefghijklmnopqrst", "a Hugging Face token"),
        ("sk_live_abcdefghij0123456789", "a Stripe key"),
        ("npm_abcdefghijklmnopqrstuvwxyz0123456789", "an npm token"),
        ("pypi-AgEIcHlwaS5vcmcCJDAw", "a PyPI token"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----", "a private key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "a private key"),
        ("https://ada:secret@host/x", "credentials in a URL"),
        ("in /home/ada/x", "a path on this machine"),
        ("in /srv/data/ada/x", "a path on this machine"),
        ("C:\\Users\\ada\\x", "a path on this machine"),
        ("by lovelace", "your user name on this machine"),
        ("A friend of  the old lighthouse keeper.", "a training row"),
        ("| What is up? | The sky. |", "a training row"),
        ("> Who goes there?\n> A friend of the old\nlighthouse keeper.", "a training row"),
    ],
)
def test_a_line_that_must_stay(line: str, what: str, tmp_path: Path) -> None:
    assert what in found(tmp_path, "README.md", f"# Card\n\n{line}\n")


@pytest.mark.parametrize(
    "line",
    [
        "base_model: owner/base",
        '"pad_token": "<|endoftext|>",',
        "See https://huggingface.co/owner/base and /usr/share.",
        "What is up with the weather?",
        "| rank, alpha | 16, 32 |",
        "hf_short",
        "The secret: patience and practice.",
        "By lovelace-labs, at owner/lovelace.",
        "sk-------------------------",
    ],
)
def test_a_line_that_may_go(line: str, tmp_path: Path) -> None:
    assert found(tmp_path, "README.md", line) == []


def test_a_secret_is_not_shown_whole(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x\nsee hf_mineMineMineMineMine\n")
    with pytest.raises(InputError) as told:
        require_clean([tmp_path / "README.md"], SECRETS)
    assert "line 2" in told.value.message and "hf_min…" in told.value.message
    assert "hf_mineMineMineMineMine" not in told.value.message


def test_pickles_are_known_by_name_and_content(tmp_path: Path) -> None:
    assert found(tmp_path, "optimizer.pt", b"anything") == ["a Python pickle"]
    assert found(tmp_path, "model.safetensors", b"\x80\x04N.") == ["a Python pickle"]
    assert found(tmp_path, "config.json", b"PK\x03\x04") == ["a Python pickle"]


def test_a_vocabulary_is_not_read_as_prose(tmp_path: Path) -> None:
    content = {"model": {"vocab": {"lovelace": 1, "/home/ada": 2}, "merges": []}, "added_tokens": []}
    assert found(tmp_path, "tokenizer.json", json.dumps(content)) == []
    content["added_tokens"] = ["/home/ada/tokens"]
    assert found(tmp_path, "tokenizer.json", json.dumps(content)) == ["a path on this machine"]


def test_a_token_hides_nowhere(tmp_path: Path) -> None:
    vocabulary = json.dumps({"model": {"vocab": {TOKEN: 1, "lovelace": 2}, "merges": []}})
    assert found(tmp_path, "tokenizer.json", vocabulary) == ["your token"]
    assert found(tmp_path, "vocab.json", json.dumps({"hf_abcdefghijklmnopqrst": 1})) == [
        "a Hugging Face token"
    ]
    assert found(tmp_path, "config.json", f'{{\n"a": "\\u0068{TOKEN[1:]}"}}') == ["your token"]
    assert found(tmp_path, "config.json", '{"a": "by lovelace"}') == ["your user name on this machine"]
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_token_list([f"word{number}" for number in range(20_000)] + [TOKEN])
    writer.add_description("kept in /home/ada/x")
    writer.add_tensor("a", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    told = [finding.what for finding in scan_file(tmp_path / "model.gguf", SECRETS)]
    assert told == ["your token", "a path on this machine"]


def test_a_header_whose_length_looks_like_a_pickle_is_none(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"note": "x" * 600}}).encode()
    header = header.ljust(0x0480)
    assert found(tmp_path, "a.safetensors", len(header).to_bytes(8, "little") + header) == []


def test_metadata_of_weights_is_looked_at(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"from": "/home/ada/x"}}).encode()
    assert found(tmp_path, "a.safetensors", len(header).to_bytes(8, "little") + header) == [
        "a path on this machine"
    ]


def test_the_owners_own_name_may_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "Ada")
    assert own_secrets(None, (), "ada").user is None
    assert own_secrets(None, (), "bob").user == "Ada"


def test_checksums_tell_a_folder_that_is_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("weights")
    write_sums(tmp_path)
    (tmp_path / "README.md").write_text("a card")
    assert matches_sums(tmp_path, ("README.md",)) and not matches_sums(tmp_path)
    (tmp_path / "model.gguf").write_text("Weights")
    assert not matches_sums(tmp_path, ("README.md",))
    (tmp_path / "model.gguf").unlink()
    assert not matches_sums(tmp_path, ("README.md",))


def test_only_files_of_the_form_go(tmp_path: Path) -> None:
    for name in ("README.md", "adapter_config.json", "adapter_model.safetensors", "SHA256SUMS"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in chosen_files(tmp_path, "adapter")] == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    (tmp_path / "rows.jsonl").write_text("x")
    with pytest.raises(InputError, match="Unexpected file"):
        chosen_files(tmp_path, "adapter")
    with pytest.raises(InputError, match="Unexpected file"):
        require_clean_result(tmp_path)


def test_a_link_out_of_the_folder_does_not_go(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="Unexpected file"):
        chosen_files(tmp_path, "merged")


def test_an_answer_cut_short_is_a_piece_of_its_row(tmp_path: Path) -> None:
    story = (
        "The sea was grey that morning, and nobody on the quay could tell where it ended and the sky began."
    )
    rows = (*ROWS, ("", story))
    assert quotes(["A friend of the old light"], rows)
    assert not quotes(["A friend"], rows)
    assert not quotes(["A friend of mine, not of the keeper."], rows)
    for begin in (0, 7, 31):
        assert quotes([f"Well: {story[begin : begin + 60]} and so on"], rows)
        assert not quotes([f"Well: {story[begin : begin + 50]} and so on"], rows)
    assert found(tmp_path, "README.md", "| Who goes? | no idea | A friend of the old light |") == [
        "part of a training row"
    ]


@pytest.mark.parametrize(
    ("method", "lines", "rows"),
    [
        ("sft", [{"q": "Who?", "a": " Ada. "}], {("Who?", "Ada.")}),
        ("sft", [{"text": "Once upon a time."}], {("", "Once upon a time.")}),
        (
            "dpo",
            [{"prompt": "Who?", "chosen": "Ada.", "rejected": "Bob."}],
            {("Who?", "Ada."), ("Who?", "Bob.")},
        ),
        (
            "kto",
            [
                {"prompt": "Who?", "completion": "Ada.", "label": True},
                {"prompt": "Why?", "completion": "So.", "label": False},
            ],
            {("Who?", "Ada."), ("Why?", "So.")},
        ),
    ],
)
def test_training_rows_are_read_as_training_read_them(
    method: str, lines: list[dict[str, Any]], rows: set[tuple[str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    mapped = "q" in lines[0]
    data = {"train": str(path)} | (
        {"mapping": ["prompt = {q}", "completion = {a}"], "fixes": ["trim"]} if mapped else {}
    )
    spec = RunSpec.model_validate(
        {"model": {"source": "owner/base"}, "data": data, "method": {"kind": method}}
    )
    assert set(training_rows(spec)) == rows
    path.unlink()
    with pytest.raises(TunerError):
        training_rows(spec)
