"""Downloads inside a Hub process: into the Hub's cache, resumed, verified by hash."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi, constants, get_session, hf_hub_url
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_raise_for_status

from tuner_tui import guarded
from tuner_tui.errors import InputError, TunerError
from tuner_tui.files import write_atomic
from tuner_tui.hosts import insecure_hub
from tuner_tui.models.adapter import CONFIG_FILE, WEIGHTS_FILE
from tuner_tui.models.hub_client import BOUNDED_BY_CALLER, UNCOMPRESSED
from tuner_tui.models.hub_errors import OFFLINE_HINT, has_stored_token
from tuner_tui.models.model_folder import no_weights
from tuner_tui.models.source import is_revision
from tuner_tui.owned import remove_hub_file
from tuner_tui.sharing.announced import RemoteFile, commit_id, remote_file
from tuner_tui.sharing.hub_exceptions import WrongContent
from tuner_tui.sharing.hub_protocol import Downloaded, Moved, Stepped
from tuner_tui.sharing.hub_session import HubSession
from tuner_tui.text import counted, shell_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.sharing.hub_protocol import DownloadRequest

    Tell = Callable[[Any], None]

BLOCK_BYTES = 1 << 20
REPORT_EVERY_BYTES = 4 << 20
PARTIAL = ".tuner-tui-partial"
MODEL_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model", ".tiktoken", ".md", ".py")
OTHER_WEIGHTS = ("onnx/", "openvino/", "original/", "consolidated", "flax_", "tf_")


class Download:
    """The download of one repository."""

    def __init__(self, request: DownloadRequest, session: HubSession) -> None:
        self._request, self._session = request, session
        self._api = HfApi()
        folder = repo_folder_name(repo_id=request.repo_id, repo_type=request.kind)
        self._cache = Path(constants.HF_HUB_CACHE)
        self._blobs = self._cache / folder / "blobs"
        self._done = self._told = self._total = 0

    def run(self) -> Downloaded:
        """Fetch what is missing. Raises TunerError."""
        request, tell = self._request, self._session.tell
        if (address := insecure_hub()) and has_stored_token():
            tell(Stepped(what=f"your token is not sent to {address}, which is plain http"))
        tell(Stepped(what=f"looking at {request.repo_id}"))

        def look() -> Any:
            return self._api.repo_info(
                request.repo_id, repo_type=request.kind, revision=request.revision, files_metadata=True
            )

        info = self._session.ask("reading the repository", look)
        commit = commit_id(request.repo_id, info.sha)
        files = self._chosen([remote_file(request.repo_id, sibling) for sibling in info.siblings or ()])
        self._total = sum(file.size for file in files)
        self._require_room(files)
        tell(Stepped(what=f"downloading {counted(len(files), 'file')}"))
        for file in files:
            self._fetch(file, commit)
            self._link(file, commit)
        self._name_revision(commit)
        folder = str(self._snapshot(commit)) if files else ""
        return Downloaded(folder=folder, files=len(files), size_bytes=self._total)

    def _chosen(self, files: list[RemoteFile]) -> list[RemoteFile]:
        """Of a model the files for transformers, without pickles and other formats; of a data set all files."""
        if self._request.kind == "dataset":
            return files
        chosen = [
            file
            for file in files
            if file.name.endswith(MODEL_SUFFIXES) and not file.name.startswith(OTHER_WEIGHTS)
        ]
        if any(
            file.name == "config.json" for file in chosen
        ):  # an adapter in a base's folder would be loaded with it
            chosen = [file for file in chosen if file.name not in (CONFIG_FILE, WEIGHTS_FILE)]
        if not any(file.name.endswith(".safetensors") for file in chosen):
            raise no_weights(self._request.repo_id, [file.name for file in files])
        return chosen

    def _require_room(self, files: list[RemoteFile]) -> None:
        missing = sum(
            file.size - self._partial_size(file)
            for file in files
            if not (blob := self._blobs / file.etag).exists() or blob.stat().st_size != file.size
        )
        place = next(parent for parent in (self._blobs, *self._blobs.parents) if parent.exists())
        free = shutil.disk_usage(place).free
        if missing and free < missing + self._request.spare_bytes:
            raise TunerError(
                "The disk is too full",
                f"{place}: {free / 1e9:.1f} GB free, and the download needs {missing / 1e9:.1f} GB.",
                "Free space there, or set HF_HOME to a folder on another disk.",
            )

    def _partial_size(self, file: RemoteFile) -> int:
        arriving = self._blobs / (file.etag + PARTIAL)
        return arriving.stat().st_size if arriving.exists() else 0

    def _fetch(self, file: RemoteFile, commit: str) -> None:
        blob = self._blobs / file.etag
        if not blob.exists() or not _has_hash(blob, file, self._report):
            self._told = self._done
            self._blobs.mkdir(parents=True, exist_ok=True)
            self._session.ask(f"downloading {file.name}", lambda: self._receive(file, commit, blob))
        self._done += file.size
        self._report(0, force=True)

    def _receive(self, file: RemoteFile, commit: str, blob: Path) -> None:
        """Resume a partial file, and move it into place when its hash matches; delete a damaged one."""
        arriving = blob.with_name(blob.name + PARTIAL)
        if arriving.is_symlink():
            remove_hub_file(arriving, self._cache)
        have = self._partial_size(file)
        if have > file.size:
            remove_hub_file(arriving, self._cache)
            have = 0
        if have < file.size or file.size == 0:
            have = self._stream(file, commit, arriving, have)
        if not _has_hash(arriving, file, lambda read: self._session.still_at(self._done + have, self._total)):
            is_short = arriving.stat().st_size < file.size
            if not is_short:
                remove_hub_file(arriving, self._cache)
            raise WrongContent("it is incomplete" if is_short else "its hash does not match")
        arriving.replace(blob)

    def _stream(self, file: RemoteFile, commit: str, arriving: Path, have: int) -> int:
        """Append the remaining bytes, never beyond the announced size; returns the size."""
        request = self._request
        url = hf_hub_url(request.repo_id, file.name, repo_type=request.kind, revision=commit)
        headers = build_hf_headers() | UNCOMPRESSED
        if have:
            headers["Range"] = f"bytes={have}-"
        with get_session().stream("GET", url, headers=headers, extensions=BOUNDED_BY_CALLER) as response:
            if response.status_code >= 400:
                response.read()
            hf_raise_for_status(response)
            if have and response.status_code != 206:
                have = 0
            with arriving.open("ab" if have else "wb") as target:
                for block in response.iter_raw(BLOCK_BYTES):
                    have += len(block)
                    if have > file.size:
                        break
                    target.write(block)
                    self._report(have)
        if have > file.size:
            remove_hub_file(arriving, self._cache)
            raise WrongContent(f"more than the announced {file.size:,} bytes were received")
        return have

    def _snapshot(self, commit: str) -> Path:
        return self._blobs.parent / "snapshots" / commit

    def _link(self, file: RemoteFile, commit: str) -> None:
        """Link the blob into the snapshot as the Hub's client does, replacing any other file.

        The client itself would ask the server again for the blob's name, and trust it. Raises TunerError where a
        folder of the snapshot is a link that leads out of it.
        """
        blob, snapshot = self._blobs / file.etag, self._snapshot(commit)
        link = snapshot / file.name
        if not link.parent.resolve().is_relative_to(snapshot.resolve()):
            raise TunerError(
                "The cache cannot be used",
                f"{link.parent} leads out of the cache's folder.",
                f"Remove the link, or: {shell_command('models remove', self._request.repo_id)}",
            )
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.exists() and (link.resolve() == blob.resolve() or _has_hash(link, file, lambda read: None)):
            return
        if os.path.lexists(link):
            remove_hub_file(link, self._cache)
        try:
            link.symlink_to(os.path.relpath(blob, link.parent))
        except OSError:  # a disk without symbolic links
            shutil.copyfile(blob, link)

    def _name_revision(self, commit: str) -> None:
        """Record the commit of the branch or tag in the cache, once complete."""
        revision = self._request.revision or constants.DEFAULT_REVISION
        if revision != commit:
            ref = self._blobs.parent / "refs" / revision
            ref.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(ref, commit, is_private=False)

    def _report(self, of_file: int, *, force: bool = False) -> None:
        done = self._done + of_file
        if force or done - self._told >= REPORT_EVERY_BYTES:
            self._told = done
            self._session.tell(Moved(done_bytes=done, total_bytes=self._total))


def download(request: DownloadRequest, tell: Tell) -> Downloaded:
    """Download in this process. Raises TunerError."""
    if constants.is_offline_mode():
        raise InputError(
            "Offline mode is on",
            "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids access to the Hub.",
            OFFLINE_HINT,
        )
    if request.revision is not None and not is_revision(request.revision):
        raise InputError("Invalid revision", f"{request.revision!r} is not a valid branch, tag or commit.")
    return Download(request, HubSession(request.limits, tell, request.repo_id)).run()


def _has_hash(path: Path, file: RemoteFile, progress: Callable[[int], object]) -> bool:
    """Whether a file has the announced size and hash; `progress` gets the number of bytes read so far."""
    if path.stat().st_size != file.size:
        return False
    digest = (
        hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    )
    done = 0
    with guarded.open_regular(path) as content:
        while block := content.read(BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            progress(done)
    return digest.hexdigest() == file.etag
