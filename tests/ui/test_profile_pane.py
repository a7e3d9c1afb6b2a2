"""The Monitor's part Profile: a live run is asked, and what it measured is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ui.looking import footer_keys, screen_lines, until, wait_for
from tests.ui.recorded_runs import EVIL, recorded_profile
from tests.ui.test_monitor import monitor
from tuner_tui.runs.control import take_requests
from tuner_tui.runs.events import RequestAccepted, StepsProfiled
from tuner_tui.runs.journal import append_event
from tuner_tui.runs.profiles import PROFILE_FILE, write_profile

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder


async def test_a_live_run_is_measured(runs: dict[str, RunFolder]) -> None:
    folder = runs["running"]
    async with monitor(folder) as (app, pilot):
        await until(pilot, lambda: "Stop" in footer_keys(app).values())
        await pilot.press("M")
        await pilot.pause(0.2)
        assert not list(folder.control.iterdir()), "the key belongs to the part"
        await pilot.press("5")
        text = await wait_for(pilot, "[5 Profile]", "M measures where the time of the next steps goes")
        assert f"$ tuner-tui runs profile {folder.name}" in text
        assert footer_keys(app)["M"] == "Measure"
        await pilot.press("M")
        await wait_for(pilot, "Profile requested")
        await until(pilot, lambda: bool(list(folder.control.glob("*.json"))))
        (asked,) = take_requests(folder)
        assert asked.request == "profile"
        accepted = RequestAccepted(id=asked.id, request="profile", takes_effect="after step 17")
        append_event(folder.events, accepted)
        await wait_for(pilot, "accepted, takes effect after step 17", "being measured")
        write_profile(folder.path, recorded_profile())
        append_event(folder.events, StepsProfiled(first_step=18, steps=5, path=PROFILE_FILE))
        text = await wait_for(
            pilot, "Set training.micro_batch = 4 (now 2)", "forward          700.0 ms", "steps 9 to 13"
        )
        assert "takes effect" not in text, "it was carried out"
        assert "It would save about 22% of the time." in text
        await pilot.press("4", "3")
        await wait_for(pilot, "Profiled steps 18 to 22: profile.json")


@pytest.mark.parametrize("size", [(80, 24), (50, 24), (140, 45)])
async def test_operators_are_shown_as_they_are(runs: dict[str, RunFolder], size: tuple[int, int]) -> None:
    async with monitor(runs["stopped"], size) as (app, pilot):
        await pilot.press("5")
        await wait_for(pilot, "Set training.micro_batch", "forward", "35.0%")
        assert "Measure" not in footer_keys(app).values()
        await pilot.press("end")
        await wait_for(pilot, "idle, other  aten::mm", "[bold red]x[/]")
        assert EVIL not in "\n".join(screen_lines(app))


async def test_an_ended_run_without_a_profile_tells_the_command(runs: dict[str, RunFolder]) -> None:
    async with monitor(runs["finished"], (140, 45)) as (_, pilot):
        await pilot.press("5")
        await wait_for(pilot, "not measured", f"tuner-tui profile {runs['finished'].spec}")


async def test_a_profile_that_cannot_be_read_is_none(runs: dict[str, RunFolder]) -> None:
    (runs["stopped"].path / PROFILE_FILE).write_text('{"at": 1')
    async with monitor(runs["stopped"], (140, 45)) as (_, pilot):
        await pilot.press("5")
        await wait_for(pilot, "not measured")
