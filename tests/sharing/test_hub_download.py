"""Downloading with the real client from a Hub that misbehaves: the right bytes in the cache, or one plain sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.hub_double import TOKEN
from tuner_tui.errors import TunerError
from tuner_tui.sharing import hub as hub_process
from tuner_tui.sharing.hub_protocol import Downloaded, DownloadRequest, Event, Limits, Moved
from tuner_tui.sharing.worker_job import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

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
