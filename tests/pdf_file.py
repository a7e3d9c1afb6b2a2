"""A PDF file written by hand, so that what its pages say is known."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LINE_POINTS = 14


def write_pdf(path: Path, pages: list[list[str]]) -> None:
    """One page for each list of lines; an empty line leaves a gap. Latin-1 text in Helvetica."""
    write_streams(path, [_stream(lines) for lines in pages])


def write_streams(path: Path, streams: list[bytes], *, is_packed: bool = False) -> None:
    """One page for each content stream."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(streams)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(streams)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, stream in enumerate(streams):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        data = zlib.compress(stream) if is_packed else stream
        how = "/Filter /FlateDecode " if is_packed else ""
        head = f"<< {how}/Length {len(data)} >>\nstream\n".encode()
        objects.append(head + data + b"\nendstream")
    content, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    end += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(content)}\n%%EOF\n"
    path.write_bytes(content + end.encode())


def _stream(lines: list[str]) -> bytes:
    shown = []
    for number, line in enumerate(lines):
        if line:
            escaped = line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
            shown.append(f"BT /F1 11 Tf 50 {800 - LINE_POINTS * number} Td ({escaped}) Tj ET")
    return "\n".join(shown).encode("cp1252")
