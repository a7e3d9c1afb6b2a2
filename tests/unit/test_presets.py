"""Presets: found, read, checked, saved, and their commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tuner_tui.cli.output import fail, plain, plain_lines
from tuner_tui.cli.presets import presets
from tuner_tui.config import paths
from tuner_tui.config.presets import FIRST_NAMES, find_preset, list_presets, preset_spec, save_preset
from tuner_tui.config.rules import check_rules
from tuner_tui.config.single_option import set_option
from tuner_tui.config.spec_file import SpecError, parse_spec, read_spec
from tuner_tui.errors import InputError, NotFoundError, TunerError

SHIPPED = sorted(path.stem for path in paths.shipped_dir("presets").glob("*.toml"))
ORDERED = [*FIRST_NAMES, *(name for name in SHIPPED if name not in FIRST_NAMES)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and a working folder that is empty."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(presets, arguments)


def own_preset(name: str, content: bytes) -> Path:
    folder = paths.user_presets_dir()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_preset_parses_and_passes_the_rules(name: str) -> None:
    preset = find_preset(name)
    spec = preset_spec(preset)
    assert check_rules(spec) == ()
    assert preset.is_shipped
    assert preset.title
    assert preset.summary.endswith(".")
    assert "about" in preset.needs
    assert len(f"    {preset.title}") <= 80
    assert max(map(len, preset.text.splitlines())) <= 110


def test_the_shipped_ones_are_listed_in_order() -> None:
    assert [preset.name for preset in list_presets()] == ORDERED


def test_the_first_try_needs_nothing_but_the_app() -> None:
    spec = preset_spec(find_preset("first-try"))
    assert (spec.model.source, spec.data.train) == ("demo", "demo")
    assert spec.samples.prompts
    rows = (paths.shipped_dir("assets") / "demo" / "train.jsonl").read_text()
    assert not any(prompt in rows for prompt in spec.samples.prompts), "samples ask what is not trained"


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(NotFoundError) as caught:
        find_preset("qlora8gb")
    assert caught.value.hint == "Did you mean qlora-8gb?"
    with pytest.raises(NotFoundError) as caught:
        find_preset("\x1b/../zzz")
    assert "first-try" in caught.value.hint


def test_a_spec_is_kept_with_the_comments_that_are_true() -> None:
    base = find_preset("qlora-8gb")
    spec = set_option(preset_spec(base), "tuning.rank", "8")
    kept = save_preset("mine", spec, base.text, is_recipe=True)
    assert kept == find_preset("mine")
    assert not kept.is_shipped
    assert kept.title == "mine"
    assert "Needs:" not in kept.text and base.title not in kept.text  # that was the one it came from
    assert "rank = 8\n" in kept.text
    assert "# rows per step, accumulated" in kept.text
    assert preset_spec(kept) == spec
    assert [preset.name for preset in list_presets()] == [*ORDERED, "mine"]
    again = save_preset(
        "mine", set_option(spec, "tuning.rank", "4"), f"# My title\n{kept.text}", overwrite=True
    )
    assert again.title == "My title"  # a person's own


def test_a_fresh_preset_has_its_name_as_title() -> None:
    kept = save_preset("mine.v2", preset_spec(find_preset("cpu-only")))
    assert kept.title == "mine.v2"
    assert preset_spec(find_preset("mine.v2")) == preset_spec(find_preset("cpu-only"))


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", ".hidden", "first-try", "x" * 61, "a\nb", "x.toml", "a\0"]
)
def test_names_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        save_preset(name, preset_spec(find_preset("cpu-only")))
    assert not list(paths.user_presets_dir().parent.rglob("*.toml"))


def test_a_preset_is_overwritten_only_when_told() -> None:
    spec = preset_spec(find_preset("cpu-only"))
    save_preset("mine", spec)
    with pytest.raises(InputError, match="A preset with this name exists"):
        save_preset("mine", spec)
    save_preset("mine", set_option(spec, "training.seed", "1"), overwrite=True)
    assert preset_spec(find_preset("mine")).training.seed == 1


def test_a_preset_that_breaks_a_rule_is_not_kept() -> None:
    with pytest.raises(SpecError):
        save_preset("mine", set_option(preset_spec(find_preset("cpu-only")), "training.micro_batch", "3"))


def test_a_broken_own_preset_hides_no_other() -> None:
    own_preset("bad", b"\xff\xfe")
    own_preset("worse", b"rank = ")
    own_preset("cpu-only", b"# Mine\nmodel.source = 'demo'\ndata.train = 'x'\n")
    assert {preset.name for preset in list_presets()} == {*ORDERED, "bad", "worse"}
    assert find_preset("cpu-only").title == "Mine"
    assert "Not UTF-8" in find_preset("bad").title
    for name in ("bad", "worse"):
        with pytest.raises(InputError):
            preset_spec(find_preset(name))
    assert run("list").exit_code == 0
    assert isinstance(run("show", "bad").exception, InputError)


def test_needs_may_take_several_lines() -> None:
    own_preset("a", b"# T\n# one\n# two\n# Needs: x\n#   y\n#\n# More.\n[model]\n# not this\n")
    preset = find_preset("a")
    assert (preset.title, preset.summary, preset.needs) == ("T", "one two", "x y")


# Commands --------------------------------------------------------------------------------------------------


def test_list_fits_a_small_terminal() -> None:
    own_preset("evil", b"# \x1b[31mred \xe2\x80\xae" + b"w " * 90 + b"\n")
    result = run("list")
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output
    assert "\\x1b[31mred" in result.output
    assert "evil  (your own)" in result.output


def test_list_speaks_json() -> None:
    found = json.loads(run("list", "--json").output)
    assert [each["name"] for each in found] == ORDERED
    assert found[0].keys() == {"name", "title", "summary", "needs", "is_shipped", "path"}


def test_show_prints_the_recipe() -> None:
    assert run("show", "first-try").output == find_preset("first-try").text
    assert isinstance(run("show", "frist-try").exception, NotFoundError)


def test_copy_writes_a_file_that_passes_the_check() -> None:
    result = run("copy", "qlora-8gb")
    assert result.exit_code == 0, result.exception
    assert Path("run.toml").read_text() == find_preset("qlora-8gb").text
    assert "Next: tuner-tui train run.toml" in result.output
    assert run("check", "run.toml").exit_code == 0


def test_copy_puts_model_and_data_in_and_keeps_what_is_true() -> None:
    result = run("copy", "qlora-8gb", "mine.toml", "--model", "owner/my model", "--data", "my rows.jsonl")
    assert result.exit_code == 0, result.exception
    text = Path("mine.toml").read_text()
    assert text.startswith('[model]\nsource = "owner/my model"\nprecision = "nf4"        # memory')
    assert '[data]\ntrain = "my rows.jsonl"\n' in text
    assert "rank = 16                # memory" in text
    run("copy", "qlora-8gb", "same.toml")
    assert Path("same.toml").read_text() == find_preset("qlora-8gb").text


def test_copy_into_another_folder_keeps_the_meaning_of_paths(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "work" / "base").mkdir()
    result = run("copy", "cpu-only", str(tmp_path / "other"), "--data", "rows.jsonl", "--model", "base")
    assert result.exit_code == 0, result.exception
    spec = read_spec(tmp_path / "other" / "run.toml")
    assert spec.data.train == str(tmp_path / "work" / "rows.jsonl")
    assert spec.model.source == str(tmp_path / "work" / "base")


def test_copy_overwrites_only_when_told() -> None:
    Path("run.toml").write_text("precious")
    result = run("copy", "first-try")
    assert isinstance(result.exception, InputError)
    assert Path("run.toml").read_text() == "precious"
    assert run("copy", "first-try", "--force").exit_code == 0
    assert parse_spec(Path("run.toml").read_text(), "run.toml").model.source == "demo"


@pytest.mark.parametrize(
    "arguments", [["none/run.toml"], ["a\udcff.toml", "--data", "\udcff"], ["--model", "a\0b"]]
)
def test_copy_that_cannot_be_says_so(arguments: list[str]) -> None:
    result = run("copy", "first-try", *arguments)
    assert isinstance(result.exception, InputError)
    assert list(Path().iterdir()) == []


def test_check_lists_all_problems() -> None:
    Path("run.toml").write_text("rank = 1\n[training]\nlr = 1\n")
    error = run("check", "run.toml").exception
    assert isinstance(error, SpecError)
    assert error.exit_code == 2
    assert [problem.key for problem in error.problems] == [
        "data.train",
        "model.source",
        "rank",
        "training.lr",
    ]
    assert isinstance(run("check", "none.toml").exception, NotFoundError)


# Output ----------------------------------------------------------------------------------------------------


def test_text_is_printed_literally() -> None:
    assert plain("a\x1b[31m\x00\n\t\x7f\x9b\u202e\u2066\u2028\udcff") == (
        "a\\x1b[31m\\x00\\n\\t\\x7f\\x9b\\u202e\\u2066\\u2028\\udcff"
    )
    assert plain("ünï ✓ 🐙 [b]") == "ünï ✓ 🐙 [b]"
    assert plain_lines("a\r\n\tb\x1b\n") == "a\n    b\\x1b\n"


def test_an_error_is_title_message_and_next(capsys: pytest.CaptureFixture[str]) -> None:
    fail(TunerError("It \x1b broke", "first\n    second " + "word " * 30, "Do this."))
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert lines[:2] == ["Error: It \\x1b broke", "  first"]
    assert lines[2].startswith("      second word")
    assert lines[3].startswith("        word")
    assert lines[-1] == "  Next: Do this."
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        ("See: tuner-tui runs list", "tuner-tui runs list"),
        ("See all: tuner-tui runs restore", "tuner-tui runs restore"),
        ("For example: prompt = {question}", "for example prompt = {question}"),
        ("For example demo, or demo+my-run.", "for example demo, or demo+my-run."),
        ("Available: a, b.", "use one of a, b."),
        ("Take a smaller micro-batch.", "Take a smaller micro-batch."),
    ],
)
def test_the_next_step_has_one_lead(capsys: pytest.CaptureFixture[str], hint: str, shown: str) -> None:
    fail(TunerError("It broke", "", hint))
    assert capsys.readouterr().err.splitlines()[-1] == f"  Next: {shown}"


def test_an_error_without_more_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    fail(TunerError("Alone"))
    assert capsys.readouterr().err == "Error: Alone\n"
