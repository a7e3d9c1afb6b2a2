"""A server that means harm: nothing it names or sends leaves the Hub's cache, or grows beyond what it announced."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory

from tuner_tui.cli.models import models
from tuner_tui.errors import InputError, TunerError
from tuner_tui.models.trusted_code import is_trusted, require_trusted
from tuner_tui.models.untrusted_code import UntrustedCode
from tuner_tui.sharing import hub as hub_process
from tuner_tui.sharing.hub_download import download
from tuner_tui.sharing.hub_protocol import Downloaded, DownloadRequest, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPO = "owner/base"
FILES = {
    "config.json": json.dumps({"model_type": "llama"}).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": bytes(range(256)) * 2000,
    "extra/more.json": b"[1, 2]",
}
QUICK = Limits(
    connect=2.0, answer=20.0, commit=2.0, attempts=1, first_wait=0.05, longest_wait=2.0, silence=60.0
)


@pytest.fixture
def repo(hub: Any, cache: Path) -> Iterator[Any]:
    """The server with a repository; the client of this process is as it was afterwards."""
    hub.add_repo(REPO, FILES)
    yield hub
    set_client_factory(default_client_factory)


def wanted(**options: Any) -> DownloadRequest:
    fields: dict[str, Any] = {"repo_id": REPO, "limits": QUICK} | options
    return DownloadRequest(**fields)


def fetch(**options: Any) -> Downloaded:
    """Download in a process of its own."""
    return hub_process.download(wanted(**options), lambda event: None)


def fetch_here(**options: Any) -> Downloaded:
    """What a Hub process does until the first file is asked for, in this process."""
    return download(wanted(**options), lambda event: None)


def lie(hub: Any, change: Callable[[dict[str, Any]], None]) -> None:
    """Have the server change what it says of repositories."""
    truth = hub.info

    def told(*arguments: Any) -> Any:
        info = truth(*arguments)
        change(info)
        return info

    hub.info = told


def files_below(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if not path.is_dir())
    return {
        str(path.relative_to(folder)) for path in paths if path.relative_to(folder).parts[0] not in ("hub",)
    }


@pytest.mark.parametrize(
    "name",
    [
        "../../../../evil.json",
        "extra/../../../evil.json",
        "{tmp}/evil.json",
        "extra\\..\\..\\evil.json",
        "C:/evil.json",
        "nul\0.json",
        "line\nbreak.json",
        "extra//evil.json",
        "./evil.json",
        "",
        "half\ud800.json",
        7,
    ],
)
def test_a_file_name_that_leads_out_is_refused(repo: Any, tmp_path: Path, name: Any) -> None:
    wanted = name.replace("{tmp}", str(tmp_path)) if isinstance(name, str) else name
    lie(repo, lambda info: info["siblings"][0].update(rfilename=wanted))
    before = files_below(tmp_path)
    with pytest.raises(TunerError, match=r"leads out") as refusal:
        fetch_here()
    assert REPO in refusal.value.message and "\n" not in refusal.value.message
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("field", ["blobId", "sha256", "sha", "size"])
@pytest.mark.parametrize(
    "wrong", ["../../../../evil", "{tmp}/evil", "A" * 40, "0" * 39, "", -1, 1.5, True, ["x"]]
)
def test_an_id_or_size_that_is_none_is_refused(repo: Any, tmp_path: Path, field: str, wrong: Any) -> None:
    value = wrong.replace("{tmp}", str(tmp_path)) if isinstance(wrong, str) else wrong

    def change(info: dict[str, Any]) -> None:
        files = {sibling["rfilename"]: sibling for sibling in info["siblings"]}
        place = {"sha": info, "sha256": files["model.safetensors"].get("lfs")}.get(
            field, files["config.json"]
        )
        place[field] = value

    lie(repo, change)
    before = files_below(tmp_path)
    with pytest.raises(TunerError, match=r"is invalid|is incomplete|differs from what it announced"):
        fetch_here()
    assert files_below(tmp_path) == before


def test_a_folder_of_the_snapshot_that_is_a_link_is_not_written_through(
    repo: Any, cache: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    commit = repo.repos[f"models/{REPO}"]["refs"]["refs/heads/main"]
    snapshot = cache / "models--owner--base" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "extra").symlink_to(elsewhere)
    with pytest.raises(TunerError, match="leads out"):
        fetch()
    assert not list(elsewhere.iterdir())
    (snapshot / "extra").unlink()
    done = fetch()
    assert {name: (Path(done.folder) / name).read_bytes() for name in FILES} == FILES
    assert all((Path(done.folder) / name).is_symlink() for name in FILES)


def test_an_unfinished_file_that_is_a_link_is_not_written_through(
    repo: Any, cache: Path, tmp_path: Path
) -> None:
    (letter := tmp_path / "letter").write_text("Dear")
    blobs = cache / "models--owner--base" / "blobs"
    blobs.mkdir(parents=True)
    blob_id = repo.info(f"models/{REPO}", blobs=True)["siblings"]
    config = next(file for file in blob_id if file["rfilename"] == "config.json")["blobId"]
    (blobs / f"{config}.tuner-tui-partial").symlink_to(letter)
    fetch()
    assert letter.read_text() == "Dear"


@pytest.mark.parametrize("revision", ["../../../evil", "/evil", "a b", "main/.."])
def test_a_revision_that_leads_out_is_refused_before_anything_is_asked(repo: Any, revision: str) -> None:
    with pytest.raises(TunerError, match="Invalid revision") as refusal:
        fetch_here(revision=revision)
    assert refusal.value.exit_code == InputError.exit_code
    assert not repo.requests


@pytest.mark.parametrize("have", [0, 1000])
def test_a_body_ends_where_it_is_larger_than_announced(repo: Any, cache: Path, have: int) -> None:
    """The server sends the file and some more, then pauses: we have left by then."""
    content = FILES["model.safetensors"]
    repo.download = lambda asked, sha, path: content + b"more" * 2_000_000
    if have:
        sha256 = next(
            file
            for file in repo.info(f"models/{REPO}", blobs=True)["siblings"]
            if file["rfilename"] == "model.safetensors"
        )["lfs"]["sha256"]
        blobs = cache / "models--owner--base" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / f"{sha256}.tuner-tui-partial").write_bytes(content[:have])
    repo.fail("delay", "download", after=3_000_000, seconds=15)
    began = time.monotonic()
    with pytest.raises(TunerError, match="more than the announced"):
        fetch()
    assert time.monotonic() - began < 12
    arrived = list((cache / "models--owner--base" / "blobs").iterdir())
    assert all(path.stat().st_size <= len(content) for path in arrived)
    assert not [path for path in arrived if path.name.endswith("partial")]


def test_a_compressed_body_is_refused_unread(repo: Any, cache: Path) -> None:
    packed = gzip.compress(FILES["model.safetensors"])

    def download(asked: Any, sha: str, path: str) -> bytes:
        asked.out["Content-Encoding"] = "gzip"
        return packed

    repo.download = download
    with pytest.raises(TunerError, match="compressed"):
        fetch()


ASK = """
import sys
from tuner_tui.errors import TunerError
from tuner_tui.models import hub_client
hub_client.LARGEST_ANSWER_BYTES = 200_000
hub_client.LONGEST_ANSWER_SECONDS = 3.0
from tuner_tui.models.check import check_source
from tuner_tui.models.listing import search_hub
from tuner_tui.models.remote_headers import read_remote_facts
from tuner_tui.models.source import find_source
from tuner_tui.sharing.hub_download import download
from tuner_tui.sharing.hub_protocol import DownloadRequest, Limits
source = find_source("owner/base")
for question in (
    lambda: search_hub("base"),
    lambda: check_source(source),
    lambda: read_remote_facts(source),
    lambda: download(DownloadRequest(repo_id="owner/base", limits=Limits(attempts=1)), lambda event: None),
):
    try:
        question()
        print("answered")
    except TunerError as error:
        print(f"{error.title} {error.message}".replace("\\n", " "))
"""


def ask_everything() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_answer_without_end_is_not_read_to_it(repo: Any) -> None:
    lie(repo, lambda info: info.update(tags=["text-generation", "x" * 300_000]))
    answers = ask_everything()
    assert len(answers) == 4
    assert all(
        "was rejected" in answer
        or "differs from what it announced" in answer
        or "cannot be searched" in answer
        for answer in answers
    ), answers


def test_honest_answers_are_within_the_bounds(repo: Any) -> None:
    answers = ask_everything()
    assert answers[0] == answers[1] == answers[3] == "answered", answers


def test_code_that_was_allowed_before_the_download_is_not_asked_about_again(repo: Any) -> None:
    code = {"config.json": b'{"auto_map": {"AutoConfig": "odd.Odd"}}', "odd.py": b"class Odd: ...\n"}
    repo.add_repo("owner/odd", FILES | code)
    done = CliRunner().invoke(models, ["trust", "owner/odd"], catch_exceptions=False)
    assert done.exit_code == 0
    folder = fetch(repo_id="owner/odd").folder
    assert is_trusted(folder, None)
    assert require_trusted(True, "owner/odd", folder, None)
    assert not is_trusted(folder, "v2")


@pytest.mark.parametrize("name", ["odd.py", "config.json", "more.py"])
def test_other_code_than_was_allowed_before_the_download_is_asked_about(repo: Any, name: str) -> None:
    repo.add_repo("owner/odd", FILES | {"odd.py": b"class Odd: ...\n"})
    CliRunner().invoke(models, ["trust", "owner/odd"], catch_exceptions=False)
    repo.add_repo("owner/odd", FILES | {"odd.py": b"class Odd: ...\n"} | {name: b'{"new": 1}'})
    folder = fetch(repo_id="owner/odd").folder
    with pytest.raises(UntrustedCode):
        require_trusted(True, "owner/odd", folder, None)
