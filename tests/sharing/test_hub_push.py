"""Pushing with the real client to a Hub that misbehaves: right bytes in exactly one commit, or one plain sentence."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.hub_double import TOKEN
from tuner_tui.errors import TunerError
from tuner_tui.models.model_code import git_blob_id
from tuner_tui.sharing import hub as hub_process
from tuner_tui.sharing.checksums import sha256
from tuner_tui.sharing.hub_protocol import (
    Event,
    Limits,
    PushFile,
    PushRequest,
    Refused,
    Waiting,
    encode_event,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REPO = "tester/inkwell"
QUICK = Limits(
    connect=1.0, answer=1.0, commit=1.0, attempts=3, first_wait=0.05, longest_wait=2.0, silence=15.0
)
CARD = "---\nbase_model: owner/base\nlicense: apache-2.0\n---\n# Inkwell\n"
OPERATIONS = (
    "whoami",
    "repo_info",
    "create_repo",
    "validate_yaml",
    "preupload",
    "lfs_batch",
    "upload",
    "verify",
    "commit",
    "tree",
)
CRUCIAL = ("upload", "commit")
"""Operations whose faults the default suite tries; the others are behind the slow mark."""
PASSING = (409, 429, 500, 503, "delay", "drop", "reset", "lost", "corrupt")


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., PushRequest]:
    """A push of a card and of some weights that go as a large file."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "README.md").write_text(CARD)
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 5000)

    def make(**options: Any) -> PushRequest:
        files = tuple(
            PushFile(
                path=str(path),
                name=path.name,
                size=path.stat().st_size,
                sha256=sha256(path),
                git_id=git_blob_id(path.read_bytes()),
            )
            for path in sorted(folder.iterdir())
        )
        wanted: dict[str, Any] = {"repo_id": REPO, "message": "Add it", "limits": QUICK} | options
        return PushRequest(files=files, **wanted)

    return make


def commits(hub: Any, name: str = REPO) -> int:
    """Commits of a repository beyond its first."""
    return len(hub.repos[f"models/{name}"]["commits"]) - 1 if f"models/{name}" in hub.repos else 0


def holds(hub: Any, request: PushRequest, ref: str = "refs/heads/main") -> bool:
    """Whether a branch holds the request's files."""
    found = hub.files().get(f"models/{request.repo_id}@{ref}", {})
    return all(found.get(file.name, {}).get("sha256") == file.sha256 for file in request.files)


def test_a_push_is_private_and_one_commit(hub: Any, request_of: Callable[..., PushRequest]) -> None:
    events: list[Event] = []
    pushed = hub_process.push(request_of(), events.append)
    assert holds(hub, request_of()) and commits(hub) == 1
    assert hub.repos[f"models/{REPO}"]["private"] and pushed.visibility == "private"
    assert pushed.is_new_commit
    again = hub_process.push(request_of(), events.append)
    assert not again.is_new_commit and commits(hub) == 1
    assert TOKEN not in b"".join(map(encode_event, events)).decode()
    assert not [note for note in hub.requests if note["server"] == "storage" and note["authorization"]]


@pytest.mark.parametrize(
    ("fault", "operation"),
    [
        pytest.param(fault, operation, marks=() if operation in CRUCIAL else pytest.mark.slow)
        for fault in PASSING
        for operation in OPERATIONS
    ],
)
def test_a_fault_that_passes_leaves_one_right_commit(
    fault: Any, operation: str, hub: Any, request_of: Callable[..., PushRequest]
) -> None:
    options = {"seconds": 3} if fault == "delay" else {}
    hub.fail(fault, operation, times=1, **options)
    started = time.monotonic()
    hub_process.push(request_of(), lambda event: None)
    assert time.monotonic() - started < 30
    assert holds(hub, request_of()) and commits(hub) == 1


@pytest.mark.parametrize(
    "fault", [401, 403, 404, 409, 429, 500, 503, "delay", "drop", "reset", "lost", "corrupt"]
)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.slow
def test_a_fault_that_stays_ends_in_words_and_never_in_two_commits(
    fault: Any, operation: str, hub: Any, request_of: Callable[..., PushRequest]
) -> None:
    hub.fail(fault, operation, times=1000, **({"seconds": 3} if fault == "delay" else {}))
    started = time.monotonic()
    try:
        hub_process.push(request_of(), lambda event: None)
    except TunerError as error:
        assert error.title and TOKEN not in f"{error.title}{error.message}{error.hint}"
        assert "Traceback" not in error.message
    assert time.monotonic() - started < 60
    assert commits(hub) <= 1
    hub.faults.clear()
    hub_process.push(request_of(), lambda event: None)
    assert holds(hub, request_of()) and commits(hub) == 1


def test_a_long_pause_is_told_and_not_waited_for(hub: Any, request_of: Callable[..., PushRequest]) -> None:
    hub.fail(429, "commit", times=1, retry_after=3600)
    with pytest.raises(TunerError, match="rate limit is reached") as told:
        hub_process.push(request_of(), lambda event: None)
    assert "3600 s" in told.value.message and commits(hub) == 0


def test_a_short_pause_counts_down(hub: Any, request_of: Callable[..., PushRequest]) -> None:
    events: list[Event] = []
    hub.fail(429, "commit", times=1, retry_after=2)
    hub_process.push(request_of(), events.append)
    assert [event.seconds for event in events if isinstance(event, Waiting)] == [2, 1]
    assert commits(hub) == 1


def test_somebody_elses_repository(hub: Any, request_of: Callable[..., PushRequest]) -> None:
    hub.add_repo("other/inkwell")
    with pytest.raises(TunerError, match="belongs to another account"):
        hub_process.push(request_of(repo_id="other/inkwell"), lambda event: None)
    assert commits(hub, "other/inkwell") == 0


def test_a_public_repository_is_not_pushed_to_unasked(
    hub: Any, request_of: Callable[..., PushRequest]
) -> None:
    hub.add_repo(REPO)
    with pytest.raises(TunerError, match="public"):
        hub_process.push(request_of(), lambda event: None)
    assert commits(hub) == 0
    assert hub_process.push(request_of(visibility="public"), lambda event: None).visibility == "public"


def test_a_branch_and_a_pull_request(hub: Any, request_of: Callable[..., PushRequest]) -> None:
    hub.add_repo(REPO, private=True)
    hub_process.push(request_of(branch="try"), lambda event: None)
    assert holds(hub, request_of(), "refs/heads/try") and not holds(hub, request_of())
    pushed = hub_process.push(request_of(as_pull_request=True), lambda event: None)
    assert holds(hub, request_of(), "refs/pr/1") and pushed.pull_request
    assert not holds(hub, request_of())


def test_a_pull_request_to_a_public_repository_is_not_made_unasked(
    hub: Any, request_of: Callable[..., PushRequest]
) -> None:
    hub.add_repo(REPO)
    with pytest.raises(TunerError, match="public"):
        hub_process.push(request_of(as_pull_request=True), lambda event: None)
    assert commits(hub) == 0
    asked = request_of(as_pull_request=True, visibility="public")
    assert hub_process.push(asked, lambda event: None).pull_request


@pytest.mark.parametrize("numbered", [0, 7])
def test_a_lost_pull_request_is_not_made_twice(
    numbered: int, hub: Any, request_of: Callable[..., PushRequest]
) -> None:
    hub.add_repo(REPO, private=True)
    hub.repos[f"models/{REPO}"]["prs"] = numbered  # discussions took these numbers
    hub.fail("lost", "commit")
    pushed = hub_process.push(request_of(as_pull_request=True), lambda event: None)
    assert pushed.pull_request and hub.repos[f"models/{REPO}"]["prs"] == numbered + 1


def test_a_pull_request_that_cannot_be_seen_is_not_made_again(
    hub: Any, request_of: Callable[..., PushRequest]
) -> None:
    hub.add_repo(REPO, private=True)
    hub.repos[f"models/{REPO}"]["prs"] = 40
    hub.fail("lost", "commit")
    with pytest.raises(TunerError, match="unknown whether the pull request was created"):
        hub_process.push(request_of(as_pull_request=True), lambda event: None)
    assert hub.repos[f"models/{REPO}"]["prs"] == 41


def test_the_environments_proxies_are_taken(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner_tui.sharing import hub_session

    monkeypatch.setattr(hub_session, "set_client_factory", lambda factory: None)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    session = hub_session.HubSession(QUICK, lambda event: None, REPO)
    assert not session.client()._mounts
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    client = session.client()

    def is_direct(address: str) -> bool:
        return client._transport_for_url(httpx2.URL(address)) is client._transport

    assert not is_direct("https://elsewhere.example/x")
    assert is_direct("https://inside.example/x") and is_direct("http://127.0.0.1:8000/x")
    monkeypatch.setenv("HTTPS_PROXY", "odd://user:secret@proxy")
    with pytest.raises(TunerError, match="proxy cannot be used") as told:
        session.client()
    assert "secret" not in str(told.value)


def test_a_failure_of_the_process_itself_is_told_in_words(
    hub: Any, request_of: Callable[..., PushRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path))  # a folder
    with pytest.raises(TunerError, match="token cannot be read"):
        hub_process.push(request_of(), lambda event: None)


def test_what_a_library_prints_is_no_event() -> None:
    lines: queue.Queue[bytes] = queue.Queue()
    for line in (b"a warning\n", b"12\n", encode_event(Refused(title="No")) + b"\n"):
        lines.put(line)
    ending = hub_process._follow(lines, 5.0, lambda event: None, lambda: False)
    assert isinstance(ending, Refused)


def test_offline_stays_offline(
    hub: Any, request_of: Callable[..., PushRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TunerError, match="Offline mode"):
        hub_process.push(request_of(), lambda event: None)
    assert not hub.requests


def test_without_a_token_nothing_is_asked(
    hub: Any, request_of: Callable[..., PushRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(TunerError, match="Not logged in"):
        hub_process.push(request_of(), lambda event: None)
    assert not hub.requests


def test_a_bad_card_sends_nothing(hub: Any, request_of: Callable[..., PushRequest], tmp_path: Path) -> None:
    (tmp_path / "files" / "README.md").write_text("---\nbase_model: /home/me/model\n---\n")
    with pytest.raises(TunerError, match="rejects the model card"):
        hub_process.push(request_of(), lambda event: None)
    assert commits(hub) == 0


@pytest.mark.parametrize("change", [b"other", b"", None])
def test_a_file_that_changed_after_it_was_looked_through_stays(
    change: bytes | None, hub: Any, request_of: Callable[..., PushRequest], tmp_path: Path
) -> None:
    request = request_of()
    changed = tmp_path / "files" / "README.md"
    if change is None:
        changed.unlink()
    else:
        size = changed.stat().st_size
        changed.write_bytes(change.ljust(size, b"."))
        assert changed.stat().st_size == size
    with pytest.raises(TunerError, match="changed since the scan"):
        hub_process.push(request, lambda event: None)
    assert not hub.requests


def test_a_large_file_goes_in_parts_and_is_not_sent_twice(
    hub: Any, request_of: Callable[..., PushRequest], tmp_path: Path
) -> None:
    (tmp_path / "files" / "adapter_model.safetensors").write_bytes(bytes(range(251)) * 20000)
    hub.fail(500, "commit", times=1000)
    with pytest.raises(TunerError):
        hub_process.push(request_of(), lambda event: None)
    sent = sum(note["operation"] == "upload" for note in hub.requests)
    assert sent == 5
    hub.faults.clear()
    hub_process.push(request_of(), lambda event: None)
    assert sum(note["operation"] == "upload" for note in hub.requests) == sent
    assert holds(hub, request_of()) and commits(hub) == 1
