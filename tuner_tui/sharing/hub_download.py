"""Downloading inside a Hub process: into the Hub's cache, resumed where it stopped, checked by hash."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi, constants, get_session, hf_hub_download, hf_hub_url
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_raise_for_status

from tuner_tui.errors import InputError, TunerError
from tuner_tui.files import write_atomic
from tuner_tui.models.hub_errors import OFFLINE_HINT
from tuner_tui.models.model_folder import no_weights
from tuner_tui.sharing.hub_failures import AGAIN
from tuner_tui.sharing.hub_protocol import Downloaded, Moved, Stepped
from tuner_tui.sharing.hub_session import HubSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.sharing.hub_protocol import DownloadRequest

    Tell = Callable[[Any], None]

BLOCK_BYTES = 1 << 20
REPORT_EVERY_BYTES = 4 << 20
PARTIAL = ".tuner-tui-partial"
MODEL_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model", ".tiktoken", ".md", ".py")
OTHER_WEIGHTS = ("onnx/", "openvino/", "original/", "consolidated", "flax_", "tf_")


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository."""

    name: str
    size: int
    git_id: str
    sha256: str | None

    @property
    def etag(self) -> str:
        """The name of its blob in the Hub's cache."""
        return self.sha256 or self.git_id


class Download:
    """One repository on its way into the cache."""

    def __init__(self, request: DownloadRequest, session: HubSession) -> None:
        self._request, self._session = request, session
        self._api = HfApi()
        folder = repo_folder_name(repo_id=request.repo_id, repo_type=request.kind)
        self._blobs = Path(constants.HF_HUB_CACHE) / folder / "blobs"
        self._done = self._told = self._total = 0

    def run(self) -> Downloaded:
        """Fetch what is missing. Raises TunerError."""
        request, tell = self._request, self._session.tell
        tell(Stepped(what=f"looking at {request.repo_id}"))

        def look() -> Any:
            return self._api.repo_info(
                request.repo_id, repo_type=request.kind, revision=request.revision, files_metadata=True
            )

        info = self._session.ask("looking at the repository", look)
        files = self._chosen([_remote(sibling) for sibling in info.siblings or ()])
        commit = str(info.sha)
        self._total = sum(file.size for file in files)
        self._require_room(files)
        tell(Stepped(what=f"downloading {len(files)} files"))
        folder = ""
        for file in files:
            self._fetch(file, commit)
            # the blob is there, so this only links it into the snapshot
            linked = self._session.ask(f"asking about {file.name}", partial(self._link, file, commit))
            folder = folder or linked.removesuffix(file.name).rstrip("/")
        self._name_revision(commit)
        return Downloaded(folder=folder, files=len(files), size_bytes=self._total)

    def _chosen(self, files: list[RemoteFile]) -> list[RemoteFile]:
        """Of a model what transformers needs, without pickles and other programs' weights; of a data set all."""
        if self._request.kind == "dataset":
            return files
        chosen = [
            file
            for file in files
            if file.name.endswith(MODEL_SUFFIXES) and not file.name.startswith(OTHER_WEIGHTS)
        ]
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
                f"{place}: {free / 1e9:.1f} GB free, and {missing / 1e9:.1f} GB are to come.",
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
        """Go on from what is there, and put it in place when its hash is right; a damaged one is thrown away."""
        arriving = blob.with_name(blob.name + PARTIAL)
        have = self._partial_size(file)
        if have > file.size:
            arriving.unlink()
            have = 0
        if have < file.size or file.size == 0:
            request = self._request
            url = hf_hub_url(request.repo_id, file.name, repo_type=request.kind, revision=commit)
            headers = build_hf_headers() | {"Accept-Encoding": "identity"}
            if have:
                headers["Range"] = f"bytes={have}-"
            with get_session().stream("GET", url, headers=headers) as response:
                if response.status_code >= 400:
                    response.read()
                hf_raise_for_status(response)
                if have and response.status_code != 206:
                    have = 0
                with arriving.open("ab" if have else "wb") as target:
                    for block in response.iter_bytes(BLOCK_BYTES):
                        target.write(block)
                        have += len(block)
                        self._report(have)
        if not _has_hash(arriving, file, lambda read: self._session.still_at(self._done + have, self._total)):
            is_short = arriving.stat().st_size < file.size
            if not is_short:
                arriving.unlink()
            raise ValueError("cut short" if is_short else "damaged on its way")
        arriving.replace(blob)

    def _link(self, file: RemoteFile, commit: str) -> str:
        """Link the blob into the snapshot; a link that was there and leads elsewhere is made anew."""
        request = self._request
        for _ in range(2):
            linked = Path(
                hf_hub_download(
                    request.repo_id, file.name, repo_type=request.kind, revision=commit,
                    etag_timeout=self._session.limits.answer,
                )
            )  # fmt: skip
            is_blob = linked.resolve() == (self._blobs / file.etag).resolve()
            if is_blob or _has_hash(linked, file, lambda read: None):
                return str(linked)
            linked.unlink()
        raise ValueError("what is in the cache is not what was checked")

    def _name_revision(self, commit: str) -> None:
        """Say in the cache which commit the branch or tag is, now that all of it is there."""
        revision = self._request.revision or constants.DEFAULT_REVISION
        if revision != commit:
            ref = self._blobs.parent / "refs" / revision
            ref.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(ref, commit)

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
            "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids asking the Hub.",
            OFFLINE_HINT,
        )
    return Download(request, HubSession(request.limits, tell, request.repo_id)).run()


def _remote(sibling: Any) -> RemoteFile:
    if sibling.size is None or not (sibling.blob_id or sibling.lfs):
        raise TunerError(
            "The Hub tells too little", f"It gives no size or hash for {sibling.rfilename}.", AGAIN
        )
    return RemoteFile(
        sibling.rfilename, sibling.size, sibling.blob_id, sibling.lfs.sha256 if sibling.lfs else None
    )


def _has_hash(path: Path, file: RemoteFile, told: Callable[[int], object]) -> bool:
    """Whether a file has the size and hash that the Hub told; `told` hears how many bytes were read so far."""
    if path.stat().st_size != file.size:
        return False
    digest = (
        hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    )
    done = 0
    with path.open("rb") as content:
        while block := content.read(BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            told(done)
    return digest.hexdigest() == file.etag
