"""Puts the report together: one Markdown file, short enough for the text of an issue."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.config import paths
from tuner_tui.config.settings import usable_settings
from tuner_tui.hardware.gpu import GpuReport
from tuner_tui.hardware.system import read_system
from tuner_tui.sharing.bug_report.fields import shown_record, shown_version
from tuner_tui.sharing.bug_report.known_texts import KnownTexts, own_texts
from tuner_tui.sharing.bug_report.options import shown_folder, shown_settings
from tuner_tui.sharing.bug_report.run_part import as_lines, run_sections
from tuner_tui.sharing.bug_report.second_net import Private, cleaned, private_here
from tuner_tui.versions import library_versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.hardware.doctor import Check
    from tuner_tui.hardware.torch_report import TorchReport
    from tuner_tui.runs.folder import RunFolder

LONGEST = 60_000
"""Characters; GitHub's issues take 65,536, and the person adds some."""
MOST_LINES, FEWEST_LINES = 200, 8
"""Lines of events, and of the log."""
TERMINALS = re.compile(
    r"(?:xterm|tmux|screen|linux|foot|alacritty|rxvt|wezterm|vt100|dumb|ansi)(?:-(?:256color|kitty|ghostty|unicode|direct))?"
)
PROGRAMS = frozenset(
    {"Apple_Terminal", "iTerm.app", "WezTerm", "vscode", "ghostty", "tmux", "WarpTerminal", "Hyper", "rio"}
)
HEAD = """# Bug report for tuner-tui

**Read all of this before you send it**, and delete what should not be public: it was made without rows, prompts,
answers, names and secrets, but nobody can promise that for every text. `[…]` stands for what was left out.

- What did you do?
- What did you expect?
- What happened?
- Which model, if you may name it?
"""


@dataclass(frozen=True)
class BugReport:
    """A report that is ready to be written."""

    text: str
    holds: tuple[str, ...]
    """The titles of its sections."""
    removed: Counter[str]
    """What the second net took out, and how often."""


def make_report(
    checks: Sequence[Check], gpu: GpuReport, torch: TorchReport | None, run: RunFolder | None
) -> BugReport:
    """The report about this machine and one run, if there is one."""
    texts, private = own_texts(), private_here()
    machine = _machine_sections(checks, gpu, torch, texts)
    lines = MOST_LINES
    while True:
        sections = machine + (run_sections(run, texts, lines) if run is not None else [])
        report = _assembled(sections, private)
        if len(report.text) <= LONGEST or lines <= FEWEST_LINES:
            return report
        lines //= 2


def _assembled(sections: list[tuple[str, str]], private: Private) -> BugReport:
    removed: Counter[str] = Counter()
    parts = [HEAD]
    for title, text in sections:
        result = cleaned(text.replace("```", "'''"), private)
        removed += result.removed
        parts.append(f"## {title}\n\n```text\n{_printable(result.text)}\n```\n")
    return BugReport("\n".join(parts), tuple(title for title, _ in sections), removed)


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


def _machine_sections(
    checks: Sequence[Check], gpu: GpuReport, torch: TorchReport | None, texts: KnownTexts
) -> list[tuple[str, str]]:
    found = "\n".join(json.dumps(shown_record(check, texts), ensure_ascii=False) for check in checks)
    sections = [
        (
            "Versions",
            as_lines({name: shown_version(text) for name, text in library_versions().items()}),
        ),
        ("Platform", as_lines(_platform())),
        ("What doctor finds", found),
        ("Hardware", as_lines(shown_record(gpu, texts) | shown_record(read_system(), texts))),
    ]
    if torch is not None:
        sections.append(("PyTorch", as_lines(shown_record(torch, texts))))
    settings, problem = usable_settings()
    shown = shown_settings(settings) | ({"the file": "it has a problem"} if problem is not None else {})
    return [*sections, ("Settings", as_lines(shown))]


def _platform() -> dict[str, object]:
    """The system, without its name in the network, and the kind of terminal."""
    release = re.match(r"\d+(?:\.\d+)*", platform.release())
    term, program = os.environ.get("TERM", ""), os.environ.get("TERM_PROGRAM", "")
    return {
        "system": platform.system(),
        "release": release[0] if release else "unknown",
        "is WSL": "microsoft" in platform.release().lower(),
        "processor": platform.machine(),
        "C library": " ".join(platform.libc_ver()),
        "encoding": sys.getfilesystemencoding(),
        "terminal": term if TERMINALS.fullmatch(term) else "another" if term else "none",
        "terminal program": program if program in PROGRAMS else "another" if program else "not stated",
        "over SSH": bool(os.environ.get("SSH_CONNECTION")),
        "in tmux": bool(os.environ.get("TMUX")),
        "data folder": shown_folder(paths.data_dir()),
        "cache folder": shown_folder(paths.cache_dir()),
    }
