"""Scans files before an upload: tokens and keys, local paths, user names, pickles, training rows.

The scan is a second safeguard: files are chosen by an allow-list first.
"""

from __future__ import annotations

import bisect
import getpass
import itertools
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.errors import InputError
from tuner_tui.files import expanded
from tuner_tui.models.gguf_header import read_gguf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

HEADER_BYTES = 1 << 16
"""How much of a file is read to recognise its type, and how much of an unknown type is scanned."""
LARGEST_TEXT_BYTES = 256 << 20
"""The largest text file that is scanned completely; a large vocabulary has some 40 MB."""
SHOWN = 100
_BEGIN = r"(?<![A-Za-z0-9])"
SECRETS = {
    what: re.compile(pattern)
    for what, pattern in {
        "a Hugging Face token": _BEGIN + r"hf_(?:oauth_|jwt_)?[A-Za-z0-9]{16,}",
        "a Stripe key": _BEGIN + r"[rs]k_(?:live|test)_[A-Za-z0-9]{10,}",
        "an OpenAI-style key": _BEGIN + r"sk-(?=[A-Za-z0-9_-]*[A-Za-z0-9]{16})[A-Za-z0-9_-]{20,}",
        "a GitHub token": _BEGIN + r"(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
        "an AWS key": _BEGIN + r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])",
        "a Google key": _BEGIN + r"AIza[0-9A-Za-z_-]{30,}",
        "a Slack token": _BEGIN + r"xox[abprs]-[A-Za-z0-9-]{10,}",
        "a GitLab token": _BEGIN + r"glpat-[A-Za-z0-9_-]{16,}",
        "an npm token": _BEGIN + r"npm_[A-Za-z0-9]{30,}",
        "a PyPI token": _BEGIN + r"pypi-(?=[a-z_-]*[0-9A-Z])[A-Za-z0-9_-]{16,}",
        "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----",
        "a JSON web token": _BEGIN + r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.",
    }.items()
}
"""What is a secret wherever it stands, in a vocabulary too."""
PASSWORD = re.compile(
    r"(?i)(?<![A-Za-z0-9])(?:\w{0,40}api[_-]?key|\w{0,40}secret(?:[_-]?key)?|password|passwd|access[_-]?token|auth[_-]?token)"
    r"[\"']?\s*[:=]\s*[\"']?([^\s\"']{8,})"
)
LOGIN = re.compile(r"(?<![A-Za-z0-9])[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/:@]{3,}@")
PLACES = re.compile(r"(?:/home/|/Users/|/root/|/mnt/[a-z]/Users/|[A-Za-z]:\\{1,2}Users\\{1,2})[^\s\"'<>|]*")
JSON_TEXT = re.compile(r'"(?:[^"\\\n]|\\.)*"')
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt")
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

LONG_WORD = 16
"""Characters from which what is said to be a password is hardly a word."""
LONG_RUN = 60
"""Characters in a row that a text shares with a row of plain text, from which it repeats that row."""

Row = tuple[str, str]
"""A training row's prompt and answer, as text."""


@dataclass(frozen=True)
class Finding:
    """One finding."""

    file: str
    line: int
    what: str
    shown: str
    """The line, with secrets shortened."""


@dataclass(frozen=True)
class Secrets:
    """Private values of this machine and user."""

    token: str | None = None
    places: tuple[str, ...] = ()
    user: str | None = None
    rows: tuple[Row, ...] = ()
    public_names: tuple[str, ...] = ()
    """Names that are public anyway, such as the repository's; a user name within them is no finding."""


def own_secrets(
    token: str | None,
    rows: Iterable[Row],
    owner: str,
    extra_places: Iterable[str] = (),
    public_names: Iterable[str] = (),
) -> Secrets:
    """Private values when pushing to an owner's account; `public_names` are published anyway."""
    places = {
        str(expanded(Path("~"))),
        str(paths.data_dir()),
        str(paths.cache_dir()),
        str(paths.config_dir()),
        *extra_places,
    }
    local_paths = tuple(sorted(place for place in places if len(place) > len("/root")))
    try:
        user: str | None = getpass.getuser()
    except (KeyError, OSError):
        user = None
    if user is not None and (len(user) < 3 or user.lower() in {*DULL_USERS, owner.lower()}):
        user = None
    names = tuple(sorted({*public_names, owner} - {""}, key=len, reverse=True))
    return Secrets(token, local_paths, user, tuple(rows), names)


def require_clean(files: Sequence[Path], secrets: Secrets) -> None:
    """Raise InputError that shows each line that must not leave."""
    findings = [finding for path in files for finding in scan_file(path, secrets)]
    if not findings:
        return
    lines = [
        f"{finding.file}, line {finding.line}: {finding.what}: {finding.shown}" for finding in findings[:10]
    ]
    more = f"\nand {len(findings) - 10} more" if len(findings) > 10 else ""
    raise InputError(
        "The upload contains private data",
        "\n".join(lines) + more,
        "Nothing was sent. Remove it (for a card: edit it and pass it with --card FILE), then push again.",
    )


def is_clean(text: str, secrets: Secrets) -> bool:
    """Whether a short text, such as a commit message, is free of private data."""
    return not any(_scan_text("", text, secrets))


def scan_file(path: Path, secrets: Secrets) -> Iterator[Finding]:
    """The findings in one file. Raises Unreadable for one that cannot be scanned."""
    with guarded.open_regular(path) as file:
        start = file.read(HEADER_BYTES)
    if path.suffix in PICKLE_NAMES or is_pickle(path.suffix, start):
        yield Finding(path.name, 1, "a Python pickle", "it can run code when loaded")
        return
    if path.suffix in BINARY_NAMES or b"\0" in start[:1024]:
        whole, loose = binary_text(path, start)
        yield from _scan_secrets(path.name, whole.splitlines(), secrets)
        yield from _scan_loose(path.name, loose.splitlines(), secrets)
        return
    text = guarded.read_text(path, LARGEST_TEXT_BYTES, errors="replace")
    if path.name in VOCABULARIES:
        yield from _scan_secrets(path.name, text.splitlines(), secrets)
        yield from _scan_escaped(path.name, text, secrets, _scan_secrets)
        yield from _scan_loose(path.name, _without_vocabulary(path.name, text).splitlines(), secrets)
        return
    yield from _scan_text(path.name, text, secrets)
    if path.suffix == ".json":
        yield from _scan_escaped(path.name, text, secrets, _scan_text_lines)
    if path.suffix in (".md", ".jinja", ".json", ""):
        yield from _scan_rows(path.name, text.splitlines(), secrets.rows)


def is_pickle(suffix: str, start: bytes) -> bool:
    """Whether a file begins as pickles do, or as the zip files that torch keeps them in.

    A safetensors file begins with its header's length, which may look like a pickle's; the header then follows.
    """
    if suffix == ".safetensors" and start[8:9] == b"{":
        return False
    return (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05") or start[:4] == b"PK\x03\x04"


def binary_text(path: Path, start: bytes) -> tuple[str, str]:
    """(all text of a binary file but its weights, what of that is no vocabulary or list of names)."""
    if path.suffix == ".safetensors":
        return _safetensors_text(path, start)
    if path.suffix == ".gguf":
        return _gguf_text(path, start)
    whole = guarded.read_bytes(path, LARGEST_TEXT_BYTES) if path.suffix == ".model" else start
    return _readable(whole), _readable(start)


def _safetensors_text(path: Path, start: bytes) -> tuple[str, str]:
    length = int.from_bytes(start[:8], "little")
    if length > path.stat().st_size:
        return _readable(start), _readable(start)
    with guarded.open_regular(path) as file:
        header = file.read(8 + length)[8:]
    try:
        loose = json.dumps(json.loads(header).get("__metadata__", {}), ensure_ascii=False)
    except (ValueError, AttributeError, RecursionError):
        loose = _readable(start)
    return f"{_readable(header)}\n{loose}", loose


def _gguf_text(path: Path, start: bytes) -> tuple[str, str]:
    """A GGUF file up to its tensors' data, and its settings that are text."""
    try:
        header = read_gguf(path)
    except (InputError, OSError):
        return _readable(start), _readable(start)
    data = sum(tensor.size_bytes for tensor in header.tensors)
    with guarded.open_regular(path) as file:
        whole = file.read(max(HEADER_BYTES, path.stat().st_size - data))
    settings = (f"{key}: {value}" for key, value in header.metadata.items() if isinstance(value, str))
    return _readable(whole), "\n".join(settings)


def _readable(content: bytes) -> str:
    return content.decode("utf-8", "replace").replace("\0", " ")


def _without_vocabulary(name: str, text: str) -> str:
    if name != "tokenizer.json":
        return ""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content["model"] = {
            key: value for key, value in content["model"].items() if key not in ("vocab", "merges")
        }
    return json.dumps(content, indent=0, ensure_ascii=False)


def _scan_text(name: str, text: str, secrets: Secrets) -> Iterator[Finding]:
    yield from _scan_text_lines(name, text.splitlines(), secrets)


def _scan_text_lines(name: str, lines: Sequence[str], secrets: Secrets) -> Iterator[Finding]:
    yield from _scan_secrets(name, lines, secrets)
    yield from _scan_loose(name, lines, secrets)


def _scan_escaped(
    name: str, text: str, secrets: Secrets, scan: Callable[[str, Sequence[str], Secrets], Iterable[Finding]]
) -> Iterator[Finding]:
    """What JSON's texts with escaped characters hold once they are read."""
    number, counted = 1, 0
    for match in JSON_TEXT.finditer(text):
        if "\\u" in match[0] or "\\/" in match[0]:
            try:
                unescaped = str(json.loads(match[0]))
            except ValueError:
                continue
            number += text.count("\n", counted, match.start())
            counted = match.start()
            for finding in scan(name, [" ".join(unescaped.splitlines())], secrets):
                yield replace(finding, line=number)


def _scan_secrets(name: str, lines: Sequence[str], secrets: Secrets) -> Iterator[Finding]:
    """The own token and whatever looks like one, once a line."""
    for number, line in enumerate(lines, 1):
        if secrets.token and secrets.token in line:
            yield Finding(name, number, "your token", _shown(line, secrets.token))
            continue
        for what, pattern in SECRETS.items():
            if match := pattern.search(line):
                yield Finding(name, number, what, _shown(line, match[0]))
                break


def _scan_loose(name: str, lines: Sequence[str], secrets: Secrets) -> Iterator[Finding]:
    """Passwords, places and names, which ordinary words may look like."""
    user = secrets.user and re.compile(rf"(?<!\w){re.escape(secrets.user)}(?!\w)")
    for number, line in enumerate(lines, 1):
        if match := LOGIN.search(line):
            yield Finding(name, number, "credentials in a URL", _shown(line, match[0]))
        elif match := _password(line):
            yield Finding(name, number, "a password or key", _shown(line, match[0]))
        if any(place in line for place in secrets.places) or PLACES.search(line):
            yield Finding(name, number, "a path on this machine", line.strip()[:SHOWN])
        elif user and user.search(_without(line, secrets.public_names)):
            yield Finding(name, number, "your user name on this machine", line.strip()[:SHOWN])


def _password(line: str) -> re.Match[str] | None:
    """What stands behind a word such as password, where it is no word itself."""
    return next((match for match in PASSWORD.finditer(line) if _is_random(match[1])), None)


def _is_random(value: str) -> bool:
    has_letters = any(letter.isalpha() for letter in value)
    has_digits = any(letter.isdigit() for letter in value)
    is_mixed = value != value.lower() and value[1:] != value[1:].lower() and any(map(str.islower, value))
    return has_letters and (has_digits or is_mixed or (len(value) >= LONG_WORD and value.isalnum()))


def _without(line: str, names: Iterable[str]) -> str:
    for name in names:
        line = line.replace(name, " ")
    return line


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
                yield Finding(name, number, "part of a training row", lines[number - 1].strip()[:SHOWN])


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


def quotes(texts: Sequence[str], rows: Iterable[Row]) -> bool:
    """Whether one of some normalised texts is a piece of a row: it lies inside the row's answer.

    With a row that is plain text it shares a run of LONG_RUN characters.
    """
    long = [text for text in texts if len(text) >= LONG_ANSWER]
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


def _shares_run(row: str, at: int, texts: Sequence[str]) -> bool:
    """Whether a run of LONG_RUN characters that begins at most half its length before a place is in a text."""
    begins = range(max(0, at - LONG_RUN // 2), min(at, len(row) - LONG_RUN) + 1)
    return any(row[begin : begin + LONG_RUN] in text for begin in begins for text in texts)


def normalised(text: str) -> str:
    """Text with its white space made single blanks and Markdown's escapes taken out."""
    return " ".join(text.replace("\\", "").split())


def _shown(line: str, secret: str) -> str:
    return line.replace(secret, f"{secret[:6]}… ({len(secret)} characters)").strip()[:SHOWN]
