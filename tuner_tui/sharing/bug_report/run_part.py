"""The part of the report about one run: its spec, plan, events and log, as far as they may leave."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tuner_tui import guarded
from tuner_tui.files import LineFollower, last_lines
from tuner_tui.guarded import Unreadable
from tuner_tui.planning.plan import read_plan
from tuner_tui.runs.events import Event, Sampled, StepLogged, decode_all
from tuner_tui.runs.problems import folder_problems
from tuner_tui.runs.status import read_run
from tuner_tui.sharing.bug_report.fields import shown_record
from tuner_tui.sharing.bug_report.log import shown_log
from tuner_tui.sharing.bug_report.options import shown_spec

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.sharing.bug_report.known_texts import KnownTexts

LOG_LINES = 2000
"""Last lines of the log that are looked at."""
FILES = [
    "run.toml",
    "plan.json",
    "events.jsonl",
    "telemetry.jsonl",
    "worker.log",
    "report.md",
    "lock",
    "control",
    "checkpoints",
    "adapter",
    "started-from",
]


def run_sections(run: RunFolder, texts: KnownTexts, most_lines: int) -> list[tuple[str, str]]:
    """The sections (title, text) about a run, with at most so many lines of events and of its log.

    What cannot be read is named; a damaged folder is a reason for a report, not against one.
    """
    return [
        ("Run", _state(run, texts)),
        ("Its run.toml", _spec(run)),
        ("Its plan", _plan(run, texts)),
        ("Its events", _events(run, texts, most_lines)),
        ("The end of its log", _log(run, texts, most_lines)),
    ]


def _state(run: RunFolder, texts: KnownTexts) -> str:
    follower = read_run(run)
    lines = [f"status: {follower.status}"]
    problems = [problem.words for problem in folder_problems(run)]
    lines += [f"problem: {texts.shown(words)}" for words in (*problems, follower.problem) if words]
    lines.append(f"files: {', '.join(name for name in FILES if (run.path / name).exists()) or 'none'}")
    return "\n".join(lines)


def _spec(run: RunFolder) -> str:
    try:
        return as_lines(shown_spec(guarded.read_toml(run.spec)))
    except Unreadable:
        return "It cannot be read."


def _plan(run: RunFolder, texts: KnownTexts) -> str:
    try:
        return as_lines(shown_record(read_plan(run.plan), texts))
    except Unreadable:
        return "It cannot be read."


def _events(run: RunFolder, texts: KnownTexts, most_lines: int) -> str:
    follower = LineFollower(run.events)
    events: list[Event] = []
    unreadable = 0
    try:
        while lines := follower.read():
            decoded = decode_all(lines)
            events += decoded.events
            unreadable += decoded.unreadable_lines
    except Unreadable:
        return "They cannot be read."
    begin = events[0].at if events else 0.0
    selected = _thinned(events, most_lines)
    shown = [_event_line(event, begin, texts) for event in selected]
    if len(selected) < len(events):
        shown.append(f"[{len(events) - len(selected)} of {len(events)} events not shown]")
    if unreadable or follower.skipped_lines:
        shown.append(f"[{unreadable + follower.skipped_lines} lines cannot be read]")
    return "\n".join(shown) or "There are none."


def _thinned(events: list[Event], most: int) -> list[Event]:
    """At most so many events: the last steps and samples, and of all others the first and the last ones."""
    frequent = [event for event in events if isinstance(event, (StepLogged, Sampled))]
    others = [event for event in events if not isinstance(event, (StepLogged, Sampled))]
    few = most // 4
    selected = {id(event) for event in (*frequent[:3], *frequent[-few:])}
    selected |= {id(event) for event in (*others[:few], *others[-2 * few :])}
    return [event for event in events if id(event) in selected]


def _event_line(event: Event, begin: float, texts: KnownTexts) -> str:
    tag = str(event.__struct_config__.tag)
    fields = json.dumps(shown_record(event, texts), ensure_ascii=False)
    return f"{event.at - begin:10.1f} s  {tag:<11}{fields}"


def _log(run: RunFolder, texts: KnownTexts, most_lines: int) -> str:
    lines = shown_log(last_lines(run.log, LOG_LINES), texts)
    if len(lines) > most_lines:
        lines = [f"[{len(lines) - most_lines} earlier lines not shown]", *lines[-most_lines:]]
    return "\n".join(lines) or "It is empty or cannot be read."


def as_lines(fields: dict[str, Any]) -> str:
    """Fields one a line, values as JSON, lists of records with one record a line."""
    lines = []
    for key, value in fields.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines += [f"{key}:", *(f"  {json.dumps(item, ensure_ascii=False)}" for item in value)]
        else:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) or "Nothing is set."
