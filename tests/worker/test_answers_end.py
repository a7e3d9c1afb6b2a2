"""An EOS token counts for the answer that it ends, not for those before it; and truncated answers are a finding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from transformers import AutoTokenizer

from tests.worker.runs import write_rows
from tuner_tui.cli.data import data
from tuner_tui.data.recognition.reading import Reading
from tuner_tui.worker.text.token_cache import tokenise_file
from tuner_tui.worker.training.preflight import Ends, look

if TYPE_CHECKING:
    from typing import Any

CASES = Path(__file__).parents[1] / "data" / "cases"
HEAD = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
END = "<|im_end|>"
TEMPLATES = {
    "after each": f"{HEAD}{END}\n{{% endfor %}}{ASK}",
    "after the last": f"{HEAD}\n{{% endfor %}}{{% if not add_generation_prompt %}}{END}{{% endif %}}{ASK}",
    "none": f"{HEAD}\n{{% endfor %}}{ASK}",
    "before the user": f"{{% for m in messages %}}{{{{ '{END}' if m.role == 'user' else '<|im_start|>' }}}}"
    f"{{{{ m.role }}}}\n{{{{ m.content }}}}\n{{% endfor %}}{ASK}",
}
TURNS = ["Capital of Peru?", "Lima.", "And of Chile?", "Santiago."]


def findings(
    tiny_model: Path, tmp_path: Path, template: str, answers: int, loss_on: str = "answers"
) -> list[Any]:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = TEMPLATES[template]
    roles = ("user", "assistant") * 2
    turns = [{"role": role, "content": said} for role, said in zip(roles, TURNS, strict=True)]
    path = write_rows(tmp_path / "rows.jsonl", [{"messages": turns[: 2 * answers]}] * 3)
    tokens = tokenise_file(Reading(path), tokenizer, 512, loss_on)
    return look(tokens, Ends(frozenset([tokenizer.eos_token_id]), None, None, None), 512)


@pytest.mark.parametrize(
    ("template", "answers", "is_found"),
    [
        ("after each", 1, False),
        ("after each", 2, False),
        ("after the last", 1, False),
        ("after the last", 2, True),
        ("none", 1, True),
        ("none", 2, True),
        ("before the user", 1, True),
        ("before the user", 2, True),
    ],
)
def test_each_answer_must_end(
    tiny_model: Path, tmp_path: Path, template: str, answers: int, is_found: bool
) -> None:
    found = findings(tiny_model, tmp_path, template, answers)
    assert [finding.name for finding in found] == (["end_never_trained"] if is_found else [])


def test_with_loss_on_all_the_users_mark_is_learnt_as_the_end(tiny_model: Path, tmp_path: Path) -> None:
    assert findings(tiny_model, tmp_path, "before the user", 2, "all") == []


@pytest.mark.parametrize("rows", ["multi_turn", "think"])
def test_a_template_that_ends_no_answer_with_the_eos_token_is_reported(tiny_model: Path, rows: str) -> None:
    options = ["--model", str(tiny_model), "--template", str(CASES / "templates" / "next.jinja"), "--json"]
    outcome = CliRunner().invoke(data, ["check", str(CASES / "rows" / f"{rows}.jsonl"), *options])
    kinds = {problem["kind"]: problem["level"] for problem in json.loads(outcome.output)["problems"]}
    assert (kinds.get("answers without an EOS token"), outcome.exit_code) == ("error", 2)


@pytest.mark.parametrize(("length", "level"), [(64, "warning"), (2048, None)])
def test_truncated_answers_are_reported(tiny_model: Path, length: int, level: str | None) -> None:
    options = ["--model", str(tiny_model), "--length", str(length)]
    file = str(CASES / "rows" / "mostly_cut.jsonl")
    report = json.loads(CliRunner().invoke(data, ["check", file, *options, "--json"]).output)
    problems = [problem for problem in report["problems"] if problem["kind"] == "truncated answers"]
    assert [problem["level"] for problem in problems] == ([level] if level else [])
    outcome = CliRunner().invoke(data, ["check", file, *options])
    assert outcome.exit_code == 0
    if level:
        assert problems[0]["count"] == 19 == report["lengths"]["answers_truncated"]  # one of the 20 is short
        assert "truncated answers" in outcome.output
        assert "No problems found" not in outcome.output
