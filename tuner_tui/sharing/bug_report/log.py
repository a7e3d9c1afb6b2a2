"""The last lines of a worker's log: places in public source files, known exceptions, and texts of the source."""

from __future__ import annotations

import builtins
import re
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.guarded import Unreadable
from tuner_tui.sharing.bug_report.known_texts import (
    HIDDEN,
    LARGEST_SOURCE,
    PACKAGE,
    KnownTexts,
    texts_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

LIBRARY_FOLDERS = frozenset(
    [
        "accelerate",
        "bitsandbytes",
        "click",
        "datasets",
        "gguf",
        "huggingface_hub",
        "httpx",
        "jinja2",
        "liger_kernel",
        "msgspec",
        "numpy",
        "packaging",
        "peft",
        "psutil",
        "pyarrow",
        "pydantic",
        "rich",
        "safetensors",
        "textual",
        "tokenizers",
        "tomlkit",
        "torch",
        "transformers",
        "triton",
        "trl",
    ]
)
"""Public libraries whose places and messages may leave."""
FRAME = re.compile(r'\s*File "(?P<path>[^"]+)", line (?P<line>\d{1,6})(?:,? in (?P<name>[\w<>.]{1,80}))?')
WARNING = re.compile(r"(?P<path>/.+\.py):(?P<line>\d{1,6}): (?P<kind>\w{1,60}): ?(?P<text>.*)")
ENDING = re.compile(r"(?P<kind>[A-Za-z_][\w.]{1,120})(?:: (?P<text>.*))?")
HEADS = (
    "Traceback (most recent call last):",
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
    "Current thread's C stack trace (most recent call first):",
)
EXCEPTIONS = frozenset(
    [
        name
        for name, kind in vars(builtins).items()
        if isinstance(kind, type) and issubclass(kind, BaseException)
    ]
    + [
        "OutOfMemoryError",
        "AcceleratorError",
        "SafetensorError",
        "TemplateError",
        "UndefinedError",
        "TemplateSyntaxError",
        "HfHubHTTPError",
        "RepositoryNotFoundError",
        "GatedRepoError",
        "LocalEntryNotFoundError",
        "ValidationError",
        "HFValidationError",
        "ArrowInvalid",
        "JSONDecodeError",
        "ReadTimeout",
        "ConnectTimeout",
        "ConnectError",
    ]
)


def shown_log(lines: Iterable[str], texts: KnownTexts) -> list[str]:
    """The lines that may leave; how many others stood between them is stated."""
    shown: list[str] = []
    left_out = 0
    sources = [texts]
    for line in lines:
        frame = FRAME.fullmatch(line)
        if line.strip() in HEADS:
            sources = [texts]
            public: str | None = line.strip()
        elif frame is not None:
            public, source = _frame(frame)
            if source is not None:
                sources.append(texts_of(source))
        else:
            public = _other_line(line, sources)
        if public is None:
            left_out += 1
            continue
        if left_out:
            shown.append(_left_out(left_out))
            left_out = 0
        shown.append(public)
    return [*shown, _left_out(left_out)] if left_out else shown


def _left_out(count: int) -> str:
    return f"[{count} line{'s' if count > 1 else ''} not shown]"


def _frame(match: re.Match[str]) -> tuple[str, Path | None]:
    place = public_place(match["path"])
    if place is None:
        return f'  File "{HIDDEN}", line {match["line"]}', None
    name, source = place
    function = match["name"]
    is_public = function == "<module>" or (function and f"def {function}(" in _text_of(source))
    return f'  File "{name}", line {match["line"]}' + (f", in {function}" if is_public else ""), source


def _other_line(line: str, sources: list[KnownTexts]) -> str | None:
    if match := WARNING.fullmatch(line):
        place = public_place(match["path"])
        if place is not None and _is_exception(match["kind"], sources):
            return f"{place[0]}:{match['line']}: {match['kind']}: {texts_of(place[1]).shown(match['text'])}".rstrip()
        return None
    match = ENDING.fullmatch(line)
    if match and _is_exception(match["kind"], sources):
        kind = match["kind"].rpartition(".")[2]
        return f"{kind}: {_message(match['text'], sources)}" if match["text"] else kind
    return sources[0].shown(line) if line.strip() and sources[0].knows(line) else None


def _message(text: str, sources: list[KnownTexts]) -> str:
    """What the file that raised it says of a message, else the files that called it."""
    known = next((source for source in reversed(sources) if source.knows(text)), sources[0])
    return known.shown(text)


def _is_exception(kind: str, sources: list[KnownTexts]) -> bool:
    name = kind.rpartition(".")[2]
    return name in EXCEPTIONS or any(name in source.classes for source in sources)


def public_place(path: str) -> tuple[str, Path] | None:
    """A source file's name without the folders of this machine, and the file here.

    None unless it is a file of this package, of a public library or of Python that is installed here as well.
    """
    parts = Path(path).parts
    if ".." in parts or not path.endswith(".py"):
        return None
    for at in range(len(parts) - 1, 0, -1):
        inner = Path(*parts[at:])
        if parts[at] == PACKAGE.name and (PACKAGE.parent / inner).is_file():
            return inner.as_posix(), PACKAGE.parent / inner
        if parts[at - 1] in ("site-packages", "dist-packages") and parts[at] in LIBRARY_FOLDERS:
            folders = (Path(entry) / inner for entry in sys.path if entry)
            return next(((inner.as_posix(), file) for file in folders if file.is_file()), None)
        if (
            re.fullmatch(r"python3\.\d+", parts[at - 1])
            and parts[at].removesuffix(".py") in sys.stdlib_module_names
        ):
            file = Path(sysconfig.get_path("stdlib")) / inner
            return (inner.as_posix(), file) if file.is_file() else None
    return None


def _text_of(source: Path) -> str:
    try:
        return guarded.read_text(source, LARGEST_SOURCE, errors="replace")
    except Unreadable:
        return ""
