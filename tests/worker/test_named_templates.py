"""A tokenizer with several chat templates: the default one is used and exported, the others go along."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import gguf
import pytest
from click.testing import CliRunner
from transformers import AutoTokenizer

from tests.tiny_model import CHAT_TEMPLATE
from tests.worker.runs import write_rows
from tuner_tui.cli.data import data
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.data.tokens.template import load_model_text
from tuner_tui.data.tokens.template_files import template_for
from tuner_tui.data.tokens.text_child import Conversation
from tuner_tui.errors import InputError
from tuner_tui.generation.messages import Base, Turn
from tuner_tui.runs.events import RunFinished
from tuner_tui.runs.export_events import Checked, Event, ExportRequest, Written
from tuner_tui.sharing.allowed import chosen_files, require_clean_result
from tuner_tui.worker.export.check import check_form
from tuner_tui.worker.export.write import write_form
from tuner_tui.worker.generate.model import LoadedModel
from tuner_tui.worker.text.named_templates import named_templates
from tuner_tui.worker.text.token_cache import tokenise_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

TOOL_USE = "{{ tools }}" + CHAT_TEMPLATE
NAMED = {"default": CHAT_TEMPLATE, "tool_use": TOOL_USE, "rag": "rag"}


@pytest.fixture(params=["files", "settings"])
def model(request: pytest.FixtureRequest, tmp_path: Path, tiny_model: Path) -> Path:
    """A model with named templates: as files, as transformers writes them, or in its settings, as it did before."""
    folder = shutil.copytree(tiny_model, tmp_path / "named")
    if request.param == "files":
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.chat_template = NAMED
        tokenizer.save_pretrained(folder)
        assert (folder / "additional_chat_templates" / "tool_use.jinja").is_file()
    else:
        (folder / "chat_template.jinja").unlink()
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings["chat_template"] = [{"name": name, "template": text} for name, text in NAMED.items()]
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert AutoTokenizer.from_pretrained(folder).chat_template == NAMED
    return folder


def export(run: Run, form: Any, out: Path) -> list[Event]:
    out.mkdir()
    events: list[Event] = []
    request = ExportRequest(
        run=str(run.folder.path), form=form, out=str(out), events="", precision="fp32", compute="fp32",
        prompts=("Why?", "Who is it?"), max_new_tokens=6, quant="f32",
    )  # fmt: skip
    write_form(request, events.append)
    check_form(request, events.append)
    assert isinstance(events[-1], Checked)
    return events


@pytest.mark.parametrize("full", [False, True])
def test_every_form_has_the_default_one(
    train: Callable[..., Run], model: Path, tmp_path: Path, full: bool
) -> None:
    run = train(model={"source": str(model), "precision": "fp32"}, training={"max_steps": 1}, full=full)
    assert run.last(RunFinished).step == 1
    require_clean_result(run.folder.adapter)
    export(run, "gguf", tmp_path / "gguf")
    fields = gguf.GGUFReader(tmp_path / "gguf" / "model.gguf").fields
    assert fields["tokenizer.chat_template"].contents() == CHAT_TEMPLATE
    assert fields["tokenizer.chat_template.tool_use"].contents() == TOOL_USE
    if not full:
        events = export(run, "ollama", tmp_path / "ollama")
        [written] = [event for event in events if isinstance(event, Written)]
        assert written.template is not None and written.template.answer_start == "<|im_start|>assistant\n"
    for form in () if full else ("adapter", "merged"):
        export(run, form, tmp_path / form)
        assert AutoTokenizer.from_pretrained(tmp_path / form).chat_template == NAMED
        assert all(path.parent == tmp_path / form for path in chosen_files(tmp_path / form, form))


TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
TALK = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]


def test_rows_are_counted_shown_and_looked_through_with_the_one_that_training_takes(
    model: Path, tmp_path: Path
) -> None:
    """Of rows with tools that is tool_use, as transformers chooses."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows: list[dict[str, Any]] = [{"messages": TALK, "tools": [TOOL]}, {"messages": TALK}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    wanted: Any = [
        tokenizer.apply_chat_template(TALK, tools=row.get("tools"), tokenize=False) for row in rows
    ]
    assert "weather" in wanted[0] and wanted[0].endswith(wanted[1])
    with load_model_text(model) as text:
        assert [text.render(TALK, False, row.get("tools", ())) for row in rows] == wanted
        [[first], [second]] = text.measure(rows)
        assert [look.dropped for look in text.look(Conversation(TALK, tools=[TOOL]) for _ in range(2))] == [
            (),
            (),
        ]
    trained = tokenise_file(Reading(path), tokenizer, 5000, "answers").rows
    assert [first.tokens, second.tokens] == [row.tokens for row in trained]
    assert [each.answer_tokens for each in (first, second)] == [row.trained_tokens for row in trained]
    result = CliRunner().invoke(data, ["check", str(path), "--model", str(model), "--length", "64", "--json"])
    assert json.loads(result.output)["lengths"]["longest"] == trained[0].tokens
    assert json.loads(result.output)["lengths"]["answers_lost"] == 1


@pytest.mark.parametrize(
    "names", [("default",), ("default", "tool_use"), ("default", "rag"), ("tool_use", "rag"), ()]
)
@pytest.mark.parametrize("tools", [[], [TOOL]])
def test_the_choice_is_that_of_transformers(
    tiny_model: Path, names: tuple[str, ...], tools: list[Any]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = {name: NAMED[name] for name in names}
    try:
        wanted = tokenizer.get_chat_template(tools=tools or None)
    except ValueError:
        wanted = None
    assert template_for(named_templates(tokenizer), tools) == wanted


def test_templates_without_a_default_are_explained(model: Path) -> None:
    (model / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((model / "tokenizer_config.json").read_text())
    named = [{"name": "rag", "template": "rag"}, {"name": "tool_use", "template": TOOL_USE}]
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": named}))
    with load_model_text(model) as text:
        assert text.render(TALK, False, [TOOL]).startswith("[{")
        with pytest.raises(InputError) as raised:
            text.render(TALK)
    assert raised.value.title == "The model has no default chat template"
    assert "rag, tool_use" in raised.value.message


def test_chat_is_written_with_the_default_one(model: Path) -> None:
    loaded = LoadedModel(Base(source=str(model), precision="fp32", device="cpu"))
    turns = (Turn(role="user", content="Why?"),)
    asked = loaded.tokenizer.decode(loaded.encode(turns, None))
    assert asked == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
