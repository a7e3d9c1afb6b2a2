"""Findings of the checks before the first step: they stop the run, unless data.allow names them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tuner_tui import guarded
from tuner_tui.errors import InputError
from tuner_tui.files import write_atomic
from tuner_tui.guarded import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner_tui.config.data_section import Allowed
    from tuner_tui.worker.job import Job

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """One problem that is likely to waste the run."""

    name: Allowed | Literal["template_drops_fields"]
    what: str
    why: str
    how: str
    """What to do about it."""
    stops: bool = True
    """Whether the run ends unless data.allow names it; other findings are only named."""


def settle(job: Job, findings: Iterable[Finding]) -> None:
    """Record findings that data.allow names; raise InputError for others that stop a run, which ends it."""
    findings = list(findings)
    for finding in findings:
        if not finding.stops:
            job.warn(f"{finding.what[0].upper()}{finding.what[1:]}. {finding.why}", finding.how)
    findings = [finding for finding in findings if finding.stops]
    refused = [finding for finding in findings if finding.name not in job.spec.data.allow]
    if refused:
        first = refused[0]
        more = f" Also found: {', '.join(finding.name for finding in refused[1:])}." if refused[1:] else ""
        raise InputError(
            f"Stopped before the first step: {first.what}",
            f"{first.why}{more}",
            f'{first.how} To train anyway, add "{first.name}" to data.allow.',
        )
    for finding in findings:
        job.warn(f"Allowed by data.allow: {finding.name}: {finding.what}. {finding.why}", finding.how)
    if findings:
        _record(job, findings)


def _record(job: Job, findings: Sequence[Finding]) -> None:
    """Add the allowed findings to the run's report."""
    path = job.folder.report
    try:
        before = guarded.read_text(path) if path.exists() else ""
        heading = "## Allowed findings\n"
        lines = [f"- `{finding.name}`: {finding.what}. {finding.why}\n" for finding in findings]
        new = "".join(line for line in lines if line not in before)
        if new:
            write_atomic(path, f"{before}{'' if heading in before else heading + chr(10)}{new}")
    except (OSError, Unreadable) as error:  # the events have it as well
        _log.error("the report cannot be written: %s", error)
