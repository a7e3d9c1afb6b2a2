"""Downloading with the real client from a Hub that misbehaves: the right bytes in the cache, or one plain sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.hub_double import TOKEN
from tests.unit.feedback_rows import make_store
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import TunerError
from tuner_tui.feedback.collections import collection_path
from tuner_tui.feedback.session import Session
from tuner_tui.models.hub_cache import cached_repo, cached_snapshot
from tuner_tui.models.source import find_source
from tuner_tui.planning.plan import make_plan
from tuner_tui.runs.create import create_run
from tuner_tui.runs.queue import enqueue
from tuner_tui.sharing import hub as hub_process
from tuner_tui.sharing.cache import remove_unused
from tuner_tui.sharing.hub_protocol import Downloaded, DownloadRequest, Event, Limits, Moved
from tuner_tui.sharing.needed import fetch_needed, missing_data
from tuner_tui.sharing.start_run import start_run
from tuner_tui.sharing.worker_job import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.runs.folder import RunFolder

REPO = "owner/base"
WEIGHTS = bytes(range(256)) * 20000
FILES = {
    "config.json": json.dumps({"model_type": "llama"}).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"\x80\x04N.",
}
QUICK = Limits(
    connect=1.0, answer=1.0, commit=1.0, attempts=3, first_wait=0.05, longest_wait=2.0, silence=15.0
)


@pytest.fixture
def fetch(hub: Any) -> Callable[..., Downloaded]:
    """Download a model of somebody's."""
    hub.add_repo(REPO, FILES)

    def fetch_now(**options: Any) -> Downloaded:
        wanted: dict[str, Any] = {"repo_id": REPO, "limits": QUICK} | options
        return hub_process.download(DownloadRequest(**wanted), wanted.pop("tell", lambda event: None))

    return fetch_now


def is_right(done: Downloaded) -> bool:
    folder = Path(done.folder)
    return {path.name for path in folder.iterdir()} == FILES.keys() - {"pytorch_model.bin"} and all(
        (folder / path.name).read_bytes() == FILES[path.name] for path in folder.iterdir()
    )


def test_a_model_comes_without_pickles(fetch: Any, hub: Any) -> None:
    done = fetch()
    assert is_right(done)
    assert not [note for note in hub.requests if note["server"] == "storage" and note["authorization"]]
    before = len(hub.requests)
    assert fetch() == done
    assert not [note for note in hub.requests[before:] if note["operation"] == "download"]


@pytest.mark.parametrize("operation", ["repo_info", "resolve", "head", "download"])
@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, marks=pytest.mark.slow) for fault in (429, 500, 503, "delay", "reset", "lost")]
    + ["drop", "corrupt"],
)
def test_a_fault_that_passes_leaves_right_files(fault: Any, operation: str, fetch: Any, hub: Any) -> None:
    hub.fail(fault, operation, **({"seconds": 3} if fault == "delay" else {}))
    assert is_right(fetch())


def test_what_has_arrived_is_kept(fetch: Any, hub: Any) -> None:
    hub.fail("drop", "download", times=3, after=3_000_000)
    with pytest.raises(TunerError):
        fetch(limits=Limits(attempts=1, answer=1.0))
    done = fetch()
    assert is_right(done)
    ranges = [note["range"] for note in hub.requests if note["operation"] == "download"]
    assert ranges[0] is None and ranges[1] is not None and int(ranges[1][6:-1]) > 1_000_000


def test_a_damaged_file_in_the_cache_is_fetched_anew(fetch: Any, hub: Any) -> None:
    weights = Path(fetch().folder) / "model.safetensors"
    blob = weights.resolve()
    blob.write_bytes(b"\xff" + WEIGHTS[1:])
    other = blob.with_name("other")
    other.write_bytes(b"other")
    config = weights.with_name("config.json")
    config.unlink()
    config.symlink_to(other)
    assert is_right(fetch())


def test_a_cache_that_cannot_be_written_is_told_in_words(fetch: Any, hub: Any, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir(exist_ok=True)
    (tmp_path / "hf" / "hub").write_text("a file")
    with pytest.raises(TunerError, match="cannot be read or written"):
        fetch()


def test_a_file_that_stays_damaged_is_refused(fetch: Any, hub: Any) -> None:
    hub.fail("corrupt", "download", times=100)
    with pytest.raises(TunerError) as told:
        fetch()
    assert "model.safetensors" in told.value.message and TOKEN not in str(told.value)


def test_a_full_disk_is_told_before_the_start(fetch: Any, hub: Any) -> None:
    with pytest.raises(TunerError, match="too full"):
        fetch(spare_bytes=10**18)
    assert not [note for note in hub.requests if note["operation"] == "download"]


def test_a_gated_model_names_the_page(fetch: Any, hub: Any) -> None:
    hub.add_repo("owner/gated", FILES, gated="auto")
    with pytest.raises(TunerError, match="gated") as told:
        fetch(repo_id="owner/gated")
    assert "owner/gated" in told.value.hint


def test_what_came_is_found_and_removed(fetch: Any, cache: Path) -> None:
    done = fetch()
    assert cached_snapshot(REPO) == Path(done.folder)
    found = cached_repo(REPO, "model")
    assert found is not None and not found.is_unfinished and found.size_bytes == done.size_bytes
    assert remove_unused(REPO, "model") == done.size_bytes
    assert cached_snapshot(REPO) is None and cached_repo(REPO, "model") is None


def test_what_a_run_lacks_is_fetched_before_it(fetch: Any, hub: Any, cache: Path) -> None:
    rows = json.dumps({"question": "Who?", "answer": "I."}).encode() + b"\n"
    hub.add_repo("owner/rows", {"train.jsonl": rows * 3}, kind="datasets")
    spec = RunSpec.model_validate(
        {"model": {"source": REPO}, "data": {"train": "hub:owner/rows"}, "tuning": {"kind": "lora"}}
    )
    fetch_needed(spec, lambda event: None)
    assert cached_snapshot(REPO) is not None and not missing_data(spec)
    before = len(hub.requests)
    fetch_needed(spec, lambda event: None)
    assert len(hub.requests) == before


def test_a_run_on_a_collection_brings_its_model_first(
    hub: Any, cache: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("owner/tiny", {path.name: path.read_bytes() for path in tiny_model.iterdir()})
    submitted: list[RunFolder] = []
    monkeypatch.setattr("tuner_tui.keeper.launch.submit", lambda folder, **options: submitted.append(folder))
    collection_path("evening").parent.mkdir(parents=True)
    store = make_store(collection_path("evening"), 3)
    session = Session(store, "me", seed=1)
    while (shown := session.next()) is not None:
        session.choose(shown, 0)
    spec = RunSpec.model_validate(
        {"model": {"source": "owner/tiny"}, "data": {"train": "feedback:evening"}, "method": {"kind": "dpo"}}
    )
    folder = start_run(spec)
    assert cached_snapshot("owner/tiny") is not None and submitted == [folder]
    rows = read_spec(folder.spec).data.train
    assert rows.endswith(".jsonl") and len(Path(rows).read_text().splitlines()) == 3


def test_a_model_that_a_live_run_needs_is_kept(
    fetch: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch()
    spec = RunSpec.model_validate({"model": {"source": REPO}, "data": {"train": "demo"}})
    folder = create_run(spec, make_plan(spec, find_source(REPO)))
    enqueue(folder)
    with pytest.raises(TunerError, match="A run needs it"):
        remove_unused(REPO, "model")
    assert cached_snapshot(REPO) is not None


@pytest.mark.parametrize(
    ("fault", "told"),
    [(403, "permission to read gated"), (401, "hf auth login"), ("no token", "private or gated")],
)
def test_a_lacking_right_is_named(
    fault: Any, told: str, fetch: Any, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("owner/hidden", FILES, private=True)
    if fault == "no token":
        monkeypatch.delenv("HF_TOKEN")
    else:
        hub.fail(fault, "repo_info", times=100)
    with pytest.raises(TunerError) as caught:
        fetch(repo_id="owner/hidden")
    assert told in f"{caught.value.message} {caught.value.hint}"
    assert TOKEN not in f"{caught.value.title}{caught.value.message}{caught.value.hint}"


def test_gguf_files_alone_are_refused_with_a_way_that_works(fetch: Any, hub: Any) -> None:
    hub.add_repo("owner/gguf", {"config.json": b"{}", "model.q4.gguf": b"x"})
    with pytest.raises(TunerError, match="Only GGUF files") as told:
        fetch(repo_id="owner/gguf")
    assert "hf download" in told.value.hint


def test_pickles_alone_are_refused(fetch: Any, hub: Any) -> None:
    hub.add_repo("owner/old", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(TunerError, match="pickle"):
        fetch(repo_id="owner/old")


def test_a_data_set_comes_whole(fetch: Any, hub: Any) -> None:
    hub.add_repo("owner/rows", {"rows.jsonl": b"{}\n", "README.md": b"# Rows"}, kind="datasets")
    done = fetch(repo_id="owner/rows", kind="dataset")
    assert sorted(path.name for path in Path(done.folder).iterdir()) == [
        ".gitattributes",
        "README.md",
        "rows.jsonl",
    ]


def test_a_download_is_cancelled_at_once(fetch: Any, hub: Any) -> None:
    hub.fail("delay", "download", seconds=20, after=2_000_000)
    moved: list[Event] = []
    with pytest.raises(Cancelled):
        hub_process.download(
            DownloadRequest(repo_id=REPO),
            moved.append,
            lambda: any(note["operation"] == "resolve" and "model" in note["path"] for note in hub.requests),
        )
    assert not any(isinstance(event, Moved) and event.done_bytes == event.total_bytes for event in moved)


def test_offline_stays_offline(fetch: Any, hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TunerError, match="Offline mode"):
        fetch()
    assert not hub.requests
