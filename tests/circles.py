"""No modules import each other in a circle: a contract of `lint-imports`, also `python -m tests.circles`.

Imports inside functions count as much as those at the top of a file: deferring one hides a circle and leaves it there.
So do imports by name (`import_module`): where a part of the name is computed, every module that it can name counts.
Those under TYPE_CHECKING do not.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grimp
from importlinter import Contract, ContractCheck, output

import tuner_tui

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Set

    from grimp import ImportGraph

PACKAGE = Path(tuner_tui.__file__).parent
IMPORTERS = frozenset(("import_module", "__import__"))
ONE_NAME = r"[^.]+"
"""What a computed part of a name may be: one module's own name."""


class UnreadableImport(Exception):
    """An import by a name of which nothing can be read in the source."""


def named_imports(module: str, code: str, modules: Iterable[str], *, is_package: bool) -> Iterator[str]:
    """The modules that a module's source can import by name. Raises UnreadableImport."""
    tree = ast.parse(code)
    aliases = _aliases(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _last_name(node.func) not in IMPORTERS or not node.args:
            continue
        pattern = _pattern(node.args[0], {**aliases, "": module})
        if pattern.startswith(r"\."):  # relative to a package, the second argument or the module's own
            package = node.args[1] if len(node.args) > 1 else None
            parent = module if is_package else module.rpartition(".")[0]
            before = _pattern(package, {**aliases, "": module}) if package else re.escape(parent)
            pattern = before + pattern
        if pattern.replace(ONE_NAME, "").strip("\\.") == "":
            raise UnreadableImport(f"{module}:{node.lineno}: import_module of a name that cannot be read")
        yield from (name for name in modules if re.fullmatch(pattern, name) and name != module)


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _aliases(tree: ast.AST) -> dict[str, str]:
    """What names of imported modules stand for."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {each.asname or each.name.partition(".")[0]: each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            aliases |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return aliases


def _pattern(node: ast.expr, aliases: dict[str, str]) -> str:
    """A regular expression of the names that an expression can have."""
    match node:
        case ast.Constant(value=str() as text):
            return re.escape(text)
        case ast.JoinedStr(values=parts):
            return "".join(_pattern(part, aliases) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _pattern(left, aliases) + _pattern(right, aliases)
        case ast.FormattedValue(value=value):
            return _pattern(value, aliases)
        case ast.Name(id="__name__"):
            return re.escape(aliases[""])
        case ast.Attribute(value=ast.Name(id=name), attr="__name__") if name in aliases:
            return re.escape(aliases[name])
    return ONE_NAME


def add_named_imports(graph: ImportGraph, package: Path = PACKAGE) -> None:
    """Add to a graph what modules import by name. Raises UnreadableImport."""
    modules: Set[str] = set(graph.modules)
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        code = path.read_text(encoding="utf-8")
        for imported in named_imports(module, code, modules, is_package=is_package):
            graph.add_import(importer=module, imported=imported)


def circles(graph: ImportGraph) -> list[list[str]]:
    """The groups of modules in which each one imports every other, directly or through others of the group."""
    groups: list[list[str]] = []
    remaining = set(graph.modules)
    while remaining:
        module = remaining.pop()
        group = graph.find_upstream_modules(module) & graph.find_downstream_modules(module)
        if group:
            groups.append(sorted(group | {module}))
            remaining -= group
    return sorted(groups)


def circle_lines(graph: ImportGraph) -> list[str]:
    """How many circles there are, and the imports that make each."""
    groups = circles(graph)
    lines = [f"{len(groups)} import circles in {len(graph.modules)} modules"]
    for group in groups:
        for module in group:
            inside = sorted(graph.find_modules_directly_imported_by(module) & set(group))
            lines.append(f"  {module} imports {', '.join(inside)}")
        lines.append("")
    return lines


def whole_graph() -> ImportGraph:
    """The package's imports, those by name included. Raises UnreadableImport."""
    graph = grimp.build_graph("tuner_tui", exclude_type_checking_imports=True)
    add_named_imports(graph)
    return graph


class NoCircles(Contract):
    """The contract, as pyproject.toml names it."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        whole = whole_graph()
        return ContractCheck(kept=not circles(whole), metadata={"lines": circle_lines(whole)})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["lines"]:
            output.print_error(line) if line else output.new_line()


def main() -> int:
    """Print the circles; 0 when there are none."""
    graph = whole_graph()
    print("\n".join(circle_lines(graph)))
    return bool(circles(graph))


if __name__ == "__main__":
    sys.exit(main())
