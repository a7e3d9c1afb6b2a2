"""`python -m tuner_tui.data.files.pdf_child`: reads the text of a PDF file in a limited child, page by page."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.errors import InputError
from tuner_tui.limited.serving import Watch, serve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pypdf import PdfReader

LOCKED = "The PDF file is encrypted"


class ReadPdf(msgspec.Struct):
    """Read a file's pages; each answer is the text of one page."""

    path: str


class _Child:
    def handle(self, request: bytes, watch: Watch) -> Iterable[bytes]:
        path = msgspec.msgpack.decode(request, type=ReadPdf).path
        with watch.step(path):
            reader = _opened(path)
            count = len(reader.pages)
        for number in range(count):
            with watch.step(f"{path}, page {number + 1},", number + 1):
                text = reader.pages[number].extract_text()
                data = msgspec.msgpack.encode(text.encode("utf-8", "replace").decode())
            yield data


def _opened(path: str) -> PdfReader:
    """The file, without a password. Raises InputError where it needs one."""
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    reader = PdfReader(path)
    try:
        is_open = not reader.is_encrypted or bool(reader.decrypt(""))
    except (DependencyError, NotImplementedError):  # a cipher of a package that is not installed
        is_open = False
    if not is_open:
        raise InputError(LOCKED, f"{path} needs a password.", "Save a copy without one, and name that.")
    return reader


if __name__ == "__main__":
    serve(_Child().handle, sys.argv[1:])
