"""The data card of an export: what the rows are, who annotated them, and known limitations."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from tuner_tui.config.methods.traits import trained_with
from tuner_tui.feedback.statistics import annotator_statistics
from tuner_tui.text import counted, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.feedback.exporting import ExportRow, Filters, Kind
    from tuner_tui.feedback.intervals import Share
    from tuner_tui.feedback.records import Contents
    from tuner_tui.feedback.store import Store

MOST_NAMED = 20
ROWS: dict[Kind, str] = {
    "pairs": "preference pairs (`prompt`, `chosen`, `rejected`)",
    "rated": "unpaired preferences (`prompt`, `completion`, `label`)",
    "demonstrations": "demonstrations (`prompt`, `completion`)",
}


def data_card(store: Store, kind: Kind, rows: Sequence[ExportRow], filters: Filters) -> str:
    """The card, in Markdown with the front matter that the Hub reads."""
    kinds = Counter(row.annotator_kind for row in rows)
    unfinished = sum(row.is_unfinished for row in rows)
    contents = store.contents()
    statistics = annotator_statistics(contents.items, contents.entries)
    makers = Counter(
        str(value) or "not known"
        for row in rows
        for name, value in row.columns.items()
        if name.endswith("_model")
    )
    lines = [
        "---",
        "tags: [tuner-tui, human-feedback]",
        "task_categories: [text-generation]",
        "---",
        f"# {store.path.stem}",
        "",
        f"{counted(len(rows), 'row')} of {ROWS[kind]}, for {trained_with(kind)}, "
        f"exported {time.strftime('%Y-%m-%d')} by tuner-tui.",
        "",
        "## Annotators",
        "",
        f"- by a person: {kinds['person']}",
        f"- by a judge model, not reviewed by a person: {kinds['ai']} (`rater_kind` is `ai` in these rows)",
        f"- imported from files: {kinds['import']} (annotator unknown)",
        f"- slight preferences: {sum(row.strength == 'slight' for row in rows)}",
        f"- prompts: {len({row.prompt_key for row in rows})}",
        "",
        "## Sources of the answers",
        "",
        *(f"- {name}: {count}" for name, count in makers.most_common(20)),
        "",
        "## Notes",
        "",
        f"- {counted(unfinished, 'row has', 'rows have')} an answer that was truncated at its maximum length "
        "(`..._finished` is false). It "
        "has no EOS token. A trainer that appends EOS to every answer teaches a model to stop there; leave these rows "
        "out for such a trainer (`--finished`).",
        *_unreadable_words(contents),
        "- Filters: " + (", ".join(_filter_words(filters)) or "none"),
        f"- First position chosen: {_share(statistics.position.share)}; bias: {statistics.position.verdict}.",
        f"- Longer answer chosen: {_share(statistics.length.share)}; bias: {statistics.length.verdict}.",
        f"- Self-agreement on repeated items, answers swapped: {_share(statistics.agreement)}.",
        "- Answers of a model are subject to that model's licence; check it before you publish.",
        "",
    ]
    return "\n".join(lines)


def _share(share: Share) -> str:
    if not share.total:
        return "not measured"
    return f"{share.share:.0%} of {share.total} (95% interval {share.low:.0%} to {share.high:.0%})"


def _unreadable_words(contents: Contents) -> list[str]:
    """Names the rows of the collection that cannot be read and so are not exported."""
    if not contents.problems:
        return []
    named = [f"  - {plain(str(problem))}" for problem in contents.problems[:MOST_NAMED]]
    if len(contents.problems) > MOST_NAMED:
        named.append(f"  - and {len(contents.problems) - MOST_NAMED} more")
    return [
        f"- {counted(len(contents.problems), 'row')} of the collection cannot be read and "
        f"{'is' if len(contents.problems) == 1 else 'are'} not included:",
        *named,
    ]


def _filter_words(filters: Filters) -> list[str]:
    names = {
        "person_only": "annotated here by a person only",
        "with_ai": "judge model's proposals included",
        "clear_only": "clear preferences only",
        "agreed_only": "no items with disagreement",
        "finished_only": "no truncated answers",
    }
    return [words for name, words in names.items() if getattr(filters, name)]
