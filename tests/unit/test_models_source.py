"""What model.source resolves to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.models_on_disk import make_folder, write_gguf
from tuner_tui.errors import InputError, NotFoundError
from tuner_tui.models import source as source_module
from tuner_tui.models.demo import DEMO_REPO
from tuner_tui.models.source import find_source, is_hub_id


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and no Hub cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tuner_tui.models.hub_cache.cached_snapshot", lambda *_: None)
    return tmp_path


def test_a_folder_is_found_by_any_path(here: Path) -> None:
    folder = make_folder(here / "models" / "octopus")
    for given in ("models/octopus", "./models/octopus", str(folder), "models/octopus/"):
        found = find_source(given)
        assert (found.kind, found.name, found.path) == ("folder", "octopus", folder)
        assert found.size_bytes == sum(file.stat().st_size for file in folder.iterdir())


def test_home_is_expanded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    make_folder(here / "octopus")
    assert find_source("~/octopus").path == here / "octopus"


def test_a_gguf_file_is_known_by_name_or_content(here: Path) -> None:
    path = write_gguf(here / "octopus.gguf")
    found = find_source("octopus.gguf")
    assert (found.kind, found.name, found.path, found.size_bytes) == (
        "gguf",
        path.name,
        path,
        path.stat().st_size,
    )
    path.rename(here / "sha256-3f2a")  # as Ollama keeps them
    assert find_source("./sha256-3f2a").kind == "gguf"


def test_a_missing_path_names_its_neighbour(here: Path) -> None:
    make_folder(here / "octopus")
    with pytest.raises(NotFoundError, match="No such folder") as caught:
        find_source("./octupus")
    assert "octopus" in caught.value.hint
    with pytest.raises(NotFoundError, match="No such file"):
        find_source("none.gguf")


def test_another_file_is_refused(here: Path) -> None:
    (here / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="not a GGUF file"):
        find_source("./notes.txt")
    make_folder(here / "octopus")
    with pytest.raises(InputError) as caught:
        find_source("octopus/model.safetensors")
    assert str(here / "octopus") in caught.value.hint


@pytest.mark.parametrize("given", ["owner/name", "gpt2", "HuggingFaceTB/SmolLM2-135M-Instruct", "a/b_c.d-1"])
def test_hub_names(given: str) -> None:
    found = find_source(given, "main")
    assert (found.kind, found.name, found.repo_id, found.revision) == ("hub", given, given, "main")
    assert found.path is None and found.size_bytes is None


@pytest.mark.parametrize(
    "given",
    ["a/b/c", "", "  ", "a b", "-a/b", "a/b.", "a--b/c", "a..b/c", "a/b.git", "a/b\n", "ä/b", "a" * 97],
)
def test_neither_path_nor_hub_name(given: str) -> None:
    assert not is_hub_id(given)
    with pytest.raises(NotFoundError, match="neither a folder on this machine nor a Hub name"):
        find_source(given)


def test_hub_names_are_judged_as_the_client_does() -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    for name in (
        "a",
        "a/b",
        "a_b/c.d",
        "_a/b_",
        ".a",
        "a-",
        "a/b/c",
        "a--b",
        "a.git",
        "a/b.git",
        "a" * 96,
        "a" * 97,
    ):
        try:
            validate_repo_id(name)
            valid = True
        except HFValidationError:
            valid = False
        assert is_hub_id(name) == valid, name


def test_a_web_address_gets_its_name_named() -> None:
    with pytest.raises(NotFoundError) as caught:
        find_source("https://huggingface.co/owner/name/tree/main")
    assert caught.value.hint == "Give only its name: owner/name"


def test_odd_paths_are_errors_of_ours(here: Path) -> None:
    for given in ("/\0", "\0", "/" + "x" * 300, "~nobody-of-this-name/x"):
        with pytest.raises(InputError):
            find_source(given)


def test_a_revision_is_for_the_hub(here: Path) -> None:
    make_folder(here / "octopus")
    with pytest.raises(InputError, match="revision"):
        find_source("octopus", "main")
    with pytest.raises(InputError, match="Not a revision"):
        find_source("owner/name", "../../x")


def test_the_demo_prefers_the_package(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(here / "demo.gguf")
    monkeypatch.setattr(source_module, "demo_gguf", lambda: path)
    assert find_source("demo").path == path
    monkeypatch.setattr(source_module, "demo_gguf", lambda: None)
    found = find_source("demo")
    assert (found.kind, found.repo_id, found.path) == ("hub", DEMO_REPO, None)
    snapshot = make_folder(here / "snapshot")
    monkeypatch.setattr("tuner_tui.models.hub_cache.cached_snapshot", lambda *_: snapshot)
    assert find_source("demo").path == snapshot
