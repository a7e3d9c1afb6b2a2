"""Every screen at 80x24 and 140x45, compared with its picture in `__snapshots__`.

After a change that is meant: `pytest tests/ui/test_pictures.py --snapshot-update`, then look at each picture that
changed (`python -m tests.ui.pictures FOLDER TOUR` makes PNG files) before committing it.
"""

from __future__ import annotations

import difflib
import html
import re
from typing import TYPE_CHECKING

import pytest
from pytest_textual_snapshot import SVGImageExtension, normalize_svg  # type: ignore[import-untyped]

from tests.ui.fixed_host import fixed_host
from tests.ui.pictures import SIZES, TOURS, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syrupy.assertion import SnapshotAssertion

    from tuner_tui.runs.folder import RunFolder


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, RunFolder]]:
    """The fixed machine, made once: no tour changes its files."""
    with pytest.MonkeyPatch.context() as patch, fixed_host(patch) as made:
        yield made


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("tour", TOURS)
async def test_screens(
    snapshot: SnapshotAssertion, runs: dict[str, RunFolder], tour: str, size: tuple[int, int]
) -> None:
    pictures = snapshot.use_extension(SVGImageExtension)
    changes: list[str] = []
    async for name, svg in walk(tour, size, runs):
        is_same = pictures(name=name) == svg
        if not is_same:
            *_, compared = pictures.executions.values()
            changes += [f"{name}:", *_changed_lines(str(compared.recalled_data or ""), normalize_svg(svg))]
    assert not changes, "\n".join(changes)


def _changed_lines(before: str, after: str) -> list[str]:
    """The texts in which two pictures differ, or that only their colours or places do."""
    texts = [
        [html.unescape(text) for text in re.findall("<text [^>]*>([^<]*)</text>", svg)]
        for svg in (before, after)
    ]
    lines = [line for line in difflib.ndiff(texts[0], texts[1]) if line[0] in "+-"]
    return lines[:20] or ["  the same text in other colours or places"]
