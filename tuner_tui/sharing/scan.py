"""Looking through what is about to leave: tokens and keys, places on this machine, user names, pickles, training rows.

The scan is a second net: what goes is chosen by an allow-list first.
"""

from __future__ import annotations

import bisect
import getpass
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HEADER_BYTES = 1 << 16
"""How much of a binary file's beginning is looked at: headers and settings, not weights."""
SHOWN = 100
SECRETS = {
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{16,}",
    "an OpenAI-style key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a Google key": r"\bAIza[0-9A-Za-z_-]{30,}",
    "a Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{16,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.",
    "a password or key": (
        r"(?i)\b(?:\w*api[_-]?key|\w*secret(?:[_-]?key)?|password|passwd|access[_-]?token|auth[_-]?token)"
        r"[\"']?\s*[:=]\s*[\"']?[^\s\"']{8,}"
    ),
    "a login in an address": r"\b[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/:@]{3,}@",
}
PLACES = r"(?:/home/|/Users/|/root/|/mnt/[a-z]/Users/|[A-Za-z]:\\{1,2}Users\\{1,2})[^\s\"'<>|]*"
PICKLE_NAMES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
BINARY_NAMES = (".safetensors", ".gguf", ".model")
DULL_USERS = {
    "root",
    "user",
    "admin",
    "ubuntu",
    "runner",
    "test",
    "tester",
    "default",
    "build",
    "docker",
    "me",
}
SHORT_ANSWER, LONG_ANSWER, LONG_PROMPT = 2, 20, 60
"""Characters from which an answer tells a row with its prompt, and from which answer or prompt tell it alone."""

LONG_RUN = 60
"""Characters in a row that a text shares with a row of plain text, from which it repeats that row."""

Row = tuple[str, str]
"""A training row's prompt and answer, as text."""


@dataclass(frozen=True)
class Finding:
    """One thing that must not leave."""

    file: str
    line: int
    what: str
    shown: str
    """The line, with a secret cut short."""


@dataclass(frozen=True)
class Secrets:
    """What this machine and person would rather keep."""

    token: str | None = None
    places: tuple[str, ...] = ()
    user: str | None = None
    rows: tuple[Row, ...] = ()


def own_secrets(
    token: str | None, rows: Iterable[Row], owner: str, extra_places: Iterable[str] = ()
) -> Secrets:
    """What must not leave this machine when pushing to an owner's account."""
    places = {
        str(Path.home()),
        str(paths.data_dir()),
        str(paths.cache_dir()),
        str(paths.config_dir()),
        *extra_places,
    }
    kept = tuple(sorted(place for place in places if len(place) > len("/root")))
    try:
        user: str | None = getpass.getuser()
    except (KeyError, OSError):
        user = None
    if user is not None and (len(user) < 3 or user.lower() in {*DULL_USERS, owner.lower()}):
        user = None
    return Secrets(token, kept, user, tuple(rows))


def require_clean(files: Sequence[Path], secrets: Secrets) -> None:
    """Raise InputError that shows each line that must not leave."""
    findings = [finding for path in files for finding in scan_file(path, secrets)]
    if not findings:
        return
    lines = [f"{found.file}, line {found.line}: {found.what}: {found.shown}" for found in findings[:10]]
    more = f"\nand {len(findings) - 10} more" if len(findings) > 10 else ""
    raise InputError(
        "Something private would leave",
        "\n".join(lines) + more,
        "Nothing was sent. Remove it (in a card: edit it and give it with --card FILE), then push again.",
    )


def scan_file(path: Path, secrets: Secrets) -> Iterator[Finding]:
    """What is found in one file."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if path.suffix in PICKLE_NAMES or is_pickle(start):
        yield Finding(path.name, 1, "a Python pickle", "it can run code on whoever loads it")
        return
    if path.suffix in BINARY_NAMES or b"\0" in start[:1024]:
        yield from _scan_text(path.name, header_text(path, start), secrets, is_prose=False)
    elif path.name in ("tokenizer.json", "vocab.json"):
        yield from _scan_text(path.name, _without_vocabulary(path), secrets, is_prose=False)
    else:
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from _scan_text(path.name, text, secrets, is_prose=path.suffix in (".md", ""))


def is_pickle(start: bytes) -> bool:
    """Whether a file begins as pickles do, or as the zip files that torch keeps them in."""
    return (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05") or start[:4] == b"PK\x03\x04"


def header_text(path: Path, start: bytes) -> str:
    """The readable part of a binary file's beginning."""
    if path.suffix == ".safetensors":
        length = int.from_bytes(start[:8], "little")
        try:
            return json.dumps(json.loads(start[8 : 8 + length]).get("__metadata__", {}))
        except (ValueError, AttributeError):
            return start.decode("utf-8", "replace").replace("\0", " ")
    return start.decode("utf-8", "replace").replace("\0", " ")


def _without_vocabulary(path: Path) -> str:
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return path.read_text(encoding="utf-8", errors="replace")
    if path.name == "vocab.json":
        return ""
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content["model"] = {
            key: value for key, value in content["model"].items() if key not in ("vocab", "merges")
        }
    return json.dumps(content, indent=0, ensure_ascii=False)


def _scan_text(name: str, text: str, secrets: Secrets, *, is_prose: bool) -> Iterator[Finding]:
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if secrets.token and secrets.token in line:
            yield Finding(name, number, "your token", _shown(line, secrets.token))
            continue
        for what, pattern in SECRETS.items():
            if found := re.search(pattern, line):
                yield Finding(name, number, what, _shown(line, found[0]))
                break
        place = next((place for place in secrets.places if place in line), None)
        if place or (found := re.search(PLACES, line)):
            yield Finding(name, number, "a place on this machine", line.strip()[:SHOWN])
        elif is_prose and secrets.user and re.search(rf"\b{re.escape(secrets.user)}\b", line):
            yield Finding(name, number, "your user name on this machine", line.strip()[:SHOWN])
    if is_prose or name.endswith((".jinja", ".json")):
        yield from _scan_rows(name, lines, secrets.rows)


def _scan_rows(name: str, lines: list[str], rows: Sequence[Row]) -> Iterator[Finding]:
    normal = [normalised(line.lstrip("> ")) for line in lines]
    whole = " ".join(normal)
    ends = list(itertools.accumulate(len(line) + 1 for line in normal))
    for prompt, answer in rows:
        mark = row_mark(prompt, answer, whole)
        if mark is not None:
            number = bisect.bisect_right(ends, whole.index(mark))
            yield Finding(name, number + 1, "a training row", lines[number].strip()[:SHOWN])
    cells = [(number, cell) for number, line in enumerate(lines, 1) for cell in _cells(line)]
    if quotes([cell for _, cell in cells], rows):
        for number, cell in cells:
            if quotes((cell,), rows):
                yield Finding(name, number, "a part of a training row", lines[number - 1].strip()[:SHOWN])


def _cells(line: str) -> list[str]:
    """What a line of a table or of a quotation shows, where it is long enough to tell a row."""
    if not line.lstrip().startswith(("|", ">")):
        return []
    cells = map(normalised, re.split(r"(?<!\\)\|", line.lstrip("> ")))
    return [cell for cell in cells if len(cell) >= LONG_ANSWER]


def row_mark(prompt: str, answer: str, text: str) -> str | None:
    """The part of a training row by which a normalised text holds it; None when it does not."""
    prompt, answer = normalised(prompt), normalised(answer)
    if len(answer) >= LONG_ANSWER and answer in text:
        return answer
    if len(prompt) >= LONG_PROMPT and prompt in text:
        return prompt
    if len(prompt) > SHORT_ANSWER and len(answer) > SHORT_ANSWER and prompt in text:
        follows = text[text.index(prompt) + len(prompt) :][: len(answer) + 40]
        return prompt if answer in follows else None
    return None


def quotes(said: Sequence[str], rows: Iterable[Row]) -> bool:
    """Whether one of some normalised texts is a piece of a row: it lies inside the row's answer.

    With a row that is plain text it shares a run of LONG_RUN characters.
    """
    long = [text for text in said if len(text) >= LONG_ANSWER]
    if not long:
        return False
    step = LONG_RUN // 2
    pieces = {text[at : at + step] for text in long for at in range(len(text) - step + 1)}
    for prompt, answer in rows:
        row = normalised(answer)
        if prompt and any(text in row for text in long):
            return True
        # a run of LONG_RUN characters holds one whole piece that begins at a multiple of half its length
        if not prompt and any(
            row[at : at + step] in pieces and _shares_run(row, at, long)
            for at in range(0, len(row) - step + 1, step)
        ):
            return True
    return False


def _shares_run(row: str, at: int, said: Sequence[str]) -> bool:
    """Whether a run of LONG_RUN characters that begins at most half its length before a place is in a text."""
    begins = range(max(0, at - LONG_RUN // 2), min(at, len(row) - LONG_RUN) + 1)
    return any(row[begin : begin + LONG_RUN] in text for begin in begins for text in said)


def normalised(text: str) -> str:
    """Text with its white space made single blanks and Markdown's escapes taken out."""
    return " ".join(text.replace("\\", "").split())


def _shown(line: str, secret: str) -> str:
    return line.replace(secret, f"{secret[:6]}… ({len(secret)} characters)").strip()[:SHOWN]
