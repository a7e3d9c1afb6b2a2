"""Received runs are data: no string of theirs becomes code, a pip option, a link, or a shell's command."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tuner_tui
from tests.worker.runs import write_rows
from tuner_tui.config.spec import RunSpec
from tuner_tui.errors import InputError
from tuner_tui.models.source import find_source
from tuner_tui.planning.plan import Choice, decode_plan, make_plan
from tuner_tui.runs.create import create_run
from tuner_tui.runs.events import (
    ChoicesMade,
    Event,
    ModelLoaded,
    RunFailed,
    RunFinished,
    RunStarted,
    Warned,
    encode,
)
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.report import write_report
from tuner_tui.sharing.archive import write_archive
from tuner_tui.sharing.card import CardForm, CardOptions, make_card
from tuner_tui.sharing.run_facts import RunFacts, read_facts
from tuner_tui.sharing.train_script import requirements, script
from tuner_tui.text import markdown, quoted, shell_command, shell_line

SOURCES = Path(tuner_tui.__file__).parent
NASTY = (
    'x"""\nimport os; os._exit(3)\n"""',
    "x'''\\",
    "$(touch pwned)",
    "`touch pwned`; rm -rf ~",
    "-rf",
    "a b'c\"d",
    "line\nbreak\r\x1b[31m",
    "{name} %s \\N{DIGIT ONE} \\",
    "# comment\nprint(1)",
    "\U0001f419 ü \udcff",
)


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A finished run, as far as its files tell."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    rows = write_rows(tmp_path / "rows.jsonl")
    wanted = {"model": {"source": str(tiny_model)}, "data": {"train": str(rows)}, "machine": {"threads": 1}}
    spec = RunSpec.model_validate(wanted)
    folder = create_run(spec, make_plan(spec, find_source(spec.model.source)))
    folder.adapter.mkdir()
    (folder.adapter / "adapter_config.json").write_text(
        '{"r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}'
    )
    write_events(folder)
    return folder


def write_events(folder: RunFolder, version: str = "2.9.0+cu128", **model: Any) -> None:
    loaded: dict[str, Any] = {
        "source": "model",
        "precision": "fp32",
        "device": "cpu",
        "parameters": 1,
        "trainable_parameters": 1,
        "memory_bytes": 1,
        "seconds": 1.0,
    } | model
    events: tuple[Event, ...] = (
        RunStarted(protocol=1, versions={"torch": version, "peft": "0.21.2"}),
        ChoicesMade(choices=(Choice(name="arithmetic", value="fp32", reason="as the precision"),)),
        ModelLoaded(**loaded),
        RunFinished(step=1, loss=1.0, seconds=1.0),
    )
    folder.events.write_bytes(b"".join(encode(event) for event in events))


def named(facts: RunFacts, name: str) -> RunFacts:
    class Named(RunFolder):
        @property
        def name(self) -> str:
            return name

    return replace(facts, folder=Named(facts.folder.path))


@pytest.mark.parametrize("text", NASTY)
def test_a_script_holds_foreign_text_only_as_literals(run: RunFolder, text: str) -> None:
    facts = named(read_facts(run), text)
    honest = ast.dump(ast.parse(script(read_facts(run))))
    plan = replace_plan(facts, text)
    for received in (plan, replace(facts, base_name=text)):
        written = script(received)
        written.encode()
        tree = ast.parse(written)
        told = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id in ("RUN", "BASE")
        }
        assert told["RUN"] == text
        assert text in (told["BASE"], text)
        assert len(tree.body) == len(ast.parse(script(read_facts(run))).body)
    assert honest == ast.dump(ast.parse(script(read_facts(run))))


def replace_plan(facts: RunFacts, text: str) -> RunFacts:
    import msgspec

    changed = msgspec.structs.replace(facts.plan, model_location=text, model_name=text, revision=text)
    return replace(facts, plan=changed)


@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("2.9.0+cu128", "torch==2.9.0"),
        (
            "2.9.0\n--index-url https://example.invalid",
            "torch  # the run names no version that can be installed",
        ),
        ("2.9.0 ; import os", "torch  # the run names no version that can be installed"),
        ("@ https://example.invalid/x.whl", "torch  # the run names no version that can be installed"),
        ("", "torch  # the run names no version that can be installed"),
        ("2.9.0a1.dev3", "torch==2.9.0a1.dev3"),
    ],
)
def test_requirements_hold_versions_and_nothing_else(run: RunFolder, version: str, line: str) -> None:
    write_events(run, version)
    assert requirements(read_facts(run)).splitlines() == [line, "peft==0.21.2"]


@pytest.mark.parametrize("precision", ["fp64", "fp32, load(evil)", ""])
def test_a_number_type_that_no_run_has_is_refused(run: RunFolder, precision: str) -> None:
    write_events(run, precision=precision)
    with pytest.raises(InputError, match=r"events cannot be used"):
        read_facts(run)


def test_a_base_that_is_no_hub_name_is_not_taken_for_one(run: RunFolder) -> None:
    import json

    plan = json.loads(run.plan.read_text()) | {"model_kind": "hub", "model_name": "a/b](http://x) <script>"}
    run.plan.write_text(json.dumps(plan))
    assert decode_plan(run.plan.read_bytes()).model_name.startswith("a/b]")
    assert read_facts(run).base_name is None


def test_a_card_and_a_report_show_foreign_text_as_it_is(run: RunFolder) -> None:
    evil = "![t](http://tracker.invalid/x.png) <img src=x> | a\n\n# Heading `code` [l](http://l.invalid)"
    write_events(run, version=evil)
    facts = read_facts(run, "owner/base")
    card = make_card(facts, CardForm("adapter"), "me/mine", None, (), CardOptions(licence=evil))
    write_events(run, source=evil)
    with run.events.open("ab") as events:
        events.write(encode(Warned(message=evil, hint=evil)))
        events.write(encode(RunFailed(kind="error", title=evil, message=evil)))
    write_report(run)
    for text in (card.text.split("---\n", 2)[2], run.report.read_text()):
        bare = text.replace(r"\[", "").replace(r"\]", "").replace(r"\<", "").replace(r"\`", "")
        assert "tracker" in text
        assert "![" not in bare and "[l]" not in bare and "<img" not in bare and "\n# Heading" not in text


def test_literal_markdown_is_one_line() -> None:
    assert markdown("a\n\n| b ![x](y) <z> `c` \\") == r"a \| b !\[x\](y) \<z> \`c\` " + "\\\\"


@pytest.mark.parametrize("text", NASTY)
def test_a_copied_command_gives_the_shell_one_word(text: str, tmp_path: Path) -> None:
    """A real bash splits it into the words that were meant, and runs nothing of them."""
    assert len(quoted(text).splitlines()) == 1
    show = [sys.executable, "-c", "import os, sys; print([os.fsencode(word) for word in sys.argv[1:]])"]
    done = subprocess.run(
        ["bash", "-c", f"{shell_line(show)} {shell_line([text, text])}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ast.literal_eval(done.stdout) == [os.fsencode(text)] * 2
    assert not list(tmp_path.iterdir())


def test_a_name_that_begins_with_a_dash_is_no_option(run: RunFolder) -> None:
    assert shell_command("runs show", "-x", options=["--json"]) == "tuner-tui runs show --json -- -x"
    odd = run.path.rename(run.path.with_name("-x"))
    command = shell_command("runs show", odd.name, options=["--json"]).split()[1:]
    done = subprocess.run(
        [sys.executable, "-m", "tuner_tui", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_command_is_put_together_without_quoting() -> None:
    """A text that shows a command of ours with a value in it takes it from `shell_command`."""
    unquoted = []
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.JoinedStr):
                continue
            is_command = False
            for part in node.values:
                text = str(part.value) if isinstance(part, ast.Constant) else ""
                last = text.splitlines()[-1] if text.splitlines() else ""
                if isinstance(part, ast.FormattedValue) and is_command:
                    unquoted.append(f"{path.relative_to(SOURCES)}: {ast.unparse(node)}")
                    break
                words = last.rpartition("tuner-tui ")[2].split() if "tuner-tui " in last else []
                is_command = bool(words) and all(word.replace("-", "").isalpha() for word in words)
    own = [line for line in unquoted if "setting.key" not in line and "needs {wanted" not in line]
    assert own == []


@pytest.mark.parametrize(
    "where", ["checkpoints", "adapter", "adapter/adapter_config.json", "checkpoints/step-1"]
)
def test_an_archive_of_links_is_refused_by_name(run: RunFolder, tmp_path: Path, where: str) -> None:
    link = run.path / where
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "weights").write_text("heavy")
    if link.is_dir():
        link.rename(tmp_path / "kept")
    link.unlink(missing_ok=True)
    link.symlink_to(elsewhere if "." not in where else elsewhere / "weights")
    with pytest.raises(InputError, match="link") as refusal:
        write_archive(run, tmp_path / "run.tar.gz", lambda done, total: None)
    assert str(link) in refusal.value.message


def test_an_archive_of_a_pipe_or_an_unreadable_folder_is_refused(run: RunFolder, tmp_path: Path) -> None:
    os.mkfifo(run.path / "pipe")
    with pytest.raises(InputError, match="special file"):
        write_archive(run, tmp_path / "run.tar.gz", lambda done, total: None)
    (run.path / "pipe").unlink()
    write_archive(run, tmp_path / "run.tar.gz", lambda done, total: None)
    with tarfile.open(tmp_path / "run.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names == {"run.toml", "plan.json", "events.jsonl", "worker.log", "adapter/adapter_config.json"}


def test_a_result_that_is_a_link_to_a_file_of_the_persons_is_not_shared(
    run: RunFolder, tmp_path: Path
) -> None:
    (secret := tmp_path / "credentials").write_text("[default]")
    (run.adapter / "chat_template.jinja").symlink_to(secret)
    with pytest.raises(InputError, match="leads out of the run's folder"):
        read_facts(run)
    (run.adapter / "chat_template.jinja").unlink()
    run.adapter.rename(tmp_path / "on-a-larger-disk")
    run.adapter.symlink_to(tmp_path / "on-a-larger-disk")
    assert read_facts(run).folder == run
