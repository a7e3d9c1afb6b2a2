"""Targets that an adapter names and the model does not have."""

from __future__ import annotations

from collections.abc import Sequence


def missing_targets(targets: Sequence[str], modules: frozenset[str]) -> tuple[str, str] | None:
    """Why targets cannot be adapted, and what to do; `modules` are the last parts of the linear layers' names."""
    missing = [target for target in targets if target.rpartition(".")[2] not in modules]
    if not missing:
        return None
    return (
        f"tuning.targets names {', '.join(missing)}, which the model does not have",
        f"Its linear layers are: {', '.join(sorted(modules))}.",
    )
