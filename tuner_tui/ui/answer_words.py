"""Answers as shown on screen: in full, literal, with empty ones named, and differences on request."""

from __future__ import annotations

import difflib
import re

from textual.content import Content

from tuner_tui.text import plain_lines
from tuner_tui.ui.widgets.literal import literal_lines

MOST_COMPARED_WORDS = 4000
_WORDS = re.compile(r"\s+|\S+")


def answer_content(text: str, ending: str = "", against: str | None = None) -> Content:
    """An answer, and why it ended where it did not end by itself; `against`: words only this one has stand out."""
    if not text.strip():
        text_shown = f"(only whitespace: {len(text)} characters)" if text else "(an empty answer)"
        body = Content.styled(text_shown, "$warning italic")
    elif against is not None:
        body = _marked(plain_lines(text), plain_lines(against))
    else:
        body = literal_lines(text.rstrip())
    return Content.assemble(body, Content.styled(f" [{ending}]", "$faint")) if ending else body


def _marked(text: str, against: str) -> Content:
    words, others = _WORDS.findall(text), _WORDS.findall(against)
    if max(len(words), len(others)) > MOST_COMPARED_WORDS:
        return Content(text)
    parts: list[Content] = []
    matcher = difflib.SequenceMatcher(None, others, words, autojunk=False)
    for operation, _, _, begin, end in matcher.get_opcodes():
        phrase = "".join(words[begin:end])
        if phrase:
            parts.append(Content(phrase) if operation == "equal" else Content.styled(phrase, "$accent bold"))
    return Content("").join(parts)
