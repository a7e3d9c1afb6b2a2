"""Labels along a chart's x axis: steps are whole, and none comes twice."""

from __future__ import annotations

import pytest

from tuner_tui.ui.widgets.plot_axes import x_ticks


@pytest.mark.parametrize(("left", "right"), [(1, 2), (1, 3), (0, 1), (1, 36), (100, 103), (1, 100_000)])
@pytest.mark.parametrize("most", [2, 5, 10])
def test_steps_are_whole_and_none_comes_twice(left: float, right: float, most: int) -> None:
    places, labels = x_ticks(left, right, most, "steps")
    assert 1 <= len(places) <= most + 1
    assert all(place == round(place) for place in places)
    assert len(set(labels)) == len(labels)
    assert labels == [f"{round(place):,}" for place in places]


def test_labels_of_time_do_not_repeat() -> None:
    places, labels = x_ticks(0, 3, 10, "time")
    assert len(set(labels)) == len(labels) == len(places)
