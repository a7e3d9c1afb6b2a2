"""`tuner-tui pick`: the goals, the proposals for one, and its run.toml."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from tests.pdf_file import write_pdf
from tuner_tui.cli import tuner_tui
from tuner_tui.config.rules import check_rules
from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import InputError, TunerError
from tuner_tui.models.open_models import own_table_file

if TYPE_CHECKING:
    from pathlib import Path

ROW = '{"prompt": "Who are you?", "completion": "Inkwell."}\n'


@pytest.fixture(autouse=True)
def here(fresh_folder: Path) -> Path:
    return fresh_folder


def pick(*arguments: str) -> Result:
    return CliRunner().invoke(tuner_tui, ["pick", *arguments], catch_exceptions=False)


def refusal(*arguments: str) -> TunerError:
    with pytest.raises(TunerError) as caught:
        pick(*arguments)
    return caught.value


def test_without_a_goal_the_goals_are_listed() -> None:
    assert "facts    Facts from my documents: " in pick().output
    names = [goal["name"] for goal in json.loads(pick("--json").output)["goals"]]
    assert names == ["style", "facts", "format", "ratings"]


def test_a_goal_is_answered_with_reasons_and_with_what_to_try_first() -> None:
    output = pick("--goal", "style", "--gpu", "12GB").output
    assert "as of 20" in output and "fits" in output
    assert "tuning.rank: 16 (enough for a voice" in output
    assert "Is it fine-tuning?" in output
    assert "tuner-tui chat --system" in output
    assert "1 model is too big" not in pick("--goal", "style", "--gpu", "80GB").output


def test_json_has_each_proposal_with_its_spec() -> None:
    found: dict[str, Any] = json.loads(pick("--goal", "ratings", "--gpu", "12GB", "--json").output)
    assert found["table"]["date"] and found["instead"]
    first = found["proposals"][0]
    assert first["spec"]["method"]["kind"] == first["method"]
    assert first["verdict"] == "fits"
    assert first["low_bytes"] <= first["high_bytes"]
    assert found["proposals"][-1]["model"] == "demo"


def test_documents_become_a_run(here: Path) -> None:
    (here / "docs").mkdir()
    (here / "docs" / "a.md").write_text("\n\n".join(f"Paragraph {n} of the manual." for n in range(300)))
    write_pdf(here / "docs" / "b.pdf", [["A page."]])
    arguments = ("--goal", "facts", "--data", "docs", "--gpu", "24GB", "--out", "run.toml")
    output = pick(*arguments).output
    assert "4 rows are few" in output  # 300 short paragraphs make 3 chunks of 3 kB
    spec = read_spec(here / "run.toml")
    assert spec.data.train == str(here / "docs")
    assert spec.data.chunk_bytes == 3072
    assert check_rules(spec) == ()
    assert "The file exists" in refusal(*arguments).title


def test_what_is_wrong_is_named(here: Path) -> None:
    assert "Did you mean style" in refusal("--goal", "styl").hint
    assert "--data" in refusal("--goal", "style", "--out", "run.toml").message
    assert refusal("--goal", "style", "--data", "none.jsonl").exit_code == 3
    (here / "bad.jsonl").write_text("{")
    assert "bad.jsonl" in refusal("--goal", "style", "--data", "bad.jsonl").message
    assert "there are" in refusal("--goal", "style", "--gpu", "12GB", "--number", "99").message
    own_table_file().parent.mkdir(parents=True)
    own_table_file().write_text("date = 2026-01-01\nmodel = 3\n")
    error = refusal("--goal", "style")
    assert isinstance(error, InputError)
    assert "models.toml, model: expected a list, got a whole number" in error.message


def test_rows_are_counted(here: Path) -> None:
    (here / "rows.jsonl").write_text(ROW * 60)
    found = json.loads(pick("--goal", "style", "--data", "rows.jsonl", "--gpu", "12GB", "--json").output)
    assert (found["rows"], found["notes"]) == (60, [])
    reasons = {reason["name"]: reason for reason in found["proposals"][0]["reasons"]}
    assert reasons["time"]["reason"].startswith("for 60 rows")


def test_where_no_model_fits_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the demo's model, which is always proposed."""
    monkeypatch.setattr("tuner_tui.runs.proposal_basis.list_models", lambda folder: [])
    own_table_file().parent.mkdir(parents=True)
    own_table_file().write_text(
        'date = 2026-01-01\n[[model]]\nname = "a/b"\nparameters = 70_000_000_000\nlicence = "x"\ncontext = 8192\n'
        'good_at = []\nconfig = {model_type = "llama", hidden_size = 8192, num_hidden_layers = 80, '
        "num_attention_heads = 64, intermediate_size = 28672, vocab_size = 128256}\n"
    )
    assert "none fits a GPU given as 8GB" in refusal("--goal", "style", "--gpu", "8GB").message
