"""Which format a data file has: by its first bytes, and by its name where those leave it open."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import msgspec

from tuner_tui.data.files.opened import HEAD_BYTES, open_bytes, open_utf8, require_file
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

Format = Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow", "text", "pdf"]
SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv",
    ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
    ".txt": "text", ".text": "text", ".md": "text", ".markdown": "text", ".pdf": "pdf",
}  # fmt: skip
_ARTICLES = {"parquet": "a Parquet", "arrow": "an Arrow", "pdf": "a PDF"}
_SPLITS = re.compile(
    rb'\{\s*"(?:train|training|test|valid|validation|dev|eval|data|rows|examples|items)\w*"\s*:\s*\[\s*[{\]]'
)
"""How an object of splits, each an array of rows, begins."""
BESIDE_ROWS, WITHOUT_TEXT = "PDF files beside rows", "pages without text"
"""What is not read of documents, as `not_read` names it."""
PDF_MAGIC = b"%PDF-"
PDF_HEAD_BYTES = 1024
"""How far from its beginning a PDF file may say that it is one."""
DOCUMENTS: tuple[Format, ...] = ("text", "pdf")
"""Formats that hold text and no rows of columns."""
PACKED_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")


def format_by_name(path: Path) -> Format | None:
    """What a file's name says; `.gz` and `.zst` are looked through."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED_SUFFIXES:
        suffixes.pop()
    return SUFFIXES.get(suffixes[-1]) if suffixes else None


def is_data_name(path: Path) -> bool:
    """Whether a name is that of a data file, by which a folder is searched; READMEs and similar files are not."""
    return format_by_name(path) is not None and path.stem.lower() not in ("readme", "license", "licence")


def format_of(path: Path, encoding: str | None = None) -> Format:
    """A file's format. Raises InputError for one that cannot be read or that nothing fits, or OSError."""
    require_file(path)
    with open_bytes(path) as file:
        head = file.read(PDF_HEAD_BYTES)
    magic = head[:6]
    if magic[:4] == b"PAR1":
        return "parquet"
    if magic == b"ARROW1" or magic[:4] == b"\xff\xff\xff\xff":
        return "arrow"
    named = format_by_name(path)
    if magic[:5] == PDF_MAGIC or (named == "pdf" and PDF_MAGIC in head):
        return "pdf"
    if named in ("parquet", "arrow", "pdf"):
        raise InputError(
            "The contents do not match the file name",
            f"{path} does not begin like {_ARTICLES[named]} file.",
            "Download it again: it may be truncated, or a pointer to the real file.",
        )
    if named in ("csv", "tsv", "text"):
        return named
    with open_utf8(path, encoding) as file:
        head = file.read(HEAD_BYTES)
    json_format = _json_kind(head)
    if json_format is not None:
        return json_format
    if named is None:
        raise InputError(
            "Unknown format",
            f"{path} is neither JSON, JSONL, CSV, TSV, Parquet, Arrow, PDF nor text by name or beginning.",
            "Give it an extension such as .jsonl, .csv or .txt.",
        )
    return named


def _json_kind(head: bytes) -> Literal["json", "jsonl"] | None:
    """JSON of one value, or of one value a line; None when it begins like neither."""
    text = head.lstrip()
    if text[:1] == b"[":
        first = text.split(b"\n", 1)[0]
        return "jsonl" if b"\n" in text and _is_whole(first) and _next(text)[:1] == b"[" else "json"
    if text[:1] != b"{":
        return None
    if _SPLITS.match(text):
        return "json"
    first, _, rest = text.partition(b"\n")
    if _is_whole(first):
        return "jsonl"
    if not rest:
        return "jsonl"  # one long line
    return "json" if _begins_pretty(first) else "jsonl"


def _begins_pretty(line: bytes) -> bool:
    """Whether a line opens an object or a list that continues below."""
    return line.rstrip()[-1:] in (b"{", b"[", b",")


def _is_whole(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True


def _next(text: bytes) -> bytes:
    return text.partition(b"\n")[2].lstrip()
