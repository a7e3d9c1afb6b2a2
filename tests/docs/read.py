"""Reads the project's Markdown: its blocks of code, inline code, links and the anchors of headings."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from mdit_py_plugins.anchors import anchors_plugin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "findings").glob("*.md")])
COMMAND = "tuner-tui"


@dataclass(frozen=True)
class Code:
    """A block of code, or a piece of inline code."""

    page: Path
    line: int
    language: str
    """Of a block, such as sh; empty for inline code."""
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def _tokens(page: Path) -> list[Token]:
    return (
        MarkdownIt("gfm-like", {"linkify": False})
        .use(anchors_plugin, max_level=6)
        .parse(page.read_text("utf-8"))
    )


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, by GitHub's rule."""
    return {str(token.attrs["id"]) for token in _tokens(page) if token.type == "heading_open"}


def links(page: Path) -> Iterator[tuple[int, str]]:
    """(line, target) of every link and picture."""
    for token in _tokens(page):
        for inner in token.children or []:
            target = inner.attrs.get("href") or inner.attrs.get("src")
            if target:
                yield (token.map or [0])[0] + 1, str(target)


def code_in(page: Path) -> Iterator[Code]:
    """Every block of code and every piece of inline code."""
    for token in _tokens(page):
        line = (token.map or [0])[0] + 1
        if token.type in ("fence", "code_block"):
            yield Code(page, line, token.info.strip() or "text", token.content)
        for inner in token.children or []:
            if inner.type == "code_inline":
                yield Code(page, line, "", inner.content)


def shell_lines(text: str) -> list[str]:
    """The commands of a block of shell, each on a line; texts that a command reads (<<'END') belong to it."""
    commands: list[str] = []
    end: str | None = None
    for line in text.splitlines():
        if end is not None:
            commands[-1] += f"\n{line}"
            end = None if line == end else end
        elif line.strip():
            commands.append(line)
            match = re.search(r"<<'(\w+)'", line)
            end = match[1] if match else None
    return commands


def our_words(command: str) -> Iterator[list[str]]:
    """The words behind `tuner-tui` of each call of it in a line of shell, without comments."""
    lexer = shlex.shlex(command.splitlines()[0], posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    call: list[str] | None = None
    for word in lexer:
        if set(word) <= set("|&;"):
            if call is not None:
                yield call
            call = None
        elif call is not None:
            call.append(word)
        elif word.rpartition("/")[2] == COMMAND:
            call = []
    if call is not None:
        yield call
