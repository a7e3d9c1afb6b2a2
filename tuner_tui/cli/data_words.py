"""What `tuner-tui data` prints for people: a report, a row, and its tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tuner_tui.cli.output import fail, fill, plain
from tuner_tui.text import counted

if TYPE_CHECKING:
    from tuner_tui.data.checking.report import DataReport
    from tuner_tui.data.tokens.lengths import LengthReport
    from tuner_tui.data.tokens.microscope import LookReply
    from tuner_tui.errors import InputError

SIGNS = {"error": "error  ", "warning": "warning", "note": "note   "}


def report_lines(file: str, report: DataReport, lengths: LengthReport | None = None) -> list[str]:
    """A report for people."""
    from tuner_tui.data.checking.report import unused_words
    from tuner_tui.data.rows.unused import not_read_words

    layout = report.layout
    lines = [
        f"{plain(file)}: {counted(report.rows, 'row')}, dataset type {layout.shape} ({layout.variant})",
        fill(f"because {layout.reason} (confidence {layout.confidence:.0%})", "  "),
    ]
    lines += [f"  {part} = {plain(template)}" for part, template in layout.mapping.items()]
    if unused := unused_words(report):
        lines.append(fill(plain(unused), "  "))
    if not_read := not_read_words(report.not_read, "--split"):
        lines.append(fill(plain(not_read), "  "))
    if not report.problems:
        lines.append("No problems found.")
    for problem in report.problems:
        row_word = "row" if problem.count == 1 else "rows"
        more = ", ..." if problem.count > len(problem.rows) else ""
        rows = f" ({row_word} {', '.join(problem.rows)}{more})"
        line = f"{problem.count:,} {problem.kind}: {problem.message}{rows if problem.rows else ''}."
        lines.append(fill(f"{SIGNS[problem.level]} {line}", hanging="        "))
        advice = f"{problem.advice}{f' (--fix {problem.fix})' if problem.fix else ''}"
        lines.append(fill(advice, "        "))
    if lengths is not None:
        from tuner_tui.data.tokens.length_picture import length_lines

        lines += ["", *length_lines(lengths)]
    return lines


def row_lines(raw: Any, layout: Any, parsed: Any, problem: InputError | None) -> list[str]:
    """A row as stored and as parsed, or what is wrong with it."""
    lines = [f"{plain(str(raw.file))}:{raw.number}  {layout.shape} ({layout.variant})", ""]
    lines += [
        f"  {plain(str(name))}: {plain(value if isinstance(value, str) else json.dumps(value, default=str))}"
        for name, value in raw.row.items()
    ]
    lines.append("")
    if problem is not None:
        fail(problem)
        return lines
    from tuner_tui.data.rows.content import texts_of, turn_texts, turn_title

    lines.append("read as")
    for part, value in parsed.row.items():
        if isinstance(value, list) and part != "tools":
            lines += [
                f"  {part}: {turn_title(turn)}: {plain(text)}" for turn in value for text in turn_texts(turn)
            ]
        else:
            lines.append(f"  {part}: {plain(str(value))}")
    from tuner_tui.data.checking.scan import suspicions

    kinds = sorted({kind for text in texts_of(parsed.row) for kind in suspicions(text)})
    if kinds:
        lines += ["", f"contains {', '.join(kinds)}"]
    return lines


def token_lines(reply: LookReply) -> list[str]:
    """One token per line: index, id, whether it has loss, and its text."""
    lines = []
    for sequence in reply.sequences:
        dropped = " (dropped before training)" if sequence.is_dropped else ""
        lines += ["", f"{plain(sequence.title)}{dropped}"]
        for place, token in enumerate(sequence.tokens):
            lines.append(f"{place:>6} {token.id:>8} {token.mark:<5}{token.kind:<9}{plain(token.text)}")
        lines.append(f"  {sequence.trained} of {len(sequence.fed)} tokens with loss")
        lines += [fill(f"note: {note}", "  ") for note in sequence.notes]
    if reply.left_out:
        lines += ["", *(fill(f"warning: {plain(words)}", "  ") for words in reply.left_out)]
    return lines
