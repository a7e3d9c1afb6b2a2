"""Pushes inside a Hub process: check, create the repository, upload files, commit once, verify."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from tuner_tui.errors import InputError, TunerError
from tuner_tui.guarded import Unreadable
from tuner_tui.hosts import insecure_hub
from tuner_tui.models.hub_errors import LOGIN_HINT
from tuner_tui.sharing.checksums import sha256
from tuner_tui.sharing.hub_exceptions import ConnectionTrouble, HubBusy
from tuner_tui.sharing.hub_failures import AGAIN, explain, status_of
from tuner_tui.sharing.hub_protocol import Moved, Pushed, Stepped
from tuner_tui.sharing.hub_session import HubSession, innermost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tuner_tui.sharing.hub_protocol import PushFile, PushRequest

    Tell = Callable[[Any], None]

MAIN = "main"
LISTED_PULL_REQUESTS = 50
"""How many of a repository's newest pull requests are searched."""
LONGEST_GAP = 10
"""How many missing numbers in a row end the search, where the server has no list."""


@dataclass
class Push:
    """One push, with the repository's state."""

    request: PushRequest
    session: HubSession
    api: HfApi
    visibility: str = "private"
    _stamps: tuple[tuple[int, int], ...] = ()

    @property
    def repo(self) -> str:
        return self.request.repo_id

    @property
    def revision(self) -> str:
        return self.request.branch or MAIN

    def run(self) -> Pushed:
        """Do it all. Raises TunerError; then the repository is as it was, or holds the files and says so next time."""
        _require_secure_hub()
        self.session.tell(Stepped(what="reading the files"))
        require_unchanged(self.request.files, self.session.still_at)
        self._stamps = stamps(self.request.files)
        self._require_right()
        self._make_repository()
        head = self._head(self.revision)
        if self._holds_all(head):
            return self._done(head, is_new=False)
        if self.request.as_pull_request and (proposed := self._find_pull_request()):
            return self._done(proposed[0], is_new=False, pull_request=proposed[1])
        operations = self._send_files()
        return self._commit(head, operations)

    def _require_right(self) -> None:
        self.session.tell(Stepped(what="checking your account"))
        if get_token() is None:
            raise InputError("Not logged in", "There is no token for the Hub on this machine.", LOGIN_HINT)
        me = self.session.ask("checking your account", self.api.whoami)
        owner, names = self.repo.partition("/")[0], [me["name"], *(org["name"] for org in me.get("orgs", ()))]
        role = (me.get("auth") or {}).get("accessToken", {}).get("role")
        if role == "read":
            raise InputError(
                "Your token lacks a permission",
                "It is read-only.",
                "Create one with write access: https://huggingface.co/settings/tokens",
            )
        if owner not in names and not self.request.as_pull_request:
            raise InputError(
                "The repository belongs to another account",
                f"You are {me['name']}, and {self.repo} belongs to {owner}.",
                f"Push to {me['name']}/{self.repo.partition('/')[2]}, or propose it as a pull request with --pr.",
            )

    def _make_repository(self) -> None:
        """Create the repository if missing; an existing one keeps its visibility."""
        for attempt in range(1, self.session.limits.attempts + 1):
            info = self._info()
            if info is None and self.request.as_pull_request:
                raise InputError(
                    "No repository for the pull request",
                    f"{self.repo} does not exist, or you have no access to it.",
                )
            if info is not None:
                return self._require_visibility(bool(info.private))
            self.session.tell(Stepped(what=f"creating {self.repo}"))
            is_private = self.request.visibility != "public"
            make = partial(self.api.create_repo, self.repo, private=is_private, exist_ok=True)
            self.session.ask("creating the repository", make)
            if attempt > 1:
                self.session.wait(ValueError(), "creating the repository", attempt)
        raise TunerError(
            "The repository was not created", f"The Hub confirmed it, but there is no {self.repo}.", AGAIN
        )

    def _info(self) -> Any:
        def look() -> Any:
            try:
                return self.api.model_info(self.repo)
            except RepositoryNotFoundError as error:
                if (
                    error.response.status_code == 401
                ):  # on plain http the client gives no reason: it is the token
                    raise
                return None

        return self.session.ask("checking the repository", look)

    def _require_visibility(self, is_private: bool) -> None:
        self.visibility = "private" if is_private else "public"
        if self.request.visibility == self.visibility:
            return
        if not is_private:
            raise InputError(
                "The repository is public",
                f"{self.repo} exists, and everyone would see what you push.",
                "Use --public to allow that"
                + ("." if self.request.as_pull_request else ", or push to another name."),
            )
        if self.request.visibility == "public" and not self.request.as_pull_request:
            raise InputError(
                "The repository is private",
                f"{self.repo} exists; pushing does not change its visibility.",
                f"Change it in its settings first: https://huggingface.co/{self.repo}/settings",
            )

    def _head(self, revision: str) -> str:
        """The branch's latest commit; a missing branch is created."""

        def look() -> str:
            try:
                return str(self.api.model_info(self.repo, revision=revision).sha)
            except RevisionNotFoundError:
                if revision == MAIN:
                    raise
                self.api.create_branch(self.repo, branch=revision, exist_ok=True)
                return str(self.api.model_info(self.repo, revision=revision).sha)

        return self.session.ask("reading the branch", look)

    def _holds_all(self, revision: str) -> bool:
        """Whether a revision has every file with the right content."""
        return not self._differing(revision)

    def _differing(self, revision: str) -> list[str]:
        """Names of files that are missing or different in a revision."""

        def look() -> dict[str, RepoFile]:
            try:
                tree = self.api.list_repo_tree(self.repo, revision=revision)
                return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
            except EntryNotFoundError:
                return {}

        remote_files = self.session.ask("reading the repository's files", look)
        return [file.name for file in self.request.files if not same(file, remote_files.get(file.name))]

    def _differing_for_sure(self, commit: str) -> list[str]:
        """The same, confirmed by a second read: a listing can be damaged in transit."""
        differing: list[str] = []
        for _ in range(self.session.limits.attempts):
            differing = self._differing(commit)
            if not differing:
                break
        return differing

    def _send_files(self) -> list[CommitOperationAdd]:
        """Upload the large files, except those that the Hub has already."""
        self.session.tell(Stepped(what="uploading files"))
        total = sum(file.size for file in self.request.files)

        def send() -> list[CommitOperationAdd]:
            operations = [
                CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.path)
                for file in self.request.files
            ]
            for operation, file in zip(operations, self.request.files, strict=True):
                operation.upload_info.sha256 = bytes.fromhex(file.sha256)  # not read again for it
            self.session.begin_sending(total)
            self.api.preupload_lfs_files(
                self.repo, operations, revision=self.revision, free_memory=False, num_threads=1,
                create_pr=self.request.as_pull_request,
            )  # fmt: skip
            return operations

        operations = self.session.ask("uploading files", send)
        self.session.tell(Moved(done_bytes=total, total_bytes=total))
        if stamps(self.request.files) != self._stamps:
            require_unchanged(self.request.files, self.session.still_at)
        return operations

    def _commit(self, head: str, operations: list[CommitOperationAdd]) -> Pushed:
        """Commit once. After an unclear failure the repository is read before a retry."""
        limits = self.session.limits
        for attempt in range(1, limits.attempts + 1):
            self.session.tell(Stepped(what="committing"))
            try:
                info = self.api.create_commit(
                    self.repo,
                    operations,
                    commit_message=self.request.message,
                    revision=self.revision,
                    parent_commit=head,
                    create_pr=self.request.as_pull_request,
                )
                return self._checked(info.oid, info.pr_url)
            except TunerError:
                raise
            except Exception as error:  # the commit may have succeeded: check first
                trouble = innermost(error)
                self.session.tell(Stepped(what="checking whether the commit arrived"))
                if (pushed := self._arrived(head)) is not None:
                    return pushed
                if is_bad_card(trouble):
                    raise InputError(
                        "The Hub rejects the model card",
                        " ".join(str(trouble).split()),
                        "Edit it, and pass it with --card FILE.",
                    ) from error
                if not self.session.may_pass(trouble) or attempt == limits.attempts:
                    raise explain(trouble, "committing", self.repo, attempt) from error
                self.session.wait(trouble, "committing", attempt)
                if (pushed := self._arrived(head)) is not None:
                    return pushed
                if self.request.as_pull_request and not was_refused(trouble):
                    raise self._unknown_pull_request(trouble) from error
                operations = self._send_files()
        raise AssertionError("unreachable")

    def _arrived(self, head: str) -> Pushed | None:
        """The result of a commit whose answer was lost; None without one. Raises TunerError for a foreign one."""
        if self.request.as_pull_request:
            pull_request = self._find_pull_request()
            return (
                self._done(pull_request[0], is_new=True, pull_request=pull_request[1])
                if pull_request
                else None
            )
        now = self._head(self.revision)
        if now == head:
            return None
        if not self._differing_for_sure(now):
            return self._done(now, is_new=True)
        raise TunerError(
            "The repository changed meanwhile",
            f"There is another commit in {self.repo}.",
            f"Check it. {AGAIN}",
        )

    def _checked(self, commit: str, pull_request: str | None) -> Pushed:
        """The commit, once its content is verified."""
        self.session.tell(Stepped(what="verifying the commit"))
        differing = self._differing_for_sure(commit)
        if differing:
            raise TunerError(
                "The commit differs from the upload",
                f"{differing[0]} in {self.repo} differs, in commit {commit[:8]}.",
                AGAIN,
            )
        return self._done(commit, is_new=True, pull_request=pull_request)

    def _unknown_pull_request(self, error: BaseException) -> TunerError:
        """The error when a pull request may exist but is not visible; a second one is never created."""
        why = explain(error, "committing", self.repo).title
        return TunerError(
            "It is unknown whether the pull request was created",
            f"{why}, and {self.repo} shows none with these files yet.",
            f"Check {self.api.endpoint}/{self.repo}/discussions in a minute. {AGAIN}",
        )

    def _find_pull_request(self) -> tuple[str, str] | None:
        """Commit and address of a pull request with exactly these files, ours whose answer was lost."""
        proposed = self._listed_pull_requests()
        for number, commit in self._probed_pull_requests() if proposed is None else proposed:
            if self._holds_all(commit):
                return commit, f"{self.api.endpoint}/{self.repo}/discussions/{number}"
        return None

    def _listed_pull_requests(self) -> list[tuple[int, str]] | None:
        """(number, commit) of the newest pull requests; None where the server has no list of them."""

        def look() -> list[tuple[int, str]] | None:
            try:
                refs = self.api.list_repo_refs(self.repo, include_pull_requests=True).pull_requests or []
            except HfHubHTTPError as error:
                if error.response.status_code in (404, 405, 501):
                    return None
                raise
            numbers = ((ref.ref.rpartition("/")[2], ref.target_commit) for ref in refs)
            return sorted(
                ((int(number), commit) for number, commit in numbers if number.isdigit()), reverse=True
            )[:LISTED_PULL_REQUESTS]

        return self.session.ask("reading pull requests", look)

    def _probed_pull_requests(self) -> Iterator[tuple[int, str]]:
        """(number, commit) of pull requests, read one by one; discussions share the numbers and leave gaps."""
        gap, number = 0, 0
        while gap < LONGEST_GAP:
            number += 1
            commit = self._commit_of(f"refs/pr/{number}")
            gap = gap + 1 if commit is None else 0
            if commit is not None:
                yield number, commit

    def _commit_of(self, revision: str) -> str | None:
        def look() -> str | None:
            try:
                return str(self.api.model_info(self.repo, revision=revision).sha)
            except (RevisionNotFoundError, EntryNotFoundError, RepositoryNotFoundError):
                return None
            except HfHubHTTPError as error:
                if error.response.status_code == 404:
                    return None
                raise

        return self.session.ask("reading pull requests", look)

    def _done(self, commit: str, *, is_new: bool, pull_request: str | None = None) -> Pushed:
        return Pushed(
            url=f"{self.api.endpoint}/{self.repo}",
            commit=commit,
            is_new_commit=is_new,
            pull_request=pull_request,
            visibility=self.visibility,
        )


def require_unchanged(
    files: Sequence[PushFile], still_at: Callable[[int, int], object] = lambda done, total: None
) -> None:
    """Raise InputError for a file that changed after it was shown and scanned."""
    total, done = sum(file.size for file in files), 0
    for file in files:
        path = Path(file.path)
        read = partial(_read_of, still_at, done, total)
        try:
            is_same = path.stat().st_size == file.size and sha256(path, read) == file.sha256
        except (OSError, Unreadable):
            is_same = False
        if not is_same:
            raise InputError(
                "A file has changed since the scan",
                f"{path}\nNothing was committed.",
                "Push again, which scans it again.",
            )
        done += file.size


def _read_of(still_at: Callable[[int, int], object], before: int, total: int, done: int) -> None:
    still_at(before + done, total)


def stamps(files: Sequence[PushFile]) -> tuple[tuple[int, int], ...]:
    """(size, time of the last change in nanoseconds) of each file; (-1, -1) for a missing one."""
    return tuple(_stamp(Path(file.path)) for file in files)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def was_refused(error: BaseException) -> bool:
    """Whether a failed request certainly had no effect."""
    if isinstance(error, ConnectionTrouble):
        return error.is_unsent
    if isinstance(error, HubBusy):
        return error.status in (425, 429, 503)
    status = status_of(error)
    return status is not None and 400 <= status < 500


def same(file: PushFile, there: RepoFile | None) -> bool:
    """Whether a listed file has a local one's content, by its SHA-256 or git's own id."""
    if there is None or there.size != file.size:
        return False
    return there.lfs.sha256 == file.sha256 if there.lfs else there.blob_id == file.git_id


def is_bad_card(error: BaseException) -> bool:
    """Whether the Hub rejected the card's metadata."""
    return isinstance(error, ValueError) and "Invalid metadata" in str(error)


def _require_secure_hub() -> None:
    if address := insecure_hub():
        raise InputError(
            "Your token is not sent over plain http",
            f"HF_ENDPOINT is {address}: anyone on the network path could read the token that a push needs.",
            "Give an https:// address, or unset HF_ENDPOINT.",
        )


def push(request: PushRequest, tell: Tell) -> Pushed:
    """Push in this process. Raises TunerError."""
    session = HubSession(request.limits, tell, request.repo_id)
    return Push(request, session, HfApi()).run()
