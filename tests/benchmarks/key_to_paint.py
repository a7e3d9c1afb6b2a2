"""From a key to the painted change, for every key of Home, New run, Monitor and Data, with 300 runs and 100,000 rows.

    python -m tests.benchmarks.key_to_paint [--rounds 5] [--screens home,new,monitor,data] [--judge wall|cpu]

Each key that is available in a state of a screen is pressed there, but for those that start, stop or delete something
without a question. What counts is the first paint that shows anything else than before. The same kinds of change (the
cursor moves, a letter is typed that narrows a list of 300, a part, a dialog or a screen opens or closes) are measured
in the smallest Textual app that makes them, before and after ours. A key may take 100 ms, and 3 times the smallest
app's; exit code 1 when one takes more. On a machine with other work judge by the main thread's CPU time, `--judge cpu`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from textual import events, on
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.pilot import Pilot
from textual.screen import ModalScreen, Screen
from textual.widgets import ContentSwitcher, Footer, Input, OptionList, Static

RUNS, ROWS = 300, 100_000
MOST_MS, MOST_TIMES = 100.0, 3.0
QUIET_SECONDS, PATIENCE_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 60.0, 5.0
LEFT_OUT = (
    "quit", "suspend", "command_palette", "demo", "start", "probe", "sample", "copy_command", "resume", "pause",
    "save", "edit_text", "screen.", "app.focus",
)  # fmt: skip
"""Parts of actions that start or change something outside the screen, or that are Textual's own."""
KINDS = ("move", "text", "part", "dialog", "screen", "back")


@dataclass(frozen=True)
class Press:
    """One key in one state."""

    state: str
    key: str
    kind: str
    wall_ms: float
    cpu_ms: float


class Painted:
    """Mixed into an app: notes when it has drawn something else than what was there."""

    changed: asyncio.Event
    before: str = ""
    overhead = 0.0
    painted_at = 0.0
    painted_cpu = 0.0
    drawn_at = 0.0

    def _display(self, *arguments: Any, **named: Any) -> None:
        super()._display(*arguments, **named)  # type: ignore[misc]
        wall, cpu = time.perf_counter(), time.thread_time()
        self.drawn_at = wall
        if self.before and not self.changed.is_set() and picture(self) != self.before:  # type: ignore[arg-type]
            self.painted_at, self.painted_cpu = wall - self.overhead, cpu - self.overhead
            self.changed.set()
        self.overhead += time.perf_counter() - wall


def picture(app: App[Any]) -> str:
    """What is on the screen: its text and colours."""
    return "\n".join(str(list(strip)) for strip in app.screen._compositor.render_strips())


async def quiet(pilot: Pilot[Any]) -> None:
    """Wait until all messages were handled and nothing is drawn any more."""
    app: Any = pilot.app
    await pilot.pause()
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while (
        not app.drawn_at or time.perf_counter() - app.drawn_at < QUIET_SECONDS
    ) and time.perf_counter() < deadline:
        await asyncio.sleep(0.02)


async def press(pilot: Pilot[Any], state: str, key: str) -> Press | None:
    """Press a key once; None where nothing changes."""
    app: Any = pilot.app
    await quiet(pilot)
    stack, parts = list(app.screen_stack), _parts(app)
    is_typing = isinstance(app.focused, Input) and len(key) == 1
    app.changed, app.before, app.overhead = asyncio.Event(), picture(app), 0.0
    event = events.Key(key, key if len(key) == 1 else None)
    event.set_sender(app)
    cpu, wall = time.thread_time(), time.perf_counter()
    app.post_message(event)
    try:
        await asyncio.wait_for(app.changed.wait(), LONGEST_WAIT_SECONDS)
    except TimeoutError:
        app.before = ""
        return None
    app.before = ""
    await pilot.pause()
    after = list(app.screen_stack)
    if len(after) > len(stack):
        kind = "dialog" if isinstance(after[-1], ModalScreen) else "screen"
    elif len(after) < len(stack):
        kind = "back"
    elif is_typing:
        kind = "text"
    else:
        kind = "part" if _parts(app) != parts else "move"
    return Press(state, key, kind, 1000 * (app.painted_at - wall), 1000 * (app.painted_cpu - cpu))


def _parts(app: App[Any]) -> list[object]:
    return (
        [switcher.current for switcher in app.screen.query(ContentSwitcher)] if app.screen.is_mounted else []
    )


# The smallest app ------------------------------------------------------------------------------------------


class SmallDialog(ModalScreen[None]):
    """A question with a list."""

    BINDINGS = [("escape", "dismiss", "Close")]  # noqa: RUF012

    def compose(self) -> ComposeResult:
        yield Static("A question")
        yield Input()
        yield OptionList(*(f"answer {number}" for number in range(20)))


class SmallScreen(Screen[None]):
    """A screen with a list and a footer."""

    BINDINGS = [("escape", "dismiss", "Back")]  # noqa: RUF012

    def compose(self) -> ComposeResult:
        yield Static("A screen")
        yield OptionList(*(f"line {number}" for number in range(RUNS)))
        yield Footer()


class Smallest(Painted, App[None]):
    """Every kind of change, with as little as Textual needs for it."""

    BINDINGS = [  # noqa: RUF012
        Binding("f2", "dialog", "Dialog"),
        Binding("f3", "screen", "Screen"),
        Binding("f4", "part", "Part"),
    ]

    def compose(self) -> ComposeResult:
        with ContentSwitcher(initial="one"):
            yield OptionList(*(f"run {number}" for number in range(RUNS)), id="one")
            yield OptionList(*(f"row {number}" for number in range(RUNS)), id="two")
        yield Input()
        yield OptionList(*(f"file {number}" for number in range(RUNS)), id="narrowed")
        yield Footer()

    def action_dialog(self) -> None:
        self.push_screen(SmallDialog())

    def action_screen(self) -> None:
        self.push_screen(SmallScreen())

    def action_part(self) -> None:
        switcher = self.query_one(ContentSwitcher)
        switcher.current = "two" if switcher.current == "one" else "one"

    @on(Input.Changed)
    def narrow(self, event: Input.Changed) -> None:
        shown = self.query_one("#narrowed", OptionList)
        shown.clear_options()
        shown.add_options(name for number in range(RUNS) if event.value in (name := f"file {number}"))


async def smallest(rounds: int) -> list[Press]:
    """Each kind of change in the smallest app."""
    app = Smallest()
    presses: list[Press | None] = []
    async with app.run_test(size=(120, 40)) as pilot:
        for number in range(rounds):
            app.set_focus(app.query_one("#one"))
            for key in ("down", "down", "f4", "f4", "f2", "escape", "f3", "escape"):
                presses.append(await press(pilot, "smallest", key))
            app.set_focus(app.query_one(Input))
            app.query_one(Input).value = ""
            presses.append(await press(pilot, "smallest", str(number % 10)))
        await quiet(pilot)
    return [each for each in presses if each is not None]


# Our screens -----------------------------------------------------------------------------------------------

Prepare = Callable[[Pilot[Any]], Awaitable[None]]


def make_home(home: Path) -> None:
    """300 runs, 100,000 rows and a tiny model."""
    from tests.benchmarks.first_paint import make_runs
    from tests.tiny_model import make_tiny_model

    make_runs(home, count=RUNS)
    (home / "work").mkdir()
    with (home / "work" / "rows.jsonl").open("w") as file:
        for number in range(ROWS):
            row = {"question": f"What is {number} plus {number}?", "answer": f"It is {2 * number}."}
            file.write(json.dumps(row) + "\n")
    make_tiny_model(home / "work" / "tiny")


async def ours(names: list[str], rounds: int) -> list[Press]:
    """Every key of every state of the named screens."""
    from tuner_tui.ui.app import TunerApp

    class Measured(Painted, TunerApp):
        CSS_PATH = _css_of(TunerApp)

    app = Measured()
    app.animation_level = "none"
    presses = []
    async with app.run_test(size=(120, 40)) as pilot:
        for name in names:
            for state, prepare in (await STATES[name](pilot)).items():
                await prepare(pilot)
                await quiet(pilot)
                for key in _keys(app):
                    for _ in range(rounds):
                        await _base(pilot, prepare)
                        measured = await press(pilot, f"{name}: {state}", key)
                        if measured is None:  # nor would it change anything the next time
                            break
                        presses.append(measured)
                print(f"{name}: {state} done", file=sys.stderr, flush=True)
            while len(app.screen_stack) > 1:
                app.pop_screen()
                await pilot.pause()
        await quiet(pilot)
    return presses


def _css_of(kind: type[App[Any]]) -> list[str | PurePath]:
    """The app's style sheets, which a class of its own would look for beside this file."""
    folder = Path(sys.modules[kind.__module__].__file__ or "").parent
    names = kind.CSS_PATH if isinstance(kind.CSS_PATH, list) else [kind.CSS_PATH or ""]
    return [folder / name for name in names]


async def _base(pilot: Pilot[Any], prepare: Prepare) -> None:
    """Back in the state in which a key is pressed."""
    await prepare(pilot)
    await pilot.pause()


def _keys(app: App[Any]) -> list[str]:
    """The keys that do something here, one of each action; a letter where the cursor is in a field."""
    keys: dict[str, str] = {}
    for active in app.screen.active_bindings.values():
        binding = active.binding
        is_letter = len(binding.key) == 1 or binding.key in ("slash", "space", "question_mark")
        if not active.enabled or any(part in binding.action for part in LEFT_OUT):
            continue
        if not (is_letter and isinstance(app.focused, Input)):
            keys.setdefault(binding.action, binding.key)
    return [*keys.values(), *(["w"] if isinstance(app.focused, Input) else [])]


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + PATIENCE_SECONDS * 5
    while not condition():
        if time.perf_counter() > deadline:
            raise TimeoutError("a screen did not get ready")
        await asyncio.sleep(0.05)


async def _above(pilot: Pilot[Any], screen: Screen[Any]) -> None:
    """Close what a key opened above a screen."""
    while pilot.app.screen is not screen and screen in pilot.app.screen_stack:
        pilot.app.pop_screen()
        await pilot.pause()


async def home_states(pilot: Pilot[Any]) -> dict[str, Prepare]:
    """The list of runs, and its filter."""
    from tuner_tui.ui.widgets.runs_table import RunsTable

    home = pilot.app.screen
    await _until(lambda: bool(home.query(RunsTable)) and home.query_one(RunsTable).has_focus)

    async def listed(pilot: Pilot[Any]) -> None:
        await _above(pilot, home)
        for field in home.query(Input):
            field.value = ""
        home.set_focus(home.query_one(RunsTable))

    async def filtering(pilot: Pilot[Any]) -> None:
        await listed(pilot)
        await pilot.press("slash")

    return {"runs": listed, "filter": filtering}


async def new_states(pilot: Pilot[Any]) -> dict[str, Prepare]:
    """The five steps with a tiny model and 100,000 rows."""
    from tuner_tui.config.spec import DataSpec, ModelSpec, RunSpec
    from tuner_tui.ui.screens.new_run.screen import NewRunScreen
    from tuner_tui.ui.screens.new_run.state import STEPS

    spec = RunSpec(model=ModelSpec(source="./tiny"), data=DataSpec(train="rows.jsonl"))
    screen = NewRunScreen(spec)
    await pilot.app.push_screen(screen)
    await _until(
        lambda: (
            screen.state is not None and all(screen.state.step(step).status != "waiting" for step in STEPS)
        )
    )
    await _until(lambda: screen.state is not None and screen.state.rows.longest is not None)

    def at(step: Any) -> Prepare:
        async def prepare(pilot: Pilot[Any]) -> None:
            await _above(pilot, screen)
            for field in screen.query("SearchInput"):
                field.value = ""  # type: ignore[attr-defined]
            if screen.step != step:
                screen.step = step

        return prepare

    return {step: at(step) for step in STEPS}


async def monitor_states(pilot: Pilot[Any]) -> dict[str, Prepare]:
    """The parts of a finished run."""
    from tests.benchmarks.first_paint import NEWEST
    from tuner_tui.config import paths
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.ui.app import TunerApp

    assert isinstance(pilot.app, TunerApp)
    folder = next(path for path in paths.runs_dir().iterdir() if NEWEST in path.name)
    pilot.app.open_monitor(RunFolder(folder))
    await pilot.pause()
    screen = pilot.app.screen
    await asyncio.sleep(1.0)

    def at(key: str) -> Prepare:
        async def prepare(pilot: Pilot[Any]) -> None:
            await _above(pilot, screen)
            await pilot.press(key)

        return prepare

    return {f"part {number}": at(str(number)) for number in range(1, 5)}


async def data_states(pilot: Pilot[Any]) -> dict[str, Prepare]:
    """The five parts of 100,000 rows, once they are checked and counted."""
    from tuner_tui.config.spec import DataSpec, ModelSpec, RunSpec
    from tuner_tui.ui.screens.data.lengths import LengthsPane
    from tuner_tui.ui.screens.data.screen import PARTS, DataScreen

    spec = RunSpec(model=ModelSpec(source="./tiny"), data=DataSpec(train="rows.jsonl"))
    screen = DataScreen(spec, lambda _: None)
    await pilot.app.push_screen(screen)
    await _until(
        lambda: bool(screen.query(LengthsPane)) and screen.query_one(LengthsPane)._lengths is not None
    )

    def at(part: str) -> Prepare:
        async def prepare(pilot: Pilot[Any]) -> None:
            await _above(pilot, screen)
            if screen.part != part:
                screen.part = part

        return prepare

    return {part: at(part) for part in PARTS}


STATES = {"home": home_states, "new": new_states, "monitor": monitor_states, "data": data_states}


def report(base: list[Press], presses: list[Press], judged: str) -> tuple[list[str], int]:
    """A line for each key, the slowest first, and how many are too slow."""

    def figure(each: Press) -> float:
        return each.wall_ms if judged == "wall" else each.cpu_ms

    least = {
        kind: statistics.median(values)
        for kind in KINDS
        if (values := [figure(each) for each in base if each.kind == kind])
    }
    lines = [
        f"smallest app: {', '.join(f'{kind} {value:.1f} ms' for kind, value in least.items())} ({judged})"
    ]
    groups: dict[tuple[str, str, str], list[Press]] = {}
    for each in presses:
        groups.setdefault((each.state, each.key, each.kind), []).append(each)
    too_slow, rows = 0, []
    for (state, key, kind), pressed in groups.items():
        taken = statistics.median(map(figure, pressed))
        times = taken / least[kind]
        is_slow = taken > MOST_MS or times > MOST_TIMES
        too_slow += is_slow
        rows.append(
            (taken, f"{taken:7.1f} ms {times:5.1f}x {kind:<7} {key:<14} {state}{'  !' if is_slow else ''}")
        )
    lines += [line for _, line in sorted(rows, reverse=True)]
    return [*lines, f"{len(groups)} keys, {too_slow} too slow"], too_slow


def main() -> int:
    """Measure and print; 1 when a key takes longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--screens", default=",".join(STATES))
    parser.add_argument("--judge", choices=("wall", "cpu"), default="wall")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        make_home(home)
        os.environ.update(TUNER_TUI_HOME=str(home), HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(home / "hub"))
        os.chdir(home / "work")
        base = asyncio.run(smallest(chosen.rounds))
        presses = asyncio.run(ours(chosen.screens.split(","), chosen.rounds))
        base += asyncio.run(smallest(chosen.rounds))
        os.chdir("/")
    lines, too_slow = report(base, presses, chosen.judge)
    print("\n".join(lines))
    return int(too_slow > 0)


if __name__ == "__main__":
    sys.exit(main())
