"""Writing a data set anew in the plain form of a shape; the file that it comes from is never touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui.data.recognition.fields import as_turns
from tuner_tui.data.recognition.reading import plain_rows
from tuner_tui.data.rows.content import asked_and_answers
from tuner_tui.errors import InputError
from tuner_tui.files import replacing

if TYPE_CHECKING:
    from collections import Counter

    from tuner_tui.data.files.json_rows import Row
    from tuner_tui.data.recognition.reading import Reading


def convert_file(
    reading: Reading, target: Path, to: str | None = None, left_out: Counter[str] | None = None
) -> int:
    """Write the rows as JSONL in a shape's plain form; gives how many. Nothing is left behind when it fails.

    `left_out` counts the rows in which no answer is preferred, by reason.
    Raises InputError, naming file and line, for rows that cannot be read or that do not make that shape.
    """
    plain = plain_rows(reading)
    wanted = to or plain.layout.shape
    _require(plain.layout.shape, wanted, reading.path)
    encode = msgspec.json.encode
    count = 0
    with replacing(target, is_private=False) as temporary, temporary.open("wb") as file:
        for _, _, row in plain.strict():
            made = list(converted(row, wanted))
            if not made and left_out is not None:
                left_out["rated as bad"] += 1
            for each in made:
                file.write(encode(each) + b"\n")
            count += len(made)
    if left_out is not None:
        left_out.update(plain.left_out)
    return count


CONVERSIONS: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "instruction", "prompt_completion", "text", "prompts"),
    "instruction": ("messages", "instruction", "prompt_completion", "text", "prompts"),
    "prompt_completion": ("messages", "instruction", "prompt_completion", "text", "prompts"),
    "text": ("text",),
    "preference": ("messages", "instruction", "prompt_completion", "text", "preference", "rated", "prompts"),
    "rated": ("messages", "instruction", "prompt_completion", "text", "rated", "prompts"),
    "prompts": ("prompts",),
}
"""Which shapes can be made of which; of pairs and unpaired preferences the good ones are taken."""


def _require(have: str, wanted: str, path: Path) -> None:
    if wanted not in CONVERSIONS[have]:
        raise InputError(
            "The rows cannot be converted to that dataset type",
            f"{path}: {have} cannot become {wanted}.",
            f"It can become {', '.join(CONVERSIONS[have])}; or map columns manually.",
        )


def converted(row: Row, wanted: str) -> Iterator[Row]:
    """A row in plain form as none, one or (a pair as unpaired preferences) two rows of another shape."""
    if wanted == "preference" or (wanted == "rated" and "label" in row):
        yield row
    elif wanted == "rated":
        prompt, [chosen, rejected] = asked_and_answers(row)
        extra = {name: row[name] for name in ("tools", "chat_template_kwargs") if name in row}
        yield {"prompt": prompt or "", "completion": chosen, "label": True} | extra
        yield {"prompt": prompt or "", "completion": rejected, "label": False} | extra
    elif row.get("label") is not False:
        yield _made(row, wanted)


def _made(row: Row, wanted: str) -> Row:
    if "text" in row:
        return row
    prompt, answer = _prompt_and_answer(row)
    extra: Row = {name: row[name] for name in ("tools", "chat_template_kwargs") if name in row}
    turns = [*as_turns(prompt or [], "user"), *as_turns(answer or [], "assistant")]
    is_plain = not extra and all(len(turn) == 2 for turn in turns)
    match wanted:
        case "prompts":
            return {"prompt": prompt} | (extra if isinstance(prompt, list) else {})
        case "prompt_completion":
            return {"prompt": prompt, "completion": answer} | extra
        case "text" if is_plain:
            return {"text": "\n\n".join(part for part in (_as_text(prompt), _as_text(answer)) if part)}
        case "text":
            raise InputError(
                "The rows contain more than text can hold",
                "Reasoning, tool calls, tools or marks of turns that are not trained would be lost.",
                "Convert to messages or prompt_completion.",
            )
    if (
        wanted == "instruction"
        and is_plain
        and [turn["role"] for turn in turns[-2:]] == ["user", "assistant"]
        and len(turns) <= 3
    ):
        system = {"system": turns[0]["content"]} if len(turns) == 3 else {}
        return {**system, "instruction": turns[-2]["content"], "output": turns[-1]["content"]}
    return {"messages": turns, **extra}


def _prompt_and_answer(row: Row) -> tuple[Any, Any]:
    if "messages" in row:
        turns = row["messages"]
        last = max((n for n, turn in enumerate(turns) if turn["role"] == "assistant"), default=len(turns))
        return turns[:last], turns[last : last + 1]
    prompt, answers = asked_and_answers(row)
    return prompt or "", answers[0] if answers else ""


def _as_text(side: Any) -> str:
    return side if isinstance(side, str) else "\n\n".join(turn["content"] for turn in side)
