"""A folder with a tiny model and small data sets, into which settings of other tools are put."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CONFIGS = Path(__file__).parent / "configs"
FOLDER_FILES = ("adapter_config.json", "training_args.json", "trainer_state.json")
SETTINGS = sorted(
    path.name for path in CONFIGS.iterdir() if path.name not in (*FOLDER_FILES, "dataset_info.json")
)
"""The files of settings, each of which is imported alone."""


def rows_of(make: Callable[[int], dict[str, Any]], count: int = 24) -> str:
    return "".join(json.dumps(make(number)) + "\n" for number in range(count))


def _turns(number: int, role: str, content: str, names: tuple[str, str]) -> list[dict[str, str]]:
    return [
        {role: names[0], content: f"What is {number} plus one?"},
        {role: names[1], content: f"It is {number + 1}, which is easy."},
    ]


DATA: dict[str, Callable[[int], dict[str, Any]]] = {
    "instruction": lambda n: {
        "instruction": f"Add one to {n}.",
        "input": "",
        "output": f"That gives {n + 1}.",
    },
    "poems": lambda n: {"instruction": f"Write line {n}.", "output": f"The sea has {n} waves tonight."},
    "sharegpt": lambda n: {"conversations": _turns(n, "from", "value", ("human", "gpt"))},
    "sharegpt_held": lambda n: {"conversations": _turns(n + 500, "from", "value", ("human", "gpt"))},
    "chat": lambda n: {"messages": _turns(n, "role", "content", ("user", "assistant"))},
    "stories": lambda n: {"story": f"Once there were {n} octopuses in a library, and they read."},
    "stories_text": lambda n: {"text": f"Once there were {n} octopuses in a library, and they read."},
    "orca": lambda n: {
        "system": "Be short.",
        "question": f"What is {n} plus one?",
        "chosen": f"{n + 1}.",
        "rejected": f"I believe it may be {n}.",
    },
    "pairs": lambda n: {"ask": f"Add one to {n}.", "better": f"{n + 1} it is.", "worse": f"{n} it is."},
    "pairs_plain": lambda n: {"prompt": f"Add one to {n}.", "chosen": f"{n + 1} it is.", "rejected": f"{n}?"},
    "pairs_more": lambda n: {"prompt": f"Add two to {n}.", "chosen": f"{n + 2} it is.", "rejected": f"{n}?"},
    "thumbs": lambda n: {"ask": f"Add one to {n}.", "reply": f"{n + n % 2}", "good": n % 2 == 1},
}


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with models/tiny and data/*.jsonl."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to(tiny_model)
    (tmp_path / "data").mkdir()
    for name, make in DATA.items():
        (tmp_path / "data" / f"{name}.jsonl").write_text(rows_of(make))
    shutil.copy(CONFIGS / "dataset_info.json", tmp_path / "data")
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
