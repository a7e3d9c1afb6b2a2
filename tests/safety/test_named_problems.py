"""Problems that name what they are about: pipes among a model's files, a full disk, a settings file, a moved run."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tuner_tui.cli import tuner_tui
from tuner_tui.config.settings import settings_file
from tuner_tui.errors import InputError, TunerError
from tuner_tui.feedback import collections
from tuner_tui.models.check import check_source
from tuner_tui.models.model_folder import weight_files
from tuner_tui.models.source import find_source
from tuner_tui.models.tokenizer_folder import tokenizer_folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "tokenizer_config.json"]
)
@pytest.mark.parametrize("kind", ["pipe", "folder", "socket"])
def test_what_is_no_file_among_a_models_is_said_at_once(
    tiny_model: Path, tmp_path: Path, name: str, kind: str
) -> None:
    import socket

    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    place = model / name
    place.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        short = Path(f"/tmp/f14-{os.getpid()}.sock")
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(short))
        server.close()
        shutil.move(short, place)
    began = time.monotonic()
    with pytest.raises(InputError) as refusal:
        check_source(find_source(str(model)))
    assert f"it is a {kind}, not a file" in refusal.value.message and name in refusal.value.message
    if name == "tokenizer.json":
        with pytest.raises(InputError, match=f"it is a {kind}"):
            tokenizer_folder(str(model))
    if name == "model.safetensors":
        with pytest.raises(InputError, match=f"it is a {kind}"):
            weight_files(model)
    assert time.monotonic() - began < 3


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_collection_on_a_full_disk_names_the_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner_tui.owned.write_atomic", full)
    with pytest.raises(TunerError, match="No space left") as raised:
        collections.open_or_create("evening")
    assert str(home / "data" / "feedback") in raised.value.message and "None" not in raised.value.message


def test_no_message_is_made_of_an_error_without_a_file_name() -> None:
    import tuner_tui

    product = Path(tuner_tui.__file__).parent
    bare = [
        f"{path.name}: {line.strip()}"
        for path in product.rglob("*.py")
        for line in path.read_text().splitlines()
        if "{error.filename}" in line and "if error.filename" not in line
    ]
    assert bare == []


def test_settings_that_are_no_toml_are_told_alike_by_all_commands(home: Path) -> None:
    file = settings_file()
    file.parent.mkdir(parents=True)
    text = "[folders]\n# mine\ndata = [\n"
    file.write_text(text)
    messages = []
    for command in (
        ["config", "list"],
        ["config", "set", "energy.currency", "USD"],
        ["config", "unset", "folders.data"],
    ):
        with pytest.raises(TunerError) as raised:
            CliRunner().invoke(tuner_tui, command, catch_exceptions=False)
        messages.append(raised.value.message)
    assert all(str(file) in message and "\0" not in message and "x00" not in message for message in messages)
    assert len({message.partition(": ")[0] for message in messages}) == 1, messages
    assert file.read_text() == text


async def test_the_banner_ends_its_sentence_once(home: Path) -> None:
    from tests.ui.looking import screen_text, until
    from tuner_tui.ui.app import TunerApp

    settings_file().parent.mkdir(parents=True)
    settings_file().write_text("[folders]\ndata = [\n")
    app = TunerApp()
    async with app.run_test(size=(220, 30)) as pilot:
        await until(pilot, lambda: "shows how to fix it" in " ".join(screen_text(app).split()))
        assert ".. d shows" not in " ".join(screen_text(app).split())
