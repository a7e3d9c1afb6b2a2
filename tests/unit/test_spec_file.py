"""run.toml: problems by line and key, paths, writing with comments kept, and single options."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any, get_args

import pytest

from tuner_tui.config import paths
from tuner_tui.config.rules import check_rules
from tuner_tui.config.sections import kinds_of
from tuner_tui.config.single_option import set_option
from tuner_tui.config.spec import LoraTuning, RunSpec
from tuner_tui.config.spec_file import SpecError, parse_spec, read_spec
from tuner_tui.config.spec_paths import resolve_paths
from tuner_tui.config.spec_writer import spec_text, write_spec
from tuner_tui.config.toml_lines import key_lines
from tuner_tui.errors import InputError, NotFoundError, TunerError

MINIMAL = '[model]\nsource = "owner/name"\n[data]\ntrain = "rows.jsonl"\n'  # four lines
SHIPPED = sorted(paths.shipped_dir("presets").glob("*.toml"))


def minimal() -> RunSpec:
    return parse_spec(MINIMAL, "run.toml")


def problems_of(text: str) -> tuple[tuple[int | None, str, str], ...]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "run.toml")
    assert all(str(problem).startswith("run.toml") for problem in caught.value.problems)
    assert "pydantic" not in str(caught.value)
    assert "Input should" not in str(caught.value)
    return tuple((each.line, each.key, f"{each.message} | {each.hint}") for each in caught.value.problems)


# One fault each, appended to the minimal spec: where it is found, and what is said.
FAULTS: list[tuple[str, int | None, str, str]] = [
    ("[tuning]\nrank = 0", 6, "tuning.rank", "must be at least 1 (got 0)"),
    ('[tuning]\nrank = "16"', 6, "tuning.rank", 'must be a whole number (got "16")'),
    ("[tuning]\nrank = 16.5", 6, "tuning.rank", "must be a whole number (got 16.5)"),
    ("[tuning]\nrank = true", 6, "tuning.rank", "must be a whole number (got true)"),
    ("[tuning]\nrank = [1, 2]", 6, "tuning.rank", "must be a whole number (got a list)"),
    ("[tuning]\nrank = {a = 1}", 6, "tuning.rank", "must be a whole number (got a table)"),
    ("[tuning]\nrank = 2026-11-21", 6, "tuning.rank", "is a date or time (got 2026-11-21)"),
    ("[tuning]\nrank = 0x" + "F" * 5000, 6, "tuning.rank", "is too large"),
    ("[tuning]\nalpha = inf", 6, "tuning.alpha", "must be a number (got inf)"),
    ("[tuning]\ndropout = 1", 6, "tuning.dropout", "must be below 1 (got 1)"),
    ("[tuning]\ndora = 1", 6, "tuning.dora", "must be true or false (got 1)"),
    ('[tuning]\ntargets = "q_proj"', 6, "tuning.targets", 'or a list such as ["..."]'),
    ('[tuning]\ntargets = [\n "q_proj",\n 3]', 6, "tuning.targets", "item 2 must be text in quotes (got 3)"),
    ('[tuning]\nkind = "loar"', 6, "tuning.kind", 'Did you mean "lora"?'),
    ('[tuning]\nkind = "qlora"', 6, "tuning.kind", 'model.precision = "nf4"'),
    ("[tuning]\nkind = 3", 6, "tuning.kind", 'must be "lora", "full" or "ia3" (got 3)'),
    ('[tuning]\nkind = "full"\nrank = 3', 7, "tuning.rank", 'belongs to kind = "lora"'),
    ('[method]\nkind = "ppo"', 6, "method.kind", 'there is no method "ppo"; kind is '),
    ("[training]\nrank = 3", 6, "training.rank", "belongs in [tuning]"),
    ("[training]\nlerning_rate = 3", 6, "training.lerning_rate", 'Did you mean "learning_rate"?'),
    ("[training]\nlr = 3", 6, "training.lr", "It is called training.learning_rate here."),
    ("[training]\nlearning_rate = 0", 6, "training.learning_rate", "must be above 0"),
    ("[training]\ncheckpointing = true", 6, "training.checkpointing", 'Did you mean "on"?'),
    ("[training]\nxyzzy = 1", 6, "training.xyzzy", "there is no such key | "),
    ("[trainign]\nepochs = 1", 5, "trainign", "Did you mean [training]?"),
    ("[lora]\nrank = 1", 5, "lora", 'Write [tuning] with kind = "lora".'),
    ("[samples]\nprompts = 'Hi'", 6, "samples.prompts", "must be a list"),
    ("[[samples]]\nprompts = []", 5, "samples", "must be a table (got a list)"),
    ('[training]\n"seed" = -1', 6, "training.seed", "must be at least 0 (got -1)"),
    ("training . seed = -1", 5, "data.training", "there is no such key"),
    ('[training]\nschedule = """\n[tuning]\nrank = 3\n"""\nseed = -1', 10, "training.seed", "at least 0"),
    ("[checkpoints]\nkeep.many = 3", 6, "checkpoints.keep", "must be a whole number (got a table)"),
    ('[model.x]\ny = "a"', 5, "model.x", "there is no such key"),
    ('[machine]\n"a\\u001b.b" = 1', 6, "machine.a\x1b.b", "there is no such key"),
    ('[machine]\ndevice = "a\\u0000b"', 6, "machine.device", "an invalid character"),
]


@pytest.mark.parametrize(("fault", "line", "key", "said"), FAULTS, ids=[case[0][:40] for case in FAULTS])
def test_a_fault_is_named_by_line_and_key(fault: str, line: int | None, key: str, said: str) -> None:
    found = problems_of(MINIMAL + fault + "\n")
    mine = [each for each in found if each[1] == key]
    assert [each[0] for each in mine] == [line]
    assert said in mine[0][2]
    assert len(found) == (2 if "schedule" in fault else 1)


WHOLE: list[tuple[str, list[tuple[int | None, str]]]] = [
    ("# nothing", [(None, "data.train"), (None, "model.source")]),
    ("model = 'demo'\ndata = 3\n", [(1, "model"), (2, "data")]),
    ("rank = 3\n" + MINIMAL, [(1, "rank")]),
    ("name = 3\n" + MINIMAL, [(1, "name")]),
    (f"name = '{'x' * 61}'\n" + MINIMAL, [(1, "name")]),
    ("[model]\n[data]\ntrain = ''", [(1, "model.source"), (3, "data.train")]),
    (
        'model = {source = "a", precision = "4bit"}\ndata.train = ""\n',
        [(1, "model.precision"), (2, "data.train")],
    ),
    ("tuning.rank = 0\r\ntuning.alpha = 0\r\n" + MINIMAL, [(1, "tuning.rank"), (2, "tuning.alpha")]),
    ("method = []\n" + MINIMAL, [(1, "method")]),
    ("samples.prompts = [{}]\nevaluation = {every_steps = 0}\n", [
        (None, "data.train"), (None, "model.source"), (1, "samples.prompts"), (2, "evaluation.every_steps"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WHOLE, ids=[case[0][:40] for case in WHOLE])
def test_all_problems_of_a_text_are_found(text: str, expected: list[tuple[int | None, str]]) -> None:
    assert [each[:2] for each in problems_of(text)] == expected


SYNTAX = [
    ("a = \n", 1, "column 5: not a value"),
    ("x = 1\ny", 2, "at the end of the file: a key is followed by"),
    ("x = 1 y = 2", 1, "column 7: there is text after the value"),
    ("rank = 16\nrank = 32", 2, "this key is defined twice"),
    ("[a]\n[a]", 2, "this table is defined twice"),
    ("[a\nb = 1", 1, "the closing bracket"),
    ('x = "abc\ny = 1', 1, "the closing quote is missing"),
    ("x = 'abc\ny = 'd'", 1, "column 9: an invalid control character or line break"),
    ("x = 'abc\ny = 1", 2, "at the end of the file: the closing quote"),
    ('x = """abc\ny = 1', 2, "at the end of the file: the closing quote"),
    ("x = [1,\n2", 2, "the closing ] of the list"),
    ("x = {a = 1,\nb = 2}", 1, "a key has letters"),
    (r'x = "C:\data"', 1, "a backslash is doubled"),
    ("x = yes", 1, "not a value: put text in quotes"),
    ("x = 2026-02-30", 1, "invalid date"),
    ("= 3", 1, 'expected "key = value"'),
    ("{}", 1, 'expected "key = value"'),
    ("é = 1", 1, 'expected "key = value"'),
    ("x = \x07", 1, "not a value"),
    ("a.b = 1\na = 2", 2, "this key is defined twice"),
    ("a = {}\n[a.b]", 2, "this"),
    ("x = " + "[" * 5000, None, "nested too deeply"),
    ("x = " + "9" * 5000, None, "too many digits"),
    ("---\nname: yaml\n", 1, "a key is followed by"),
    ('{"model": {"source": "a"}}', 1, 'expected "key = value"'),
]


@pytest.mark.parametrize(("text", "line", "said"), SYNTAX, ids=[case[0][:30] for case in SYNTAX])
def test_broken_toml_is_named_by_line_and_column(text: str, line: int | None, said: str) -> None:
    ((found_line, key, message),) = problems_of(text)
    assert (found_line, key) == (line, "")
    assert said in message


def test_a_problem_reads_as_one_line_and_a_hint() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(MINIMAL + "[training]\nlr = 1\n", "run.toml")
    error = caught.value
    assert error.exit_code == 2
    assert error.title == "run.toml has a problem"
    assert error.message == (
        "run.toml:6: training.lr: there is no such key\n    It is called training.learning_rate here."
    )


# Files -----------------------------------------------------------------------------------------------------

FILES: list[tuple[str, bytes, str]] = [
    ("empty", b"", "Empty file"),
    ("blank", b" \n\t\n", "Empty file"),
    ("latin-1", b"# caf\xe9\n", "Not UTF-8 text"),
    ("utf-16", "name = 'x'".encode("utf-16"), "Not a text file"),
    ("nul", b"name = 'a\0b'", "Not a text file"),
    ("big", b"#" * (2 << 20), "Too big for a run.toml"),
]


@pytest.mark.parametrize(("content", "title"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_a_file_that_is_no_run_toml_is_refused_by_name(tmp_path: Path, content: bytes, title: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_spec(path)
    assert caught.value.title == title
    assert str(path) in caught.value.message


def test_missing_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_spec(tmp_path / "none.toml")
    for path in (tmp_path, Path("a\0b"), Path("x" * 5000), tmp_path / "file" / "run.toml"):
        (tmp_path / "file").touch()
        with pytest.raises(InputError):
            read_spec(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(MINIMAL)
    path.chmod(0)
    with pytest.raises(InputError, match="no permission"):
        read_spec(path)


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert read_spec(path).model.source == "owner/name"


# Lines -----------------------------------------------------------------------------------------------------


def flattened(table: dict[str, Any], prefix: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set()
    for key, value in table.items():
        found.add((*prefix, key))
        if isinstance(value, dict):
            found |= flattened(value, (*prefix, key))
    return found


LAYOUTS = [
    "# [no]\na = 1 # b = 2\n[t]\n\n  c.d = 'x' # [e]\n",
    't = { a = "}", b = [1, { z = 1 }, "]"], c = {} }\n[u."v.w"]\nx = 1\n',
    's = """\n[fake]\nkey = 1\n""""" # end\nn = 1\n',
    "s = '''\n[fake]\n''''\n[real]\nk = [ # ]\n  '#', \"\\\"]\",\n]\nl = 1979-05-27 07:32:00\n",
    '"a b" . \'c.d\' . e = -1.5e3\n"\\u0041" = true\n"" = 0\n',
    *(path.read_text() for path in SHIPPED),
]


@pytest.mark.parametrize("text", LAYOUTS, ids=[text[:20] for text in LAYOUTS])
def test_every_key_has_a_line_and_nothing_else_has(text: str) -> None:
    lines = key_lines(text)
    assert {path for path in lines if "[]" not in path} == flattened(tomllib.loads(text))
    rows = text.split("\n")
    for path, line in lines.items():
        written = r"\u0041" if path == ("A",) else path[-1]
        assert written in rows[line - 1]


def test_lines_of_a_layout() -> None:
    assert key_lines(LAYOUTS[3]) == {
        ("s",): 1, ("real",): 4, ("real", "k"): 5, ("real", "l"): 8,
    }  # fmt: skip


def test_text_that_is_no_toml_ends_the_walk_quietly() -> None:
    for text in (
        "[",
        "[[",
        "a",
        "a = ",
        "a = [",
        "a = {b",
        'a = "',
        '"',
        "a..b = 1",
        "= = =",
        "]",
        "a = [" * 3000,
    ):
        key_lines(text)


# Paths -----------------------------------------------------------------------------------------------------


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[model]\nsource = "./base"\n[data]\ntrain = "rows.jsonl"\nevaluation = "/abs/e.jsonl"\n')
    spec = read_spec(path)
    assert spec.model.source == str(tmp_path / "base")
    assert spec.data.train == str(tmp_path / "rows.jsonl")
    assert spec.data.evaluation == "/abs/e.jsonl"


@pytest.mark.parametrize(
    ("source", "resolved"),
    [
        ("demo", "demo"),
        ("owner/name", "owner/name"),
        ("local/name", "{base}/local/name"),
        ("../up", "{base}/../up"),
        ("model.GGUF", "{base}/model.GGUF"),
        ("sub/model.gguf", "{base}/sub/model.gguf"),
        ("/abs/model", "/abs/model"),
        ("~/model", "{home}/model"),
        ("~nobody-we-know/model", "{base}/~nobody-we-know/model"),
        ("x" * 5000, "x" * 5000),
        ("https://host/model.gguf", "https://host/model.gguf"),
    ],
)
def test_a_model_is_a_path_only_where_it_looks_like_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, resolved: str
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    (tmp_path / "local" / "name").mkdir(parents=True)
    (tmp_path / "demo").mkdir()
    spec = resolve_paths(set_option(minimal(), "model.source", source), tmp_path)
    assert spec.model.source == resolved.format(base=tmp_path, home="/home/someone")


def test_the_word_demo_stays_and_absent_evaluation_stays_absent(tmp_path: Path) -> None:
    spec = parse_spec('model.source = "demo"\ndata.train = "demo"\n', "run.toml", tmp_path)
    assert (spec.model.source, spec.data.train, spec.data.evaluation) == ("demo", "demo", None)


# Writing ---------------------------------------------------------------------------------------------------

WORDS = ["plain", 'quo"te', "back\\slash", "line\nbreak", "tab\t", "\x1b[31m", "ünï ✓ 🐙", "# no",
         "'''", '"""', "[table]", "\x7f", "\r\n", " ", "a" * 90, "{x = 1}", "\u2028", "\u202e"]  # fmt: skip


def random_spec(source: random.Random) -> RunSpec:
    """A spec with about half of its options set to anything that their type and bounds allow."""
    table: dict[str, Any] = {}
    for section in RunSpec.model_fields:
        if not (kinds := kinds_of(section)):
            if source.random() < 0.5:
                table[section] = source.choice(WORDS)[:60]
            continue
        kind = source.choice(list(kinds))
        options = kinds[kind].model_fields
        chosen = [key for key in options if options[key].is_required() or source.random() < 0.5]
        table[section] = {key: random_value(source, options[key]) for key in chosen if key != "kind"}
        if kind:
            table[section]["kind"] = kind
    return RunSpec.model_validate(table)


def random_value(source: random.Random, field: Any) -> Any:
    low = next((getattr(m, name) for m in field.metadata for name in ("ge", "gt") if hasattr(m, name)), 0)
    high = next((getattr(m, name) for m in field.metadata for name in ("le", "lt") if hasattr(m, name)), 1000)
    union = isinstance(field.annotation, types.UnionType)
    kinds = get_args(field.annotation) if union else (field.annotation,)
    chosen = source.choice([each for each in kinds if each is not type(None)])
    if chosen is bool:
        return source.random() < 0.5
    if chosen is int:
        return source.randint(low, min(int(high) - 1, 2**31))
    if chosen is float:
        return source.choice(
            [source.uniform(low + 1e-9, high * 0.999), max(high / 3e5, low * 1.01), float(high) / 2]
        )
    if chosen is str:
        return source.choice(WORDS)
    words = get_args(chosen)
    if isinstance(words[0], str):
        return source.choice(words)
    listed = [str(word) for word in get_args(words[0])] or WORDS
    return tuple(source.choices(listed, k=source.randint(0, 4)))


def reread(text: str) -> RunSpec:
    """The spec of a text, its rules aside: a random spec breaks some."""
    from tuner_tui.config.spec_checks import typed, with_kinds

    spec, errors = typed(with_kinds(tomllib.loads(text)))
    assert spec is not None, errors
    return spec


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.stem))
def test_presets_make_the_round_trip(path: Path) -> None:
    spec = parse_spec(path.read_text(), path.name)
    assert parse_spec(spec_text(spec), path.name) == spec
    assert spec_text(spec, path.read_text()) == path.read_text()


def test_random_specs_make_the_round_trip() -> None:
    source = random.Random(7)
    for _ in range(300):
        spec = random_spec(source)
        assert reread(spec_text(spec)) == spec


def test_random_specs_are_written_over_other_texts() -> None:
    source = random.Random(8)
    recipes = [path.read_text() for path in SHIPPED]
    for _ in range(300):
        spec, text = random_spec(source), source.choice([*recipes, spec_text(random_spec(source))])
        written = spec_text(spec, text)
        assert reread(written) == spec
        if text in recipes:
            assert written.startswith(text.split("\n\n")[0]), "the text is changed, not replaced"


def test_a_fresh_text_holds_what_is_not_default() -> None:
    tuning = LoraTuning(rank=32)
    spec = minimal().model_copy(update={"tuning": tuning, "name": "mine"})
    assert spec_text(spec) == (
        'name = "mine"  # Name\n\n'
        '[model]\nsource = "owner/name"  # Model\n\n'
        '[data]\ntrain = "rows.jsonl"  # Training data\n\n'
        '[method]\nkind = "sft"  # Method\n\n'
        '[tuning]\nkind = "lora"  # Tuning\nrank = 32  # Rank\n'
    )


OWN = """\
# My recipe

# the base
[model]
source = "owner/name"  # why this one
precision = "nf4"      # small card

# the rows
[data]
train = "rows.jsonl"

[tuning]
kind = "lora"
rank = 16 # r
targets = [
  "q_proj", # q
]

# ---- end
# of it
"""


def test_only_what_changed_is_changed() -> None:
    spec = set_option(parse_spec(OWN, "run.toml"), "tuning.rank", "32")
    assert spec_text(spec, OWN) == OWN.replace("rank = 16 # r\n", "rank = 32\n")


def test_what_a_comment_said_of_a_changed_value_goes(tmp_path: Path) -> None:
    """The preset for a first try, with other rows and another learning rate: no comment is about the values before."""
    recipe = next(path for path in SHIPPED if path.stem == "first-try").read_text()
    spec = set_option(parse_spec(recipe, "run.toml"), "data.train", str(tmp_path / "six.jsonl"))
    spec = set_option(spec, "training.learning_rate", "2e-4")
    text = spec_text(spec, recipe, is_recipe=True)
    assert text.startswith('name = "first-try"\n')  # and not what the preset is for
    assert f'train = "{tmp_path}/six.jsonl"\n' in text
    assert "learning_rate = 0.0002\n" in text
    text = text.replace(str(tmp_path), "")
    for word in ("96", "octopus", "five times", "in all", "4 steps"):
        assert word not in text
    kept = [
        line for line in recipe.splitlines() if " # " in line and not line.startswith(("#", "train", "learn"))
    ]
    assert len(kept) > 6 and all(line in text for line in kept)
    assert spec_text(parse_spec(recipe, "run.toml"), recipe, is_recipe=True) == recipe


def test_an_options_title_stays_beside_a_changed_value() -> None:
    spec = minimal().model_copy(update={"tuning": LoraTuning(rank=32)})
    text = spec_text(spec)
    changed = spec_text(set_option(spec, "tuning.rank", "64"), text)
    assert changed == text.replace("rank = 32  # Rank", "rank = 64  # Rank")


def test_new_keys_stand_with_their_section() -> None:
    spec = parse_spec(OWN, "run.toml")
    for key, value in (
        ("model.revision", "v1"),
        ("data.limit", "9"),
        ("name", "mine"),
        ("training.seed", "1"),
    ):
        spec = set_option(spec, key, value)
    text = spec_text(spec, OWN)
    assert '# small card\nrevision = "v1"\n\n# the rows' in text
    assert 'train = "rows.jsonl"\nlimit = 9\n' in text
    assert text.startswith('# My recipe\nname = "mine"\n')
    assert text.endswith("# of it\n\n[training]\nseed = 1\n")


def test_removed_keys_go_and_another_kind_takes_its_own_along() -> None:
    spec = set_option(parse_spec(OWN, "run.toml"), "model.precision", "")
    text = spec_text(spec.model_copy(update={"tuning": set_option(spec, "tuning.kind", "full").tuning}), OWN)
    assert 'precision = "auto"\n' in text
    assert "small card" not in text
    assert 'source = "owner/name"  # why this one' in text
    assert "rank" not in text
    assert "q_proj" not in text
    assert "# of it" in text


@pytest.mark.parametrize(
    "base",
    [
        'model = {source = "owner/name"}\ndata = {train = "rows.jsonl"}\n',
        'model.source = "owner/name"\ndata.train = "rows.jsonl"\ntuning.kind = "lora"\n',
        '[model]\nsource = "owner/name"\n[data]\n"train" = "rows.jsonl"\n[training]\n',
        "not = toml = at all",
        'model = 3\ntuning = "x"\nrank = 1\n[samples]\nprompts = 3\n[unknown]\n',
        "",
        "# only a comment",
        "dora = 1\n[tuning]\ndora = 1\n",
    ],
)
def test_any_layout_of_the_base_gives_the_wanted_values(base: str) -> None:
    spec = minimal()
    for key, value in (
        ("tuning.rank", "3"),
        ("model.revision", "v1"),
        ("training.epochs", "2"),
        ("name", "n"),
    ):
        spec = set_option(spec, key, value)
    spec = spec.model_copy(update={"tuning": spec.tuning.model_copy(update={"dora": True})})
    assert parse_spec(spec_text(spec, base), "run.toml") == spec


def test_files_are_written_at_once_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    spec = resolve_paths(minimal(), tmp_path)
    write_spec(spec, path)
    assert read_spec(path) == spec
    assert [each.name for each in tmp_path.iterdir()] == ["run.toml"]


def test_a_relative_path_that_means_the_same_file_stays_relative(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(OWN)
    spec = read_spec(path)
    write_spec(spec, path, base_text=OWN)
    assert path.read_text() == OWN
    (tmp_path / "sub").mkdir()
    write_spec(spec, tmp_path / "sub" / "run.toml", base_text=OWN)
    assert read_spec(tmp_path / "sub" / "run.toml") == spec


# Single options --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("tuning.rank", "32", 32),
        ("tuning.alpha", "8", 8.0),
        ("training.learning_rate", "5e-4", 5e-4),
        ("model.precision", "nf4", "nf4"),
        ("model.precision", '"nf4"', "nf4"),
        ("model.source", "Qwen/Qwen3-4B", "Qwen/Qwen3-4B"),
        ("model.revision", "12345678", "12345678"),
        ("data.train", "2026-11-21", "2026-11-21"),
        ("name", "true", "true"),
        ("tuning.targets", '["q_proj", "v_proj"]', ("q_proj", "v_proj")),
        ("tuning.targets", "attention", "attention"),
        ("method.packing", "true", True),
        ("training.micro_batch", "", None),
        (" tuning.rank ", " 32 ", 32),
    ],
)
def test_an_option_is_set_from_words(key: str, value: str, expected: Any) -> None:
    changed = set_option(minimal(), key, value)
    section, _, name = key.strip().rpartition(".")
    assert getattr(getattr(changed, section) if section else changed, name) == expected


def test_a_kind_takes_only_its_own_options() -> None:
    spec = set_option(minimal(), "tuning.rank", "64")
    full = set_option(spec, "tuning.kind", "full")
    assert full.tuning.kind == "full"
    assert set_option(full, "tuning.kind", "").tuning == LoraTuning()
    assert set_option(spec, "tuning.kind", "lora") == spec
    with pytest.raises(SpecError, match="belongs to kind"):
        set_option(full, "tuning.rank", "3")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("tuning.rank", "0", "must be at least 1 (got 0)"),
        ("tuning.rank", "x", 'must be a whole number (got "x")'),
        ("tuning.rank", "1\nseed = 2", "must be a whole number"),
        ("tuning.rank", "9" * 5000, "must be a whole number (got 5000 characters)"),
        ("tuning.rank", "[" * 5000, "must be a whole number"),
        ("tuning.kind", "loar", 'Did you mean "lora"?'),
        ("model.precision", "4bit", 'Did you mean "nf4"?'),
        ("model.source", "", "must be given"),
        ("training.rank", "3", "belongs in [tuning]"),
        ("rank", "3", "belongs in [tuning]"),
        ("tuning", "lora", "For example tuning.kind."),
        ("name", "\udcff", "an invalid character"),
        ("", "3", "there is no such key"),
        ("a.b.c", "3", "there is no such key"),
        ("tuning.rank.x", "3", "there is no such key"),
        ("name.x", "3", "there is no such key"),
        ("nowhere.x", "3", "there is no such key"),
        ("tuning.", "3", "there is no such key"),
        ("tuning.\x1b", "3", "there is no such key"),
    ],
)
def test_an_option_that_cannot_be_set_is_a_problem_of_its_key(key: str, value: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        set_option(minimal(), key, value)
    (problem,) = caught.value.problems
    assert problem.key == key.strip()
    assert said in f"{problem.message} {problem.hint}"


def test_setting_options_leaves_rules_for_the_end() -> None:
    spec = set_option(minimal(), "training.micro_batch", "16")
    assert check_rules(spec)
    assert not check_rules(set_option(spec, "training.batch_size", "16"))


# Fuzz ------------------------------------------------------------------------------------------------------

SNIPPETS = ['"', "'", '"""', "'''", "[", "]", "{", "}", "=", ".", ",", "#", "\n", "\r", "\\", "\0", "\x1b",
            "é", "\ud800", "\ufeff", "nan", "-inf", "true", "0x", "e999", "1979-05-27", "9" * 20, "[[a]]",
            "x = 1", "rank = 3\n", '[tuning]\nkind = "full"\n', "[model]\n", "method = 1\n",
            "= {a = [{b = 1}]}"]  # fmt: skip


def mutated(text: str, source: random.Random) -> str:
    for _ in range(source.randint(1, 4)):
        at, upto = sorted(source.choices(range(len(text) + 1), k=2))
        match source.randint(0, 4):
            case 0:
                text = text[:at] + source.choice(SNIPPETS) + text[at:]
            case 1:
                text = text[:at] + text[min(upto, at + 12) :]
            case 2:
                rows = text.split("\n")
                source.shuffle(rows)
                text = "\n".join(rows)
            case 3:
                words = tomllib.loads(source.choice(SHIPPED).read_text())
                text = text.replace(source.choice(text.split() or [""]), source.choice(list(words)), 1)
            case _:
                text = text[:at] + text[at : at + 30] * 2 + text[at + 30 :]
    return text


def test_mutated_presets_raise_nothing_but_our_errors(tmp_path: Path) -> None:
    source = random.Random(11)
    path = tmp_path / "run.toml"
    outcomes: dict[str, int] = {}
    for _ in range(500):
        text = mutated(source.choice(SHIPPED).read_text(), source)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            spec = read_spec(path)
        except InputError as error:
            outcome = type(error).__name__
            if isinstance(error, SpecError):
                assert error.problems
                assert all(each.message for each in error.problems)
        else:
            outcome = "read"
            assert resolve_paths(parse_spec(spec_text(spec, text), "run.toml"), tmp_path) == spec
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert outcomes["SpecError"] > 100
    assert outcomes["read"] > 20
    assert issubclass(SpecError, TunerError)


def test_the_file_is_read_without_torch_or_a_screen() -> None:
    code = (
        "import sys, tuner_tui.config.spec_file, tuner_tui.config.presets\n"
        "print(sorted({'torch', 'textual', 'transformers', 'click', 'rich'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
