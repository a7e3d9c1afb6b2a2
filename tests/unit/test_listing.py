"""The lists to pick from: models and data files in a folder, in the Hub's cache, and on the Hub."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.unit.models_on_disk import CONFIG, make_folder, write_gguf
from tuner_tui.data.files.listing import list_data, look_at_data
from tuner_tui.errors import TunerError
from tuner_tui.models.demo import demo_gguf
from tuner_tui.models.listing import (
    demo_model,
    list_models,
    look_at_model,
    models_in,
    search_hub,
    typed_model,
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.AGENT_HARNESSES_PATH", str(tmp_path / "harnesses.json"))
    nobody: dict[str, Any] = {
        "standardEnvVars": [],
        "harnesses": {},
    }  # else the client asks its server who calls
    monkeypatch.setattr("huggingface_hub.utils._detect_agent._registry", nobody)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_demo_is_first_and_says_where_it_is() -> None:
    first = list_models(Path.cwd())[0]
    assert first.source == "demo"
    assert first.remark == ("included in this installation" if demo_gguf() else "from the Hub, about 270 MB")
    assert demo_model() == first


def test_models_of_a_folder_and_one_below(here: Path) -> None:
    make_folder(here / "one")
    make_folder(here / "below" / "two")
    make_folder(here / "below" / "deeper" / "three")
    make_folder(here / ".hidden" / "four")
    write_gguf(here / "five.gguf")
    (here / "below" / "broken.gguf").write_bytes(b"GGUF")
    found = {listing.source: listing for listing in models_in(here)}
    assert set(found) == {"./one", "./below/two", "./five.gguf", "./below/broken.gguf"}
    assert found["./one"].parameters == 32 * 8
    assert found["./five.gguf"].licence == "apache-2.0"
    assert found["./below/broken.gguf"].remark
    for source in ("./one", "./five.gguf"):
        assert look_at_model(source).problem is None


def test_a_folder_that_cannot_be_read_is_empty(here: Path) -> None:
    assert models_in(here / "gone") == []
    assert [each.name for each in list_data(here / "gone")] == ["demo"]


def test_typed_text_is_a_path_or_a_hub_name(here: Path) -> None:
    make_folder(here / "one", CONFIG)
    local = typed_model("./one")
    assert local is not None
    assert local.parameters == 256
    hub = typed_model("Qwen/Qwen3-4B")
    assert hub is not None
    assert hub.remark
    assert typed_model("not a name!") is None
    assert typed_model("./gone") is None


def test_a_look_tells_what_is_wrong() -> None:
    look = look_at_model("./gone")
    assert look.problem is not None
    assert look.facts is None


def test_data_files_and_a_look_into_them(here: Path) -> None:
    (here / "below").mkdir()
    (here / "a.jsonl").write_text('{"text": "x"}\n' * 5)
    (here / "below" / "b.JSONL").write_text('{"text": "x"}\n{"text": 1}\n')
    assert [each.name for each in list_data(here)] == ["demo", "a.jsonl", "below/b.JSONL"]
    good = look_at_data("a.jsonl")
    assert (good.shape, good.rows, good.is_partial, len(good.first_rows)) == ("text", 5, False, 3)
    assert look_at_data("a.jsonl", limit=2).rows == 2
    bad = look_at_data("below/b.JSONL")
    assert bad.problem is not None
    assert "b.JSONL:2" in bad.problem.message
    assert look_at_data("gone.jsonl").problem is not None
    assert look_at_data("x" * 5000).problem is not None


def test_a_problem_behind_the_first_rows_is_found_and_they_are_shown(here: Path) -> None:
    (here / "a.jsonl").write_text('{"text": "x"}\n' * 5 + "{\n")
    look = look_at_data("a.jsonl")
    assert look.problem is not None
    assert "a.jsonl:6" in look.problem.message
    assert len(look.first_rows) == 3


def test_a_long_file_is_read_in_part(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner_tui.data.files.listing.CHECKED_ROWS", 10)
    (here / "a.jsonl").write_text('{"text": "x"}\n' * 11)
    look = look_at_data("a.jsonl")
    assert (look.rows, look.is_partial) == (10, True)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A server that answers every question with what the test says."""
    said: dict[str, Any] = {"status": 200, "body": [], "asked": []}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said["asked"].append(self.path)
            body = json.dumps(said["body"]).encode()
            self.send_response(said["status"])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield said
    server.shutdown()
    server.server_close()


def test_the_hubs_answer_is_read(hub: dict[str, Any]) -> None:
    hub["body"] = [
        {"id": "a/b", "gated": "manual", "safetensors": {"total": 7}, "tags": ["x", "license:mit"]},
        {"id": "c/d", "gated": False},
    ]
    first, second = search_hub("b c")
    assert (first.source, first.gated, first.parameters, first.licence) == ("a/b", True, 7, "mit")
    assert (second.gated, second.parameters, second.licence) == (False, None, None)
    assert "search=b" in hub["asked"][0]
    assert len(hub["asked"]) == 1


@pytest.mark.parametrize(
    ("status", "body"), [(500, {}), (429, {}), (200, {"error": "?"}), (200, [1]), (401, {})]
)
def test_a_strange_answer_is_a_plain_error(hub: dict[str, Any], status: int, body: Any) -> None:
    hub["status"], hub["body"] = status, body
    with pytest.raises(TunerError, match="The Hub cannot be searched now"):
        search_hub("x")
    assert len(hub["asked"]) == 1


def test_offline_is_a_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(TunerError, match="Cannot reach the Hub"):
        search_hub("x")
