"""`tuner-tui feedback` and `chat` from scripts: what is printed, what is refused, and how."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
ROWS = (
    '{"prompt": "Why?", "chosen": "good", "rejected": "bad"}\n'
    '{"prompt": "Who?", "answers": ["one", "two"]}\n'
    '{"prompt": "Where?"}\n'
)


@pytest.fixture
def tuner(tmp_path: Path) -> Command:
    """Runs the command in an empty home of its own."""
    (tmp_path / "rows.jsonl").write_text(ROWS)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tuner_tui", *arguments],
            env=os.environ | {"TUNER_TUI_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


def test_from_import_to_export(tuner: Command, tmp_path: Path) -> None:
    assert json.loads(tuner("feedback", "list", "--json").stdout) == []
    done = tuner("feedback", "import", "evening", "rows.jsonl")
    assert done.stdout.startswith("3 items: 1 annotated, 1 to annotate, 1 prompt without answers"), (
        done.stderr
    )
    added = tuner(
        "feedback", "add", "evening", "--prompt", "How?", "--answer", "a", "--answer", "b", "--choose", "2"
    )
    assert added.stdout.strip() == "item 4; 2 saved", added.stderr
    (listed,) = json.loads(tuner("feedback", "list", "--json").stdout)
    assert (listed["name"], listed["judged"], listed["left"], listed["waiting"]) == ("evening", 2, 1, 1)
    stats = json.loads(tuner("feedback", "stats", "evening", "--json").stdout)
    assert (stats["judged"], stats["imported"], stats["position"]["bias"]) == (1, 1, "too few")
    assert "first position chosen" in tuner("feedback", "stats", "evening").stdout
    done = tuner("feedback", "export", "evening", "--out", "out.jsonl")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["chosen"][0]["content"] for row in rows] == ["good", "b"]
    assert [row["rater_kind"] for row in rows] == ["import", "person"]
    assert (tmp_path / "out.card.md").read_text().startswith("---\n")
    again = tuner("feedback", "export", "evening", "--out", "out.jsonl")
    assert again.returncode == 2
    assert "--force" in again.stderr
    only = tuner("feedback", "export", "evening", "--out", "out.jsonl", "--force", "--person-only")
    assert "1 row (pairs)" in only.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("feedback", "stats", "nothing"), 3, "No such collection"),
        (("feedback", "import", "a/b", "rows.jsonl"), 2, "Not a collection's name"),
        (("feedback", "import", "new", "missing.jsonl"), 3, "missing.jsonl"),
        (("feedback", "export", "nothing", "--out", "x.csv"), 2, ".parquet"),
        (
            ("feedback", "add", "new", "--prompt", "Why?", "--answer", "a", "--choose", "2"),
            2,
            "No such answer",
        ),
        (("feedback", "add", "new", "--prompt", " "), 2, "empty"),
        (("feedback", "restore", "nothing"), 3, "no good copy"),
        (("feedback", "collect", "new", "--side", "/nowhere"), 3, "/nowhere"),
        (("feedback", "collect", "new"), 1, "No terminal"),
        (("feedback", "judge", "nothing", "--model", "m", "--server", "localhost"), 2, "address"),
        (("chat",), 2, "No model to chat with"),
        (("chat", "demo+nothing", "--prompt", "x"), 3, "nothing"),
        (("train", "run.toml"), 3, "run.toml"),
    ],
)
def test_what_is_refused(tuner: Command, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = tuner(*arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert words in " ".join(done.stderr.split())


def test_a_refused_import_makes_no_collection(tuner: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"prompt": "x"}\n{"y": 1}\n')
    done = tuner("feedback", "import", "evening", "bad.jsonl")
    assert done.returncode == 2
    assert "bad.jsonl:2" in done.stderr
    assert json.loads(tuner("feedback", "list", "--json").stdout) == []
