"""A rule of the run spec: a combination of options that cannot run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec

Options = TypeVar("Options")


@dataclass(frozen=True)
class Rule:
    """A combination of options that cannot run, the reason, and what to do instead."""

    keys: tuple[str, ...]
    """The options involved; the problem is reported at the first."""
    applies: Callable[[RunSpec], bool]
    reason: str
    remedy: str


def of_method(kind: type[Options], applies: Callable[[Options, RunSpec], bool]) -> Callable[[RunSpec], bool]:
    """The condition of a rule of one method alone."""
    return lambda spec: isinstance(spec.method, kind) and applies(spec.method, spec)


def of_tuning(kind: type[Options], applies: Callable[[Options, RunSpec], bool]) -> Callable[[RunSpec], bool]:
    """The condition of a rule of one tuning alone."""
    return lambda spec: isinstance(spec.tuning, kind) and applies(spec.tuning, spec)
