"""Chats on disk: one file each, with a line of messages for each model, as training data are."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from tuner_tui.config import paths
from tuner_tui.files import make_folder, write_atomic
from tuner_tui.generation.conversation import Conversation


def chats_dir() -> Path:
    """One file per chat."""
    return paths.data_dir() / "chats"


def new_transcript() -> Path:
    """A file for a chat that begins now; it does not exist yet."""
    name = time.strftime("%Y-%m-%d-%H%M%S")
    numbered = (f"{name}.jsonl", *(f"{name}-{number}.jsonl" for number in range(2, 100)))
    return next(path for path in map(chats_dir().joinpath, numbered) if not path.exists())


def keep_transcript(talk: Conversation, path: Path) -> None:
    """Write a conversation: {"model", "adapter", "messages"} for each candidate. Raises OSError, TunerError."""
    lines = []
    for place, candidate in enumerate(talk.candidates):
        messages = [{"role": turn.role, "content": turn.content} for turn in talk.turns(place)]
        if talk.replies and talk.replies[-1][place].text:
            messages.append({"role": "assistant", "content": talk.replies[-1][place].text})
        lines.append({"model": candidate.base.source, "adapter": candidate.adapter, "messages": messages})
    make_folder(path.parent)
    write_atomic(path, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
