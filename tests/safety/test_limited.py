"""Chat templates, tokenizers and tables of strangers are read in a child with bounded time and memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.safety.limited_inputs import (
    BIG_TEMPLATE,
    SLOW_TEMPLATE,
    lower_limits,
    model_with,
    write_rows,
    write_unpacking_parquet,
)
from tests.tiny_model import CHAT_TEMPLATE
from tuner_tui.config.settings import set_setting
from tuner_tui.data.files.rows import read_rows
from tuner_tui.data.tokens.lengths import measure
from tuner_tui.data.tokens.template import ModelText, load_model_text
from tuner_tui.errors import InputError
from tuner_tui.limited.limits import LimitReached, Limits
from tuner_tui.limited.process import ChildEnded, Children, LimitedProcess
from tuner_tui.models.adapter import read_adapter
from tuner_tui.models.check import check_source
from tuner_tui.models.facts import read_facts
from tuner_tui.models.gguf_header import read_gguf
from tuner_tui.models.model_folder import read_json
from tuner_tui.models.safetensors_header import read_safetensors
from tuner_tui.models.source import find_source
from tuner_tui.python import python_command
from tuner_tui.ui.background import in_background

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 60
ROW = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with low limits."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    lower_limits()
    return tmp_path / "home"


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """One of our commands in a process of its own."""
    return subprocess.run(
        python_command("tuner_tui", *arguments),
        cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("template", "setting"), [(SLOW_TEMPLATE, "limits.seconds"), (BIG_TEMPLATE, "limits.memory")]
)
def test_a_template_without_an_end_or_measure_is_an_error(
    tmp_path: Path, tiny_model: Path, template: str, setting: str
) -> None:
    model = model_with(tiny_model, tmp_path / "model", template)
    with load_model_text(model) as text, pytest.raises(LimitReached) as raised:
        measure([ROW], text)
    assert str(model / "chat_template.jinja") in raised.value.message
    assert setting in raised.value.message and f"config set {setting}" in raised.value.hint


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "check", "rows.jsonl", "--model", "model"),
        ("estimate", "model", "--data", "rows.jsonl"),
    ],
)
def test_commands_end_with_the_error(tmp_path: Path, tiny_model: Path, arguments: tuple[str, ...]) -> None:
    model_with(tiny_model, tmp_path / "model", SLOW_TEMPLATE)
    write_rows(tmp_path / "rows.jsonl")
    ended = command(*arguments, cwd=tmp_path)
    assert ended.returncode == 2, ended
    assert "chat_template.jinja" in ended.stderr and "limits.seconds" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_child_is_asked_again_after_a_limit(tmp_path: Path, tiny_model: Path) -> None:
    template = "{% if messages[0]['content'] == 'slow' %}" + SLOW_TEMPLATE + "{% endif %}" + CHAT_TEMPLATE
    with load_model_text(model_with(tiny_model, tmp_path / "model", template)) as text:
        with pytest.raises(LimitReached):
            text.render([{"role": "user", "content": "slow"}])
        assert "Who?" in text.render([{"role": "user", "content": "Who?"}])


def test_a_parquet_file_that_unpacks_far_is_an_error(tmp_path: Path) -> None:
    path = write_unpacking_parquet(tmp_path / "rows.parquet")
    assert path.stat().st_size < 1 << 20
    before = psutil.Process().memory_info().rss
    with pytest.raises(InputError) as raised:
        list(read_rows(path))
    assert str(path) in raised.value.message
    assert raised.value.title == "Reading needs too much memory"
    assert psutil.Process().memory_info().rss - before < 100 << 20


def test_a_shared_value_of_many_rows_is_not_multiplied_here(tmp_path: Path) -> None:
    import pyarrow as pa

    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["0" * 5_000_000]))
    table = pa.table({"text": shared})
    path = tmp_path / "rows.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    before = psutil.Process().memory_info().rss
    with pytest.raises(InputError, match=r"rows\.arrow"):
        for _ in read_rows(path):
            pass
    assert psutil.Process().memory_info().rss - before < 300 << 20


def test_types_of_a_table_come_through_as_they_were(tmp_path: Path) -> None:
    import datetime
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow.feather import write_feather

    rows = [
        {
            "text": f"row {number}", "when": datetime.datetime(2026, 1, 2, 3, 4, 5), "cost": decimal.Decimal("1.50"),
            "raw": b"\x00\xff", "kind": "a", "nested": {"list": [1, None, 3]}, "nothing": None,
        }
        for number in range(3000)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows)
    place = table.column_names.index("kind")
    table = table.set_column(place, "kind", table["kind"].dictionary_encode())
    for name, write in (("rows.parquet", pq.write_table), ("rows.arrow", write_feather)):
        write(table, str(tmp_path / name))
        assert [row for _, row in read_rows(tmp_path / name)] == rows


def test_a_tokenizer_beyond_the_memory_limit_is_an_error(tmp_path: Path, tiny_model: Path) -> None:
    model = model_with(tiny_model, tmp_path / "model", CHAT_TEMPLATE)
    set_setting("limits.memory", "0.1")
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {f"{number:040}": number + 1000 for number in range(300_000)}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(LimitReached) as raised:
        load_model_text(model)
    assert str(model / "tokenizer.json") in raised.value.message


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("tokenizer.json", "tokenizer.json"),
        ("tokenizer_config.json", None),  # what is needed stands in the other two files
        ("chat_template.jinja", r"chat_template\.jinja: .*pipe"),
    ],
)
def test_a_pipe_in_the_place_of_a_models_file_does_not_hang(
    tmp_path: Path, tiny_model: Path, name: str, problem: str | None
) -> None:
    model = model_with(tiny_model, tmp_path / "model", CHAT_TEMPLATE)
    (model / name).unlink()
    os.mkfifo(model / name)
    started = time.monotonic()
    refused = pytest.raises(InputError, match=problem) if problem else contextlib.nullcontext()
    with refused, load_model_text(model) as text:
        measure([ROW], text)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "bytes"])
def test_a_chat_template_that_cannot_be_read_is_not_told_as_none(
    tmp_path: Path, tiny_model: Path, kind: str
) -> None:
    model = model_with(tiny_model, tmp_path / "model", CHAT_TEMPLATE)
    template = model / "chat_template.jinja"
    template.unlink()
    match kind:
        case "pipe":
            os.mkfifo(template)
        case "device":
            template.symlink_to("/dev/zero")
        case "folder":
            template.mkdir()
        case "bytes":
            template.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError) as refused, load_model_text(model) as text:
        measure([ROW], text)
    assert str(template) in refused.value.message
    source = find_source(str(model))
    for read in () if kind == "bytes" else (read_facts, check_source):  # those do not read it as text
        with pytest.raises(InputError) as refused:
            read(source)
        assert str(template) in refused.value.message


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.json", read_json),
        ("adapter_config.json", lambda path: read_adapter(path.parent)),
        ("model.safetensors", read_safetensors),
        ("model.gguf", read_gguf),
        ("rows.jsonl", lambda path: list(read_rows(path))),
    ],
)
def test_a_pipe_is_refused_at_once(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="pipe") as raised:
        read(tmp_path / name)
    assert name in raised.value.message


def test_a_gguf_header_without_an_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 1 << 30))
    with path.open("r+b") as file:
        file.truncate(2 << 30)  # a hole: takes no disk
    with pytest.raises(InputError, match="longer than 200 MB"):
        read_gguf(path)


def test_a_csv_file_of_separators_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a" + "," * 20_000 + "\nb\n")
    with pytest.raises(InputError, match=r"rows\.csv:1: 20,001"):
        list(read_rows(path))


def test_a_silent_child_is_killed() -> None:
    limits = Limits(seconds=-1.3)  # one second without an answer
    child = LimitedProcess("tests.safety.silent_child", "a file", limits)
    child._has_answered = True
    with pytest.raises(LimitReached, match="a file"):
        list(child.ask(b"x"))
    child.close()
    assert child._process.returncode is not None


def test_what_a_task_began_ends_with_it(tmp_path: Path, tiny_model: Path) -> None:
    model = model_with(tiny_model, tmp_path / "model", CHAT_TEMPLATE)
    children = Children()
    text = children.call(lambda: load_model_text(model))
    children.end()
    with pytest.raises(ChildEnded):
        text.render(ROW["messages"])
    text.close()


async def test_who_is_cancelled_ends_the_child(tmp_path: Path, tiny_model: Path) -> None:
    model = model_with(tiny_model, tmp_path / "model", SLOW_TEMPLATE)
    set_setting("limits.seconds", "60")
    started: list[ModelText] = []

    def look() -> None:
        started.append(load_model_text(model))
        started[0].render(ROW["messages"])

    waiting = asyncio.create_task(in_background(look))
    while not started:
        await asyncio.sleep(0.05)
    child = psutil.Process(started[0]._child._process.pid)
    await asyncio.sleep(0.5)
    waiting.cancel()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, [child], timeout=10)
    assert gone and not alive


def test_no_child_outlives_a_killed_parent(tmp_path: Path, tiny_model: Path) -> None:
    model = model_with(tiny_model, tmp_path / "model", SLOW_TEMPLATE)
    program = (
        "import sys; from pathlib import Path; from tuner_tui.data.tokens.template import load_model_text\n"
        "text = load_model_text(Path(sys.argv[1])); print(text._child._process.pid, flush=True)\n"
        f"text.render({ROW['messages']!r})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(model)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([child], timeout=10)
    state = child.status() if child.is_running() else "gone"
    assert state in ("gone", psutil.STATUS_ZOMBIE)
