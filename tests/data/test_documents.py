"""Text, Markdown and PDF files as rows: paragraphs, joined and split to a size, and what of them is not read."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.pdf_file import write_pdf, write_streams
from tuner_tui.cli import tuner_tui
from tuner_tui.config.settings import set_setting
from tuner_tui.data.checking.checks import check
from tuner_tui.data.files.chunks import chunked, split_text
from tuner_tui.data.files.pdf import paragraphs_of
from tuner_tui.data.files.rows import each_row
from tuner_tui.data.recognition.reading import Reading, plain_rows
from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.data.files.json_rows import Numbered

LONG = "Eight arms hold eight catalogues, and each of them is read from the last page to the first one,"
PAGES = [
    [LONG, "which takes an after-", "noon of low tide.", "", "The second paragraph is short."],
    ["It goes on here, and the sentence that begins on the second page does not", "7"],
    ["8", "end before the third one.", "Thanks (to all)."],
]
PARAGRAPHS = [
    f"{LONG} which takes an afternoon of low tide.",
    "The second paragraph is short.",
    "It goes on here, and the sentence that begins on the second page does not end before the third one. "
    "Thanks (to all).",
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))


def texts(path: Path, **how: Any) -> list[str]:
    return [row["text"] for _, _, row in plain_rows(Reading(path, **how)).strict()]


def test_a_pdf_files_paragraphs_are_rows(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    write_pdf(path, PAGES)
    assert texts(path) == PARAGRAPHS
    assert [found.number for found in each_row(path)] == [1, 2, 3]


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="poppler is not installed")
def test_poppler_reads_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    write_pdf(path, [[line for line in page if not line.isdigit()] for page in PAGES])
    poppler = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout
    assert " ".join(texts(path)).split() == poppler.replace("after-\nnoon", "afternoon").split()


def test_a_pdf_file_is_known_by_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "report"
    write_pdf(path, PAGES)
    assert len(texts(path)) == 3
    (tmp_path / "other.pdf").write_text("just text")
    with pytest.raises(InputError, match=r"other.pdf does not begin like a PDF file"):
        texts(tmp_path / "other.pdf")


def test_chunks_fill_up_to_the_size_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "book.md"
    words = [f"word{number}" for number in range(900)]
    sentences = [" ".join(words[start : start + 9]) + "." for start in range(0, 900, 9)]
    groups = [sentences[0:1], sentences[1:3], sentences[3:60], sentences[60:]]
    path.write_text("\n\n".join(" ".join(group) for group in groups))
    chunks = texts(path, chunk_bytes=500)
    assert " ".join(chunks).split() == path.read_text().split()
    sizes = [len(chunk.encode()) for chunk in chunks]
    assert max(sizes) <= 500
    assert len(sizes) < 1.4 * sum(sizes) / 500
    assert all(chunk.endswith(".") for chunk in chunks)  # between sentences
    assert chunks[0].count("\n\n") == 1  # paragraphs stay apart
    assert texts(path)[:2] == [" ".join(groups[0]), " ".join(groups[1])]


def test_a_chunk_is_numbered_by_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("a" * 90 + "\n\n" + "b" * 90 + "\n\n" + "c" * 90 + "\n\n" + "d" * 90)
    assert [found.number for found in each_row(path, chunk_bytes=200)] == [1, 5]


def test_lines_without_paragraphs_stay_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one\ntwo\nthree\n")
    assert texts(path, chunk_bytes=200) == ["one\ntwo\nthree"]


def test_a_split_is_by_sentences_then_words_then_characters() -> None:
    assert split_text("One two. Three four! Five", 12) == ["One two.", "Three four!", "Five"]
    assert split_text("one two three", 8) == ["one two", "three"]
    assert split_text("äöüäöü", 5) == ["äö", "üä", "öü"]  # two bytes each, never half a letter


def test_a_broken_row_keeps_its_place_among_chunks() -> None:
    fault = InputError("bad", "here")
    rows: list[Numbered] = [(1, {"text": "a"}), (2, fault), (3, {"text": "b"})]
    assert [*chunked(iter(rows), 200)] == rows


def test_a_pages_number_and_hyphens_are_no_text() -> None:
    assert paragraphs_of("12\nA well-\nknown co-\nOp\n\n3\n") == ["A wellknown co- Op"]


def test_pages_without_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "scan.pdf"
    write_pdf(path, [["Some text here."], [], []])
    report = check(Reading(path))
    assert report.not_read == {"scan.pdf: pages without text": "2 of 3 pages"}
    output = CliRunner().invoke(tuner_tui, ["data", "check", str(path)]).output
    assert '"scan.pdf: pages without text" (2 of 3 pages).' in " ".join(output.split())
    assert "--split" not in output
    write_pdf(path, [[], []])
    with pytest.raises(InputError, match="2 pages, and none has text") as caught:
        texts(path)
    assert "OCR" in caught.value.hint


def test_a_folder_of_documents_is_read_whole(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    (folder / "more").mkdir(parents=True)
    (folder / "test-plan.md").write_text("The plan.")
    (folder / "training.md").write_text("The training.")
    write_pdf(folder / "more" / "dev-notes.pdf", [["The notes."]])
    assert sorted(texts(folder)) == ["The notes.", "The plan.", "The training."]
    report = json.loads(CliRunner().invoke(tuner_tui, ["data", "check", str(folder), "--json"]).stdout)
    assert (report["rows"], report["shape"]) == (3, "text")


def test_pdf_files_beside_rows_are_told_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    write_pdf(tmp_path / "paper.pdf", [["A paper."]])
    report = check(Reading(tmp_path))
    assert (report.rows, report.not_read) == (1, {"PDF files beside rows": "1 file"})


def test_the_command_shows_a_chunk(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    write_pdf(path, PAGES)
    arguments = ["data", "show", str(path), "1", "--chunk-bytes", "300", "--json"]
    shown = json.loads(CliRunner().invoke(tuner_tui, arguments).stdout)
    assert shown["row"]["text"] == "\n\n".join(PARAGRAPHS)
    refused = CliRunner().invoke(tuner_tui, ["data", "show", str(path), "1", "--chunk-bytes", "9"])
    assert refused.exit_code == 2 and "--chunk-bytes" in refused.output


def test_an_encrypted_pdf_file_is_refused(tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter

    plain, locked = tmp_path / "plain.pdf", tmp_path / "locked.pdf"
    write_pdf(plain, PAGES)
    writer = PdfWriter(PdfReader(plain))
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(locked)
    with pytest.raises(InputError, match=r"locked.pdf needs a password"):
        texts(locked)
    writer = PdfWriter(PdfReader(plain))
    writer.encrypt("", "owner", algorithm="RC4-128")  # may be read by all, and not be changed
    writer.write(locked)
    assert texts(locked) == PARAGRAPHS


@pytest.mark.parametrize("length", [12, 300, 700])
def test_a_truncated_pdf_file_is_refused_or_read(tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.pdf"
    write_pdf(path, PAGES)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"cut.pdf"):
        texts(path)


def test_a_page_that_unpacks_far_does_not_take_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pdf"
    set_setting("limits.seconds", "1")
    set_setting("limits.memory", "0.4")
    write_streams(path, [b"BT /F1 11 Tf (A) Tj ET\n" * 3_000_000], is_packed=True)
    with pytest.raises(InputError, match=r"bomb.pdf"):
        texts(path)
