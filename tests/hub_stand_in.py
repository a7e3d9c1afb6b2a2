"""A Hub on this machine, for tests that drive the real `huggingface_hub` client over HTTP.

It answers what tuner-tui asks: account, repositories, file lists, downloads, uploads of large files, and commits. Large
files have a second port, as they have another host on the Hub, so that a test sees which requests carry the token.
Faults are planned with `fail`. Everything else is answered with 501.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

USER = "tester"
LARGE_SUFFIXES = (".safetensors", ".gguf", ".bin", ".zip", ".parquet")
LARGE_BYTES = 10_000_000
MESSAGES = {401: "Invalid credentials in Authorization header", 404: "Not found", 403: "Forbidden"}
CODES = {403: "GatedRepo", 404: "RepoNotFound"}
_REPO, _REV = r"(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)", r"(?P<rev>[^/]+)"
_WEB = r"/(?:(?P<kind>datasets)/)?(?P<repo>[^/]+/[^/]+)"
ROUTES = tuple(
    (operation, method, re.compile(pattern))
    for operation, method, pattern in (
        ("whoami", "GET", r"/api/whoami-v2"),
        ("create_repo", "POST", r"/api/repos/create"),
        ("validate_yaml", "POST", r"/api/validate-yaml"),
        ("list_repos", "GET", r"/api/(?P<kind>models|datasets)"),
        ("repo_info", "GET", rf"/api/{_REPO}(?:/revision/{_REV})?"),
        ("tree", "GET", rf"/api/{_REPO}/tree/{_REV}(?:/.*)?"),
        ("create_branch", "POST", rf"/api/{_REPO}/branch/(?P<branch>[^/]+)"),
        ("preupload", "POST", rf"/api/{_REPO}/preupload/{_REV}"),
        ("commit", "POST", rf"/api/{_REPO}/commit/{_REV}"),
        ("lfs_batch", "POST", rf"{_WEB}\.git/info/lfs/objects/batch"),
        ("verify", "POST", r"/verify/(?P<sha>\w+)"),
        ("upload", "PUT", r"/upload/(?P<sha>\w+)/(?P<part>\d+)"),
        ("complete", "POST", r"/complete/(?P<sha>\w+)"),
        ("head", "HEAD", rf"{_WEB}/resolve/{_REV}/(?P<path>.+)"),
        ("resolve", "GET", rf"{_WEB}/resolve/{_REV}/(?P<path>.+)"),
        ("download", "GET", r"/large/(?P<sha>\w+)"),
    )
)
"""(operation, HTTP method, path): a fault names an operation."""


@dataclass
class Answer:
    """An HTTP answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    """What Content-Length says where that is not the body's, as for HEAD."""


@dataclass
class Asked:
    """A download; `out` are headers of its answer."""

    out: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An answer other than what was asked for."""

    def __init__(self, status: int, message: str = "", code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message or MESSAGES.get(status, ""), code

    def answer(self) -> Answer:
        headers = {"X-Error-Message": self.message} | ({"X-Error-Code": self.code} if self.code else {})
        return Answer(self.status, json.dumps({"error": self.message}).encode(), headers)


@dataclass
class Fault:
    """What goes wrong with the next requests of an operation."""

    kind: Any
    """A status, or none, delay, drop, reset, lost or corrupt."""
    operation: str
    times: int
    options: dict[str, Any]
    path: str = "*"


class HubDouble:
    """A running stand-in; `requests` has a note of each request, `repos` the repositories, `faults` what is planned."""

    def __init__(self, root: Path, token: str, part_size: int = 1 << 30) -> None:
        self.root, self.token, self.part_size = root, token, part_size
        self.repos: dict[str, dict[str, Any]] = {}
        self.requests: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.parts: dict[str, dict[int, bytes]] = {}
        self.lock = threading.RLock()
        self._servers = [_Server(self, name) for name in ("hub", "storage")]
        self.url, self.storage_url = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)

    def __enter__(self) -> HubDouble:
        self.root.mkdir(parents=True, exist_ok=True)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def env(self) -> dict[str, str]:
        """The environment of a client that asks here. Xet would go to the Hub itself."""
        client = {"HF_ENDPOINT": self.url, "HF_TOKEN": self.token}
        return client | {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

    def add_repo(
        self,
        name: str,
        files: Mapping[str, bytes] | None = None,
        *,
        kind: str = "models",
        private: bool = False,
        gated: str | bool = False,
        allowed: tuple[str, ...] | list[str] = (),
    ) -> None:
        """A repository whose first commit has these files."""
        repo = {
            "name": name, "kind": kind, "private": private, "gated": gated, "allowed": tuple(allowed),
            "commits": {}, "refs": {}, "prs": 0,
        }  # fmt: skip
        self.repos[f"{kind}/{name}"] = repo
        stored = {
            path: self.put(path, data) for path, data in {".gitattributes": b"", **(files or {})}.items()
        }
        self.commit(repo, "refs/heads/main", stored)

    def fail(
        self, fault: Any, operation: str = "*", *, times: int = 1, path: str = "*", **options: Any
    ) -> None:
        """Plan a fault of the next requests of an operation at a path; both may be shell patterns."""
        self.faults.append(Fault(fault, operation, times, options, path))

    def files(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The files of every branch, by repository and reference, such as models/owner/name@refs/heads/main."""
        return {
            f"{key}@{ref}": repo["commits"][commit]
            for key, repo in self.repos.items()
            for ref, commit in repo["refs"].items()
        }

    def blob(self, sha256: str) -> bytes:
        """The content with this hash."""
        return (self.root / sha256).read_bytes()

    def has(self, sha256: str) -> bool:
        return (self.root / sha256).is_file()

    def put(self, path: str, data: bytes) -> dict[str, Any]:
        """Store a file's content; gives what a commit says of it."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / sha256).write_bytes(data)
        return self.entry(path, sha256)

    def entry(self, path: str, sha256: str) -> dict[str, Any]:
        data = self.blob(sha256)
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return {"sha256": sha256, "size": len(data), "git": git, "is_large": is_large(path, len(data))}

    def commit(self, repo: dict[str, Any], ref: str, files: dict[str, Any]) -> str:
        """Let a reference point to a new commit with these files; gives its ID."""
        word = f"{repo['name']} {ref} {len(repo['commits'])} {sorted((k, v['sha256']) for k, v in files.items())}"
        commit = hashlib.sha1(word.encode()).hexdigest()
        repo["commits"][commit], repo["refs"][ref] = files, commit
        return commit

    def info(self, key: str, revision: str = "main", blobs: bool = False) -> dict[str, Any]:
        """What the Hub says of a repository, such as models/owner/name; a test may put another answer in its place."""
        repo = self.repos[key]
        commit = find_commit(repo, revision)
        files = repo["commits"][commit]
        return {
            "_id": commit[:24], "id": repo["name"], "modelId": repo["name"], "sha": commit, "private": repo["private"],
            "gated": repo["gated"], "disabled": False, "downloads": 0, "likes": 0, "tags": [],
            "cardData": self.card(files), "createdAt": "2026-01-01T00:00:00.000Z",
            "lastModified": "2026-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": path, **(_listed(file, "blobId", "sha256") if blobs else {})}
                         for path, file in sorted(files.items())],
        }  # fmt: skip

    def card(self, files: dict[str, Any]) -> Any:
        """The metadata of a commit's README.md."""
        if "README.md" not in files:
            return None
        return _metadata(self.blob(files["README.md"]["sha256"]).decode(errors="replace"))

    def download(self, asked: Asked, sha: str, path: str) -> bytes:
        """A large file's content; a test may put another in its place."""
        return self.blob(sha)

    def take_fault(self, operation: str, path: str) -> Fault | None:
        """The planned fault of a request, if any."""
        for fault in self.faults:
            is_meant = fnmatchcase(operation, fault.operation) and fnmatchcase(path, fault.path)
            if fault.times > 0 and is_meant:
                fault.times -= 1
                return fault
        return None


def find_commit(repo: dict[str, Any], revision: str) -> str:
    """The ID of the commit that a branch, a reference or an ID names."""
    for name in (revision, f"refs/heads/{revision}"):
        if name in repo["refs"]:
            return str(repo["refs"][name])
    if revision in repo["commits"]:
        return revision
    raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def is_large(path: str, size: int) -> bool:
    """Whether the Hub would take a file as a large one, by its name or size."""
    return size > LARGE_BYTES or path.endswith(LARGE_SUFFIXES)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: HubDouble, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub, self.name = hub, name

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Requests are noted in `HubDouble.requests`."""

    def do_GET(self) -> None:
        hub, address = self.server.hub, urlsplit(self.path)
        self.close_connection = True
        operation, named = next(
            (
                (operation, found.groupdict())
                for operation, method, pattern in ROUTES
                if method == self.command and (found := pattern.fullmatch(address.path))
            ),
            ("unknown", {}),
        )
        authorization = self.headers.get("Authorization")
        note = {
            "operation": operation, "server": self.server.name, "path": unquote(address.path),
            "range": self.headers.get("Range"), "authorization": authorization, "bytes_out": 0,
        }  # fmt: skip
        with hub.lock:
            hub.requests.append(note)
            fault = hub.take_fault(operation, unquote(address.path))
        self.note = note
        kind, options = (fault.kind, fault.options) if fault else (None, {})
        size = int(self.headers.get("Content-Length") or 0)
        if kind in ("drop", "reset") and size:
            self.rfile.read(min(options.get("after", size // 2), size))
            return self._break_off(is_reset=kind == "reset")
        body = self._body(size)
        if isinstance(kind, int) or options.get("html"):
            return self._send(_failure(kind, options))
        if kind == "delay" and "after" not in options:
            time.sleep(options["seconds"])
        with hub.lock:
            answer = _answer_to(
                hub, operation, named, parse_qs(address.query), body, authorization, self.headers
            )
        if kind == "lost":
            return self._break_off()
        if kind == "corrupt" and answer.body:
            place = min(options.get("after", len(answer.body) // 2), len(answer.body) - 1)
            flipped = bytes((answer.body[place] ^ 0xFF,))
            answer.body = answer.body[:place] + flipped + answer.body[place + 1 :]
        if kind in ("drop", "reset", "delay") and (kind != "delay" or "after" in options):
            return self._send_a_part(answer, kind, options)
        return self._send(answer)

    do_POST = do_PUT = do_HEAD = do_GET

    def _body(self, size: int) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(size)
        whole = b""
        while count := int(self.rfile.readline().strip() or b"0", 16):
            whole += self.rfile.read(count)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def _send_head(self, answer: Answer) -> None:
        self.send_response(answer.status)
        length = len(answer.body) if answer.length is None else answer.length
        for name, value in {"Content-Length": str(length), "Connection": "close", **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, answer: Answer) -> None:
        with suppress(OSError):
            self._send_head(answer)
            if self.command != "HEAD":
                self.note["bytes_out"] = len(answer.body)
                self.wfile.write(answer.body)

    def _send_a_part(self, answer: Answer, kind: str, options: dict[str, Any]) -> None:
        """Send the answer up to a byte; then wait, or break the connection off."""
        after = options.get("after", len(answer.body) // 2)
        with suppress(OSError):
            if self.command != "HEAD" and answer.body:
                self._send_head(answer)
                self.wfile.write(answer.body[:after])
                self.wfile.flush()
            if kind != "delay":
                return self._break_off(is_reset=kind == "reset")
            time.sleep(options["seconds"])
            self.wfile.write(answer.body[after:])
        return None

    def _break_off(self, *, is_reset: bool = False) -> None:
        if is_reset:  # a linger time of 0 has the system send RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(OSError):
            if not is_reset:
                self.connection.shutdown(socket.SHUT_RDWR)
            self.connection.close()


def _failure(status: Any, options: dict[str, Any]) -> Answer:
    status = status if isinstance(status, int) else 200
    answer = Refusal(status, options.get("message", ""), options.get("code", CODES.get(status, ""))).answer()
    if options.get("html"):
        answer.body = b"<!DOCTYPE html><html><body>Something is wrong</body></html>"
        answer.headers = {"Content-Type": "text/html"}
    if "retry_after" in options:
        answer.headers["Retry-After"] = str(options["retry_after"])
    return answer


def _answer_to(
    hub: HubDouble,
    operation: str,
    named: dict[str, Any],
    query: dict[str, list[str]],
    body: bytes,
    authorization: str | None,
    headers: Any,
) -> Answer:
    try:
        if operation == "unknown":
            raise Refusal(501, "Not in the stand-in")
        if operation in ("upload", "download", "complete"):
            return _of_storage(hub, operation, named, body, headers)
        if authorization is not None and authorization != f"Bearer {hub.token}":
            raise Refusal(401)
        request = _Request(hub, named, query, body, USER if authorization else None)
        value = getattr(request, operation)()
    except Refusal as refusal:
        return refusal.answer()
    if isinstance(value, Answer):
        return value
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _of_storage(hub: HubDouble, operation: str, named: dict[str, Any], body: bytes, headers: Any) -> Answer:
    sha256 = named["sha"]
    if operation == "download":
        data = hub.download(asked := Asked(), sha256, "")
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("Range") or "")
        if wanted is None:
            return Answer(200, data, asked.out)
        first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
        part = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        return Answer(206, data[first : last + 1], asked.out | part)
    parts = hub.parts.setdefault(sha256, {})
    if operation == "upload":
        parts[int(named["part"])] = body
        if named["part"] != "0":
            return Answer(200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})
    data = b"".join(part for _, part in sorted(parts.items()))
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Refusal(400, "The content has another hash")
    (hub.root / sha256).write_bytes(data)
    return Answer(200, b"{}")


@dataclass
class _Request:
    """One request of the Hub's own port; each method answers the operation of its name."""

    hub: HubDouble
    named: dict[str, Any]
    query: dict[str, list[str]]
    body: bytes
    user: str | None

    def _json(self) -> Any:
        return json.loads(self.body or b"{}")

    def _key(self) -> str:
        return f"{self.named['kind'] or 'models'}/{self.named['repo']}"

    def _repo(self) -> dict[str, Any]:
        repo = self.hub.repos.get(self._key())
        is_own = repo is not None and self.user in (repo["name"].partition("/")[0], *repo["allowed"])
        if repo is None or (repo["private"] and not is_own):
            raise Refusal(404 if self.user else 401, "Repository not found", "RepoNotFound")
        return repo

    def _commit(self, repo: dict[str, Any]) -> str:
        return find_commit(repo, unquote(self.named.get("rev") or "main"))

    def whoami(self) -> Any:
        if self.user is None:
            raise Refusal(401)
        token = {"displayName": "test", "role": "write", "createdAt": "2026-01-01T00:00:00.000Z"}
        return {
            "type": "user",
            "name": self.user,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": token},
        }

    def create_repo(self) -> Any:
        wanted = self._json()
        name = f"{wanted.get('organization') or self.user}/{wanted['name']}"
        if self.user is None or name.partition("/")[0] != self.user:
            raise Refusal(403 if self.user else 401)
        kind = f"{wanted.get('type') or 'model'}s"
        if f"{kind}/{name}" in self.hub.repos:
            raise Refusal(409, "You already created this repository")
        is_private = wanted.get("visibility", "public") == "private" or bool(wanted.get("private"))
        self.hub.add_repo(name, kind=kind, private=is_private)
        return {"url": f"{self.hub.url}/{name}", "name": name, "id": name}

    def validate_yaml(self) -> Any:
        base = (_metadata(self._json()["content"]) or {}).get("base_model", "")
        if base and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(base)) is None:
            answer = {"errors": [{"message": f'"base_model" {base!r} is no repository'}], "warnings": []}
            return Answer(400, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        return {"errors": [], "warnings": []}

    def repo_info(self) -> Any:
        self._commit(self._repo())
        return self.hub.info(self._key(), unquote(self.named.get("rev") or "main"), "blobs" in self.query)

    def list_repos(self) -> Any:
        """Public repositories and one's own, whose names have each word of the search."""
        kind, words = self.named["kind"], " ".join(self.query.get("search", [])).lower().split()
        return [
            {key: value for key, value in self.hub.info(name).items() if key != "cardData"}
            for name, repo in self.hub.repos.items()
            if name.startswith(f"{kind}/")
            and all(word in repo["name"].lower() for word in words)
            and (not repo["private"] or repo["name"].partition("/")[0] == self.user)
        ]

    def tree(self) -> Any:
        repo = self._repo()
        files = repo["commits"][self._commit(repo)]
        return [
            {"type": "file", "path": path, **_listed(file, "oid", "oid")}
            for path, file in sorted(files.items())
        ]

    def create_branch(self) -> Any:
        repo, ref = self._writable(), f"refs/heads/{unquote(self.named['branch'])}"
        if ref in repo["refs"]:
            raise Refusal(409, "Reference already exists")
        repo["refs"][ref] = repo["refs"]["refs/heads/main"]
        return {}

    def _writable(self, *, is_proposed: bool = False) -> dict[str, Any]:
        repo = self._repo()
        if self.user is None:
            raise Refusal(401)
        if repo["name"].partition("/")[0] != self.user and not is_proposed:
            raise Refusal(403, "You have no write access to this repository")
        return repo

    def preupload(self) -> Any:
        files = self._repo()["commits"][self._commit(self._repo())]
        return {
            "files": [
                {
                    "path": file["path"], "shouldIgnore": False, "oid": files.get(file["path"], {}).get("git"),
                    "uploadMode": "lfs" if is_large(file["path"], file["size"]) else "regular",
                }
                for file in self._json()["files"]
            ]
        }  # fmt: skip

    def lfs_batch(self) -> Any:
        self._repo()
        objects = [self._upload_of(wanted["oid"], wanted["size"]) for wanted in self._json()["objects"]]
        is_in_parts = any(
            "chunk_size" in each.get("actions", {}).get("upload", {}).get("header", {}) for each in objects
        )
        return {"transfer": "multipart" if is_in_parts else "basic", "objects": objects}

    def _upload_of(self, sha256: str, size: int) -> dict[str, Any]:
        stored: dict[str, Any] = {"oid": sha256, "size": size}
        if self.hub.has(sha256):
            return stored
        address, part_size = f"{self.hub.storage_url}/upload/{sha256}", self.hub.part_size
        upload: dict[str, Any] = {"href": f"{address}/0"}
        if size > part_size:
            numbers = range(1, -(-size // part_size) + 1)
            header = {"chunk_size": str(part_size)} | {
                str(number): f"{address}/{number}" for number in numbers
            }
            upload = {"href": f"{self.hub.storage_url}/complete/{sha256}", "header": header}
        return stored | {"actions": {"upload": upload, "verify": {"href": f"{self.hub.url}/verify/{sha256}"}}}

    def verify(self) -> Any:
        if not self.hub.has(self.named["sha"]):
            raise Refusal(404, "Nothing was uploaded", "EntryNotFound")
        return {}

    def commit(self) -> Any:
        is_proposed = "create_pr" in self.query
        repo = self._writable(is_proposed=is_proposed)
        parent = self._commit(repo)
        files, lines = (
            dict(repo["commits"][parent]),
            [json.loads(line) for line in self.body.splitlines() if line],
        )
        wanted_parent = next(line["value"] for line in lines if line["key"] == "header").get("parentCommit")
        if wanted_parent not in (None, parent):
            raise Refusal(412, "A commit has happened since")
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = self.hub.put(value["path"], base64.b64decode(value["content"]))
                case "lfsFile" if self.hub.has(value["oid"]):
                    files[value["path"]] = self.hub.entry(value["path"], value["oid"])
                case "lfsFile":
                    raise Refusal(400, "A large file was not uploaded")
                case "deletedFile":
                    files.pop(value["path"], None)
        ref = f"refs/heads/{unquote(self.named['rev'])}"
        if is_proposed:
            repo["prs"] += 1
            ref = f"refs/pr/{repo['prs']}"
        address, commit = f"{self.hub.url}/{repo['name']}", self.hub.commit(repo, ref, files)
        made = {
            "success": True,
            "commitOid": commit,
            "commitUrl": f"{address}/commit/{commit}",
            "hookOutput": "",
        }
        return made | ({"pullRequestUrl": f"{address}/discussions/{repo['prs']}"} if is_proposed else {})

    def head(self) -> Answer:
        return self._file(is_head=True)

    def resolve(self) -> Answer:
        return self._file(is_head=False)

    def _file(self, *, is_head: bool) -> Answer:
        repo = self._repo()
        if repo["gated"] and self.user not in (repo["name"].partition("/")[0], *repo["allowed"]):
            raise Refusal(403 if self.user else 401, "Access to this repository is restricted", "GatedRepo")
        commit = self._commit(repo)
        file = repo["commits"][commit].get(unquote(self.named["path"]))
        if file is None:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{file["git"]}"', "Accept-Ranges": "bytes"}
        if file["is_large"]:
            headers |= {
                "Location": f"{self.hub.storage_url}/large/{file['sha256']}",
                "X-Linked-Etag": f'"{file["sha256"]}"', "X-Linked-Size": str(file["size"]),
            }  # fmt: skip
            return Answer(302, b"", headers)
        return Answer(200, b"" if is_head else self.hub.blob(file["sha256"]), headers, file["size"])


def _metadata(card: str) -> Any:
    """What stands between the lines --- at the head of a card."""
    head = re.match(r"---\n(.*?\n)---\n", card, re.S)
    return yaml.safe_load(head[1]) if head else None


def _listed(file: dict[str, Any], git: str, sha256: str) -> dict[str, Any]:
    """What a list of files says of one."""
    large = (
        {"lfs": {sha256: file["sha256"], "size": file["size"], "pointerSize": 134}}
        if file["is_large"]
        else {}
    )
    return {"size": file["size"], git: file["git"], **large}
