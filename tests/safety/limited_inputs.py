"""Files that take minutes or gigabytes to read, all of them harmless and made here."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from tuner_tui.config.settings import set_setting

if TYPE_CHECKING:
    from pathlib import Path

SLOW_TEMPLATE = (
    "{% for a in range(30000) %}{% for b in range(30000) %}{% endfor %}{% endfor %}"
    "{% for message in messages %}{{ message['content'] }}<|im_end|>{% endfor %}"
)
"""Nested loops of some minutes that write nothing."""
BIG_TEMPLATE = "{% set text = 'x' * 2000000000 %}{{ text | length }}"
"""Two gigabytes of text."""
SECONDS, MEMORY_GB = 1.0, 0.6


def lower_limits() -> None:
    """Limits that the inputs here meet soon."""
    set_setting("limits.seconds", str(SECONDS))
    set_setting("limits.memory", str(MEMORY_GB))


def model_with(model: Path, folder: Path, template: str) -> Path:
    """A copy of a model with another chat template."""
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


def write_rows(path: Path, count: int = 8) -> Path:
    """Conversations of one exchange."""
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
    path.write_text(f"{json.dumps({'messages': turns})}\n" * count)
    return path


def write_unpacking_parquet(path: Path, characters: int = 300_000_000) -> Path:
    """A file of a few kilobytes whose only value is a text of that many characters."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"text": pa.array(["0" * characters, "short"], pa.large_string())})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    return path
