"""The manual is true: links, commands, fragments of run.toml, the reference, and a page for each method and tuning."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from tests import make_reference
from tests.docs.read import COMMAND, PAGES, ROOT, Code, anchors, code_in, links, our_words, shell_lines
from tuner_tui.cli import tuner_tui
from tuner_tui.config.methods.traits import TRAITS as METHODS
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.spec_file import SpecError, parse_spec
from tuner_tui.config.tunings.traits import TRAITS as TUNINGS

DOCS = ROOT / "docs"
PAGE_NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
CHECKED_TYPES = (click.Choice, click.IntRange, click.FloatRange)
PARTS = ("## When", "## Data", "## Settings that matter", "## Paper", "## Cost")


def broken_links(page: Path) -> list[str]:
    """The relative links of a page to files or headings that are not there."""
    broken = []
    for line, target in links(page):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            broken.append(f"line {line}: {target}: no such file")
        elif anchor and anchor not in anchors(file):
            broken.append(f"line {line}: {target}: no such heading")
    return broken


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_relative_links_and_anchors_exist(name: str) -> None:
    assert broken_links(ROOT / name) == []


def test_the_check_of_links_sees_mistakes(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Two words, and `code`\n\n## Same\n\n## Same\n")
    page = tmp_path / "page.md"
    good = ("other.md", "other.md#two-words-and-code", "other.md#same-1", "#here", "https://example.org/x")
    bad = ("none.md", "other.md#none", "other.md#same-2", "#there", "../other.md")
    page.write_text("# Here\n\n" + "\n\n".join(f"[x]({target})" for target in (*good, *bad)) + "\n")
    broken = broken_links(page)
    assert [line.split(": ")[1] for line in broken] == list(bad)


def problem_of(words: list[str], *, is_whole: bool) -> str:
    """Why a command cannot be meant so: unknown names, options or values, or a wrong number of arguments."""
    context = click.Context(tuner_tui, info_name=COMMAND)
    command: click.Command = tuner_tui
    rest = list(words)
    try:
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            name, found, rest = command.resolve_command(context, rest)
            assert found is not None
            command, context = found, click.Context(found, info_name=name, parent=context)
        values, left, _ = command.make_parser(context).parse_args(rest)
        if left and not isinstance(command, click.Group):
            return f"too many arguments: {' '.join(left)}"
        if isinstance(command, click.Group) and (left or (is_whole and words and not rest)):
            return "a command is missing"
        for parameter in command.get_params(context):
            given = values.get(parameter.name or "")
            is_given = given is not None and parameter.name in values and "UNSET" not in repr(given)
            if not is_given:
                if parameter.required and is_whole and "help" not in values:
                    return f"{parameter.get_error_hint(context)} is missing"
            elif isinstance(kind := parameter.type, CHECKED_TYPES):
                for value in given if isinstance(given, (list, tuple)) else [given]:
                    kind(value, parameter, context)
    except click.ClickException as error:
        return error.format_message()
    return ""


def commands_in(code: Code) -> list[tuple[list[str], bool]]:
    """(words, whether it is whole) of each of our commands in some code; inline code may name one without arguments."""
    if code.language in ("sh", "bash", "console", "text"):
        return [
            (words, code.language != "text") for line in shell_lines(code.text) for words in our_words(line)
        ]
    if not code.language and code.text.startswith(f"{COMMAND} "):
        return [(words, False) for words in our_words(code.text)]
    return []


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_every_command_parses(name: str) -> None:
    problems = []
    for code in code_in(ROOT / name):
        if (
            "reference/commands.md" in name and "[OPTIONS]" in code.text
        ):  # a usage line, which click itself wrote
            continue
        for words, is_whole in commands_in(code):
            if problem := problem_of(words, is_whole=is_whole):
                problems.append(f"{code.place}: tuner-tui {' '.join(words)}: {problem}")
    assert problems == []


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("tuner-tui runs list --limit 5", ""),
        ("tuner-tui", ""),
        (".venv/bin/tuner-tui demo  # a comment", ""),
        ("tuner-tui train run.toml --method dpo && tuner-tui runs show last", ""),
        ("tuner-tui trian run.toml", "No such command 'trian'"),
        ("tuner-tui train run.toml --metod dpo", "No such option"),
        ("tuner-tui train run.toml --method dop", "'dop' is not one of"),
        ("tuner-tui train a b", "too many arguments: b"),
        ("tuner-tui runs show", "is missing"),
        ("tuner-tui runs", "a command is missing"),
        ("tuner-tui queue move last", "is missing"),
        ("tuner-tui runs list --limit 0", "not in the range"),
        ("tuner-tui push last", "--to"),
    ],
)
def test_the_check_of_commands_sees_mistakes(command: str, problem: str) -> None:
    found = "".join(problem_of(words, is_whole=True) for words in our_words(command))
    assert problem in found if problem else found == ""


def toml_problem(text: str) -> str:
    """Why a fragment is no part of a run.toml; model and data are added where it has none."""
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return str(error)
    added = [
        f'{section}.{key} = "demo"'
        for section, key in (("model", "source"), ("data", "train"))
        if key not in tables.get(section, {})
    ]
    lines = text.splitlines()
    for entry in added:
        section, _, key = entry.partition(".")
        if section in tables:
            at = lines.index(f"[{section}]")
            lines.insert(at + 1, key)
        else:
            lines += [f"[{section}]", key]
    try:
        parse_spec("\n".join(lines), "the fragment")
    except SpecError as error:
        return f"{error.title}: {error.message}"
    return ""


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_every_fragment_of_a_spec_is_valid(name: str) -> None:
    problems = [
        f"{code.place}: {problem}"
        for code in code_in(ROOT / name)
        if code.language == "toml" and (problem := toml_problem(code.text))
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[method]\nkind = "dpo"\n', ""),
        ("[model]\nprecision = 'nf4'\n", ""),
        ("[tuning]\nranc = 8\n", "ranc"),
        ("[tuning]\nrank = 0\n", "rank"),
        ("rank = 8\n", "rank"),
        ('[tuning]\nkind = "full"\n[model]\nprecision = "nf4"\n', "full"),
        ("[tuning\n", "TOML"),
    ],
)
def test_the_check_of_fragments_sees_mistakes(text: str, problem: str) -> None:
    found = toml_problem(text)
    assert (problem in found or (problem == "TOML" and found)) if problem else found == ""


def test_the_reference_is_fresh() -> None:
    assert make_reference.stale_pages() == [], "run: python -m tests.make_reference"


def test_the_reference_has_every_key_command_and_event() -> None:
    made = make_reference.pages()
    for section in RunSpec.model_fields:
        assert re.search(rf"\[{section}\]|`{section}`", made["run-toml.md"]), section
    names = [name for name, _, _ in make_reference.commands()]
    assert len(names) > 50
    assert all(f"## {name}\n" in made["commands.md"] for name in names)
    assert "| `loss` | number or null | yes |" in made["events.md"]
    assert "| 130 | " in made["exit-codes.md"] and "| 7 | the run was interrupted |" in made["exit-codes.md"]


@pytest.mark.parametrize(("folder", "kinds"), [("methods", METHODS), ("tunings", TUNINGS)])
def test_every_method_and_tuning_has_a_page(folder: str, kinds: dict[str, object]) -> None:
    pages = {page.stem for page in (DOCS / folder).glob("*.md")} - {"README"}
    assert pages == set(kinds)
    index = (DOCS / folder / "README.md").read_text("utf-8")
    for kind in kinds:
        text = (DOCS / folder / f"{kind}.md").read_text("utf-8")
        assert f'kind = "{kind}"' in text and f"({kind}.md)" in index
        assert [part for part in PARTS if f"\n{part}\n" not in text] == []


def test_every_page_can_be_reached() -> None:
    """From the README, by links alone."""
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        targets = {
            (page.parent / target.partition("#")[0]).resolve()
            for _, target in links(page)
            if "://" not in target
        }
        waiting += [
            target
            for target in targets
            if target.suffix == ".md" and target.is_file() and target not in reached
        ]
    assert {page.relative_to(ROOT).as_posix() for page in DOCS.rglob("*.md")} <= {
        page.relative_to(ROOT).as_posix() for page in reached if page.is_relative_to(ROOT)
    }
