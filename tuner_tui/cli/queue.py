"""`tuner-tui queue`: the waiting runs, in starting order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner_tui.cli.output import fill, plain
from tuner_tui.errors import InputError, NotFoundError, RunProblem
from tuner_tui.runs import queue as waiting
from tuner_tui.runs.folder import RunFolder, find_run, pick_name
from tuner_tui.text import size

if TYPE_CHECKING:
    from tuner_tui.keeper.waiting import Place

PLACES = "a number from 1 on, first, last, up or down"


@click.group()
def queue() -> None:
    """List, reorder and hold the waiting runs.

    One run trains at a time. The keeper starts the next one when enough memory is free, also with the app closed and
    after a failed run. The queue survives a reboot: opening the app, or any command that lists or starts runs,
    resumes it.
    """


@queue.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(as_json: bool) -> None:
    """List the waiting runs, the next first, and what each waits for."""
    from tuner_tui.keeper.start import wake
    from tuner_tui.keeper.waiting import Line, hold_words

    if news := wake():
        click.echo(fill(plain(news)), err=True)
    places = Line().places()
    if as_json:
        click.echo(json.dumps([_as_json(number, place) for number, place in enumerate(places, 1)], indent=2))
        return
    if not places and not waiting.problems():
        click.echo("The queue is empty.")
    for number, place in enumerate(places, 1):
        click.echo(fill(f"{number}. {place.folder.name}  {words(place)}", hanging="   "))
    for name, problem in waiting.problems().items():
        click.echo(fill(f"! {plain(name)}: {problem}", hanging="  "))
    if waiting.is_on_hold():
        click.echo(fill(hold_words().replace("the", "The", 1)))


@queue.command()
@click.argument("run")
@click.argument("place")
def move(run: str, place: str) -> None:
    """Move RUN to PLACE in the queue: a number from 1 on, first, last, up or down."""
    from tuner_tui.keeper.start import move as give_place

    folder = _waiting_run(run)
    names = [entry.folder for _, entry in waiting.entries()]
    if str(folder.path) not in names:
        raise RunProblem("The run is not queued", folder.name, "See: tuner-tui queue list")
    give_place(folder, _place(place, names.index(str(folder.path)), len(names)))
    _say_line()


@queue.command()
@click.argument("run")
def remove(run: str) -> None:
    """Take RUN out of the queue; its folder stays, and `runs resume` queues it again."""
    name = _waiting_name(run)
    if not waiting.withdraw(name):
        raise RunProblem("The run is not waiting", name, "See: tuner-tui queue list")
    click.echo(f"{plain(name)} was removed from the queue.")


@queue.command()
@click.argument("run")
def start(run: str) -> None:
    """Start RUN next, without waiting for memory."""
    from tuner_tui.keeper.start import move as give_place

    give_place(_waiting_run(run), 0, regardless=True)
    _say_line()


@queue.command()
def hold() -> None:
    """Start no more runs until `queue go`; the running one is not affected."""
    from tuner_tui.keeper.start import hold_queue

    hold_queue()
    click.echo("The queue is on hold. Release it with: tuner-tui queue go")


@queue.command()
def go() -> None:
    """Release the queue after `queue hold`."""
    from tuner_tui.keeper.start import release_queue

    click.echo("The queue is released." if release_queue() else "The queue was not on hold.")


def words(place: Place) -> str:
    """What a run waits for."""
    if place.reason:
        return place.reason
    needs = place.entry.needs_bytes
    return f"waits for its turn; needs {size(needs)} free" if needs else "waits for its turn"


def _waiting_name(text: str) -> str:
    """The name that the queue has for a run, whether or not its folder is there. Raises InputError, NotFoundError."""
    names = waiting.queued_names()
    if text in names:
        return text
    try:
        return pick_name(text, sorted(names))  # of several runs with a name, the one that waits
    except (InputError, NotFoundError):
        return find_run(text).name


def _waiting_run(text: str) -> RunFolder:
    """The waiting run that a text refers to, or another one, if none that waits. Raises InputError, NotFoundError."""
    name = _waiting_name(text)
    entry = next((entry for _, entry in waiting.entries() if Path(entry.folder).name == name), None)
    return RunFolder(Path(entry.folder)) if entry else find_run(name)


def _place(text: str, now: int, count: int) -> int:
    match text:
        case "first":
            return 0
        case "last":
            return count
        case "up":
            return max(0, now - 1)
        case "down":
            return now + 1
    if text.isdecimal() and int(text) > 0:
        return int(text) - 1
    raise InputError("Invalid position", f"{text!r} is not a position in the queue.", f"Use {PLACES}.")


def _say_line() -> None:
    names = [entry.folder.rpartition("/")[2] for _, entry in waiting.entries()]
    click.echo(fill(f"Queue: {', '.join(names) or 'no runs'}"))


def _as_json(number: int, place: Place) -> dict[str, object]:
    awaited = waiting.awaited(place.entry)
    return {
        "place": number,
        "run": place.folder.name,
        "standing": place.state,
        "reason": place.reason,
        "after": awaited.name if awaited else None,
        "needs_bytes": place.entry.needs_bytes,
        "resume": place.entry.resume,
    }
