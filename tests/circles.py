"""No modules import each other in a circle: a contract of `lint-imports`, also `python -m tests.circles`.

Imports inside functions count as much as those at the top of a file: deferring one hides a circle and leaves it there.
Those under TYPE_CHECKING do not.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import grimp
from importlinter import Contract, ContractCheck, output

if TYPE_CHECKING:
    from grimp import ImportGraph


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


class NoCircles(Contract):
    """The contract, as pyproject.toml names it."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        groups = circles(graph)
        return ContractCheck(kept=not groups, metadata={"lines": circle_lines(graph)})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["lines"]:
            output.print_error(line) if line else output.new_line()


def main() -> int:
    """Print the circles; 0 when there are none."""
    graph = grimp.build_graph("tuner_tui", exclude_type_checking_imports=True)
    print("\n".join(circle_lines(graph)))
    return bool(circles(graph))


if __name__ == "__main__":
    sys.exit(main())
