"""Facts of a Hub model that was never downloaded, against a stand-in Hub and the real client."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.models_on_disk import CONFIG, make_folder, make_shards, write_gguf
from tests.unit.test_models_hub import TOKEN, client, hub
from tuner_tui.models.facts import read_facts
from tuner_tui.models.source import ModelSource

__all__ = ["client", "hub"]

READ = """
import dataclasses, json, sys
from tuner_tui.errors import TunerError
from tuner_tui.models import remote_headers
from tuner_tui.models.source import ModelSource
remote_headers.TIMEOUT_SECONDS = 2.0
try:
    facts = remote_headers.read_remote_facts(ModelSource("hub", sys.argv[1], repo_id=sys.argv[1]))
    print(json.dumps(dataclasses.asdict(facts)))
except TunerError as error:
    print(json.dumps({"title": error.title, "message": error.message}))
assert not {"torch", "transformers", "datasets"} & set(sys.modules)
"""


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read(client: dict[str, str], repo: str = "owner/far") -> dict[str, Any]:
    child = subprocess.run(
        [sys.executable, "-c", READ, repo],
        env=client,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert TOKEN not in child.stdout + child.stderr
    found: dict[str, Any] = json.loads(child.stdout)
    return found


@pytest.fixture
def home(client: dict[str, str], tmp_path: Path) -> dict[str, str]:
    return client | {"TUNER_TUI_HOME": str(tmp_path / "home")}


def big_model(tmp_path: Path) -> dict[str, bytes]:
    """A model of 3 MB in one file, whose header is longer than the first request."""
    folder = make_folder(tmp_path / "big", CONFIG | {"hidden_size": 8})
    names = {
        f"model.layers.{i}.mlp.{'gate' if i % 2 else 'up'}_proj_{'x' * 60}.weight": 256 for i in range(900)
    }
    header, end = {}, 0
    for name, size in names.items():
        header[name] = {"dtype": "F32", "shape": [8, 8], "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    assert len(raw) > 120_000
    data = len(raw).to_bytes(8, "little") + raw + bytes(end)
    (folder / "model.safetensors").write_bytes(data + b"")
    return files_of(folder)


def test_config_and_headers_tell_it_all(hub: Any, home: dict[str, str], tmp_path: Path) -> None:
    hub.add_repo("owner/far", files_of(make_shards(tmp_path / "shards")))
    facts = read(home)
    assert (facts["parameters"], facts["weight_bytes"], facts["layers"]) == (512, 2048, 2)
    assert facts["weights"]["embedding"] == 256


@pytest.mark.parametrize(
    ("stated", "licence"),
    [("mit", "mit"), ("[mit, apache-2.0]", "mit or apache-2.0"), ("[]", None), ("{a: b}", None)],
)
def test_a_licence_is_read_as_from_a_folder(
    hub: Any, home: dict[str, str], tmp_path: Path, stated: str, licence: str | None
) -> None:
    card = {"README.md": f"---\nlicense: {stated}\n---\n# A model\n".encode()}
    hub.add_repo("owner/far", files_of(make_shards(tmp_path / "shards")) | card)
    assert read(home)["licence"] == licence


def test_only_the_header_is_fetched_and_once(hub: Any, home: dict[str, str], tmp_path: Path) -> None:
    files = big_model(tmp_path)
    hub.add_repo("owner/far", files)
    facts = read(home)
    assert facts["parameters"] == 900 * 64
    sent = [note["bytes_out"] for note in hub.requests if note["server"] == "storage"]
    assert 0 < sum(sent) < len(files["model.safetensors"])
    before = len(hub.requests)
    assert read(home) == facts
    again = {note["operation"] for note in hub.requests[before:]}
    assert "repo_info" in again and again.isdisjoint(("resolve", "download"))


def test_the_token_stays_with_the_hub(hub: Any, home: dict[str, str], tmp_path: Path) -> None:
    hub.add_repo("owner/far", big_model(tmp_path))
    read(home)
    assert not any(note["authorization"] for note in hub.requests if note["server"] == "storage")


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({"model.safetensors": (200_000_000).to_bytes(8, "little") + b"{}"}, "Not a valid safetensors file"),
        ({"model.safetensors": (500).to_bytes(8, "little") + b"{}"}, "Model file is truncated"),
        ({"model.safetensors": (2).to_bytes(8, "little") + b"[]"}, "Not a valid safetensors file"),
        ({"config.json": b"{"}, "config.json is not JSON"),
        ({"model.safetensors": None}, "No weights"),
    ],
)
def test_lies_are_told(
    hub: Any, home: dict[str, str], tmp_path: Path, change: dict[str, bytes | None], title: str
) -> None:
    files = files_of(make_folder(tmp_path / "bad")) | change
    hub.add_repo("owner/far", {name: data for name, data in files.items() if data is not None})
    assert read(home)["title"] == title


@pytest.mark.parametrize(
    ("fault", "options", "title"),
    [
        (500, {}, "The Hub has a server error"),
        (429, {}, "The Hub's rate limit is reached"),
        ("delay", {"seconds": 5}, "The Hub does not answer"),
    ],
)
def test_a_failing_hub_is_told(
    hub: Any, home: dict[str, str], tmp_path: Path, fault: Any, options: dict[str, Any], title: str
) -> None:
    hub.add_repo("owner/far", files_of(make_folder(tmp_path / "made2")))
    hub.fail(fault, "resolve", times=5, **options)
    assert read(home)["title"] == title


def test_a_gguf_is_read_by_its_header_too(hub: Any, home: dict[str, str], tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", tokens=150_000)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(bytes(8 << 20))
    hub.add_repo("owner/far", {"model-Q4_K_M.gguf": b"not looked at", "model-F16.gguf": path.read_bytes()})
    here = dataclasses.asdict(read_facts(ModelSource("gguf", "model.gguf", path)))
    assert read(home) == json.loads(json.dumps(here)) == read(home)
    sent = sum(note["bytes_out"] for note in hub.requests if note["server"] == "storage")
    assert 1 << 20 < sent < size + (2 << 20)


def test_a_gguf_that_is_none_is_told(hub: Any, home: dict[str, str]) -> None:
    hub.add_repo("owner/far", {"model.gguf": b"GGUX" + bytes(100)})
    assert read(home)["title"] == "Not a GGUF file"
    hub.add_repo("owner/parts", {"model-00001-of-00002.gguf": b"GGUF" + bytes(100)})
    assert read(home, "owner/parts")["title"] == "Only GGUF files here"


def test_a_server_that_refuses_ranges_is_read_from_the_start(
    hub: Any, home: dict[str, str], tmp_path: Path
) -> None:
    hub.add_repo("owner/far", big_model(tmp_path))
    for name in ("config.json", "model.safetensors"):
        hub.fail(416, "resolve", path=f"*/{name}")
    assert read(home)["parameters"] == 900 * 64
    asked = [bool(note["range"]) for note in hub.requests if note["path"].endswith("/model.safetensors")]
    assert asked[:2] == [True, False]


def test_offline_it_says_so(hub: Any, home: dict[str, str], tmp_path: Path) -> None:
    assert read(home | {"HF_HUB_OFFLINE": "1"})["title"] == "Offline mode is on"


COUNT = """
import sys
from tuner_tui.errors import TunerError
from tuner_tui.models import remote_headers
from tuner_tui.models.source import ModelSource
source = ModelSource("hub", sys.argv[1], repo_id=sys.argv[1])
try:
    if "fetch" in sys.argv:
        remote_headers.read_remote_facts(source)
    folder = remote_headers.remote_tokenizer(source, may_fetch="fetch" in sys.argv)
    print(*sorted(path.name for path in folder.iterdir()))
except TunerError as error:
    print(error.title)
"""


def test_a_tokenizer_is_fetched_alone_and_kept(hub: Any, home: dict[str, str], tmp_path: Path) -> None:
    more = {"tokenizer.json": b"{}", "tokenizer_config.json": b"{}", "README.md": b"# A model"}
    hub.add_repo("owner/far", big_model(tmp_path) | more)

    def names(*words: str) -> str:
        command = [sys.executable, "-c", COUNT, "owner/far", *words]
        return subprocess.run(
            command, env=home, capture_output=True, text=True, timeout=60, check=True
        ).stdout.strip()

    assert names() == "The model's header was never read"
    assert names("fetch") == "tokenizer.json tokenizer_config.json"
    before = len(hub.requests)
    assert names() == "tokenizer.json tokenizer_config.json" and len(hub.requests) == before


def test_what_was_read_before_counts_when_the_hub_is_away(
    hub: Any, home: dict[str, str], tmp_path: Path
) -> None:
    hub.add_repo("owner/far", files_of(make_shards(tmp_path / "shards")))
    there = read(home)
    away = read(home | {"HF_HUB_OFFLINE": "1"})
    assert away.pop("read_at_commit") and there.pop("read_at_commit") == ""
    assert away | {"licence": None} == there | {"licence": None}
    assert read(home | {"HF_HUB_OFFLINE": "1"}, "owner/other")["title"] == "Offline mode is on"
