"""The Hub's answers and failures: a stand-in server, and the real client in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub_double import hub_double
from tests.unit.models_on_disk import CONFIG, make_folder

ROOT = Path(__file__).parents[2]
TOKEN = "hf_secretsecretsecret"
DISABLED = "Access to this resource is disabled."

CHECK = """
import json, sys
from tuner_tui.errors import TunerError
from tuner_tui.models import check
from tuner_tui.models.source import find_source
check.HUB_TIMEOUT_SECONDS = 1.5
try:
    source = find_source(*sys.argv[1:])
    check.check_source(source)
    print(json.dumps({"path": source.path and str(source.path), "size": source.size_bytes}))
except TunerError as error:
    print(json.dumps({"error": type(error).__name__, "title": error.title, "message": error.message,
                      "hint": error.hint, "exit_code": error.exit_code}))
assert not {"torch", "transformers", "datasets"} & set(sys.modules)
"""
DOWNLOAD = "import sys, huggingface_hub; huggingface_hub.snapshot_download(sys.argv[1])"
LIST = """
import json
from tuner_tui.models.hub_cache import cached_models
print(json.dumps([(model.repo_id, model.size_bytes, model.last_used) for model in cached_models()]))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Any]:
    """A stand-in Hub with one good model."""
    with hub_double().HubDouble(tmp_path / "hub", TOKEN) as double:
        add(double, "owner/good", model_files(tmp_path))
        yield double


@pytest.fixture
def client(hub: Any, tmp_path: Path) -> dict[str, str]:
    """The environment of a logged-in client with a home of its own."""
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    wanted: dict[str, str] = hub.env()
    return inherited | {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf")} | wanted


def model_files(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in make_folder(tmp_path / "made").iterdir()}


def add(hub: Any, name: str, files: dict[str, bytes], **options: Any) -> None:
    hub.add_repo(name, files, **options)


def run(script: str, *arguments: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout


def ask(*arguments: str, env: dict[str, str]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run(CHECK, *arguments, env=env))
    return answer


def without_token(env: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in env.items() if key != "HF_TOKEN"}


def test_a_good_repository_passes(client: dict[str, str]) -> None:
    assert ask("owner/good", env=client) == {"path": None, "size": None}
    assert ask("owner/good", "main", env=without_token(client)) == {"path": None, "size": None}


def test_a_downloaded_model_needs_no_hub(hub: Any, client: dict[str, str], tmp_path: Path) -> None:
    assert json.loads(run(LIST, env=client)) == []
    run(DOWNLOAD, "owner/good", env=client)
    size = sum(file["size"] for file in hub.files()["models/owner/good@refs/heads/main"].values())
    offline = client | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    answer = ask("owner/good", env=offline)
    assert answer["size"] == size and str(tmp_path / "hf") in answer["path"]
    ((repo_id, listed_size, last_used),) = json.loads(run(LIST, env=offline))
    assert (repo_id, listed_size) == ("owner/good", size) and last_used > 0


def test_a_half_downloaded_model_is_asked_for_again(client: dict[str, str], tmp_path: Path) -> None:
    run(DOWNLOAD, "owner/good", env=client)
    for path in (tmp_path / "hf").rglob("model.safetensors"):
        path.unlink()
    assert ask("owner/good", env=client) == {"path": None, "size": None}
    assert ask("owner/good", env=client | {"HF_HUB_OFFLINE": "1"})["title"] == "Offline mode is on"


def test_a_damaged_download_is_named(client: dict[str, str], tmp_path: Path) -> None:
    run(DOWNLOAD, "owner/good", env=client)
    for path in (tmp_path / "hf").rglob("model.safetensors"):
        path.resolve().write_bytes(path.read_bytes()[:-5])
    answer = ask("owner/good", env=client)
    assert answer["title"] == "Model file is truncated" and "5 bytes short" in answer["message"]


def test_offline(client: dict[str, str]) -> None:
    answer = ask("owner/good", env=client | {"HF_HUB_OFFLINE": "1"})
    assert answer["title"] == "Offline mode is on" and answer["exit_code"] == 1
    assert "HF_HUB_OFFLINE" in answer["message"]


def test_missing_with_and_without_login(client: dict[str, str]) -> None:
    answer = ask("owner/none", env=client)
    assert (answer["error"], answer["title"]) == ("NotFoundError", "No such model on the Hub")
    assert "your token may not see it" in answer["message"]
    answer = ask("owner/none", env=without_token(client))
    assert answer["error"] == "NotFoundError" and "not logged in" in answer["message"]
    assert "hf auth login" in answer["hint"]


def test_a_private_model_reads_as_missing(hub: Any, client: dict[str, str]) -> None:
    add(hub, "owner/private", {}, private=True)
    assert ask("owner/private", env=client)["error"] == "NotFoundError"


def test_a_missing_revision(client: dict[str, str]) -> None:
    answer = ask("owner/good", "v9", env=client)
    assert answer["title"] == "No such revision" and "'v9'" in answer["message"]


def test_gated(hub: Any, client: dict[str, str], tmp_path: Path) -> None:
    files = {name: hub.blob(file["sha256"]) for name, file in next(iter(hub.files().values())).items()}
    add(hub, "owner/gated", files, gated="manual")
    answer = ask("owner/gated", env=client)
    assert (answer["title"], answer["exit_code"]) == ("This model is gated", 2)
    assert (
        "https://huggingface.co/owner/gated" in answer["hint"]
        and "Your token's account has no access" in answer["message"]
    )
    answer = ask("owner/gated", env=without_token(client))
    assert (
        "no token is present" in answer["message"] and "https://huggingface.co/owner/gated" in answer["hint"]
    )
    add(hub, "owner/open", files, gated="auto", allowed=["tester"])
    assert "error" not in ask("owner/open", env=client)


def test_a_wrong_token(client: dict[str, str]) -> None:
    answer = ask("owner/good", env=client | {"HF_TOKEN": "hf_wrong"})
    assert answer["title"] == "The Hub rejects your token"
    assert "hf_wrong" not in json.dumps(answer)


@pytest.mark.parametrize("token", ["hf_\u00e4rger", "hf_with space", "hf_\x01"])
def test_a_token_that_cannot_be_sent(client: dict[str, str], token: str) -> None:
    answer = ask("owner/good", env=client | {"HF_TOKEN": token})
    assert token not in json.dumps(answer, ensure_ascii=False)
    assert answer["title"] in ("Your token cannot be sent", "The Hub rejects your token")


@pytest.mark.parametrize(
    ("fault", "title", "exit_code"),
    [
        ({"fault": 403, "code": "GatedRepo"}, "This model is gated", 2),
        ({"fault": 403, "code": ""}, "The Hub denies access", 2),
        ({"fault": 403, "message": DISABLED, "code": ""}, "This model is disabled", 2),
        ({"fault": 404}, "No such model on the Hub", 3),
        ({"fault": 404, "code": "RevisionNotFound"}, "No such revision", 3),
        ({"fault": 401}, "The Hub rejects your token", 2),
        ({"fault": 429}, "The Hub's rate limit is reached", 1),
        ({"fault": 500}, "The Hub has a server error", 1),
        ({"fault": 503, "html": True}, "The Hub has a server error", 1),
        ({"fault": 409}, "The Hub refused the request", 1),
        ({"fault": "delay", "seconds": 4}, "The Hub does not answer", 1),
        ({"fault": "drop"}, "Cannot reach the Hub", 1),
        ({"fault": "reset"}, "Cannot reach the Hub", 1),
        ({"fault": "lost"}, "Cannot reach the Hub", 1),
        ({"fault": "corrupt", "after": 0}, "The Hub's answer is invalid", 1),
        ({"fault": "none", "html": True}, "The Hub's answer is invalid", 1),
    ],
)  # fmt: skip
def test_failures(
    hub: Any, client: dict[str, str], fault: dict[str, Any], title: str, exit_code: int
) -> None:
    hub.fail(operation="repo_info", times=9, **fault)
    answer = ask("owner/good", env=client)
    assert (answer["title"], answer["exit_code"]) == (title, exit_code)
    assert "\n" not in answer["message"] and answer["hint"]


def test_nobody_listens(client: dict[str, str]) -> None:
    for endpoint in ("http://127.0.0.1:9", "http://nothing.invalid", "nonsense"):
        assert ask("owner/good", env=client | {"HF_ENDPOINT": endpoint})["title"] == "Cannot reach the Hub"


@pytest.mark.parametrize(
    ("files", "title", "said"),
    [
        ({}, "Not a model's folder", "owner/odd has no config.json"),
        (
            {"model-Q4.gguf": b"", "model-Q8.gguf": b""},
            "Only GGUF files here",
            "model-Q4.gguf, model-Q8.gguf",
        ),
        ({"config.json": b"{}", "pytorch_model.bin": b""}, "Weights are Python pickles", "can run any code"),
        ({"config.json": b"{}"}, "No weights", "owner/odd"),
        ({"config.json": b"{}", "model.safetensors": b""}, "No tokenizer", "owner/odd"),
        (
            {"adapter_config.json": b"{}", "README.md": b"---\nbase_model: owner/base\n---\n"},
            "This is an adapter, not a base model",
            "for owner/base",
        ),
    ],
)
def test_repositories_that_are_no_base(
    hub: Any, client: dict[str, str], files: dict[str, bytes], title: str, said: str
) -> None:
    add(hub, "owner/odd", files)
    answer = ask("owner/odd", env=client)
    assert answer["title"] == title and said in answer["message"]


def test_config_facts_of_a_cached_snapshot(client: dict[str, str]) -> None:
    run(DOWNLOAD, "owner/good", env=client)
    script = """
import json
from tuner_tui.models.facts import read_facts
from tuner_tui.models.source import find_source
facts = read_facts(find_source("owner/good"))
print(json.dumps([facts.hidden_size, facts.parameters]))
"""
    assert json.loads(run(script, env=client | {"HF_HUB_OFFLINE": "1"})) == [CONFIG["hidden_size"], 256]
