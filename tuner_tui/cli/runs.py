"""`tuner-tui runs`: finished and live runs, and requests to them."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from tuner_tui.cli import words
from tuner_tui.cli.confirm import confirm
from tuner_tui.cli.output import fill, plain
from tuner_tui.cli.run_requests import ask
from tuner_tui.cli.runs_compare import branch, compare, note, tree
from tuner_tui.cli.runs_disk import clean, disk
from tuner_tui.cli.runs_profile import profile
from tuner_tui.errors import InputError, TunerError
from tuner_tui.keeper.obstacle import lock_problem
from tuner_tui.keeper.waiting import Line
from tuner_tui.runs import folder as folders
from tuner_tui.runs import lock
from tuner_tui.runs.events import RunFailed
from tuner_tui.runs.lineage import ancestors
from tuner_tui.runs.metric_words import told
from tuner_tui.runs.report import incident_rows
from tuner_tui.runs.status import LIVE, RunFollower, read_run
from tuner_tui.text import column, shell_command, utf8

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.summary import RunSummary

ANSWER_PATIENCE_SECONDS = 5.0
END_PATIENCE_SECONDS = 15.0


@click.group()
def runs() -> None:
    """List, show, follow, compare, stop, resume, delete and restore runs.

    RUN is a run's name, the one it was given, the start or end of one, or `last`. Commands that only read a run (show,
    follow, log, compare, branch) also take the path of its folder, with a slash in it.
    """


for command in (compare, tree, branch, note, disk, clean, profile):
    runs.add_command(command)


@runs.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Maximum number of runs to list.",
)
@click.option(
    "--find",
    default="",
    metavar="WORDS",
    help="Only runs with these words in name, status, method, model, data or note; #word is a tag.",
)
def list_(as_json: bool, limit: int, find: str) -> None:
    """List runs, the newest first."""
    from tuner_tui.keeper.start import wake
    from tuner_tui.runs.notes import Note, NotesReader, fits
    from tuner_tui.runs.queue import queued_names
    from tuner_tui.runs.summary import SummaryReader

    if news := wake():
        click.echo(fill(plain(news)), err=True)
    notes, summaries, queued = NotesReader().read(), SummaryReader(), queued_names()
    matching: list[tuple[RunFolder, RunSummary]] = []
    for folder in folders.list_runs():
        summary = summaries.read(folder, queued)
        if fits(find.lower().split(), f"{folder.name} {summary.words}", notes.get(folder.name, Note())):
            matching.append((folder, summary))
        if len(matching) == limit:
            break
    if not matching and (problem := folders.unlisted_runs()) is not None:
        raise problem
    if as_json:
        _print_json([_summary(folder, summary) for folder, summary in matching])
        return
    if not matching:
        click.echo("No run matches." if find else "No runs yet. Start with: tuner-tui demo")
        return
    for folder, summary in matching:
        tags = " ".join(f"#{plain(tag)}" for tag in notes.get(folder.name, Note()).tags)
        line = f"{_clipped(folder.name, 44):<44} {column(summary.status, 13)}{_progress(summary)}"
        click.echo(f"{line}  {tags}".rstrip())
        if summary.problem:
            click.echo(f"  ! {plain(summary.problem)}")


@runs.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(run: str, as_json: bool) -> None:
    """Show a run's settings, progress and result."""
    from tuner_tui.keeper.start import adopt_if_needed, wake
    from tuner_tui.runs.queue import queued_names
    from tuner_tui.runs.summary import SummaryReader

    wake()
    follower = read_run(folders.find_run_or_folder(run))
    adopt_if_needed(follower.folder)
    summary = SummaryReader().read(follower.folder, queued_names())
    problems = _problems(follower)
    if as_json:
        _print_json(
            _summary(follower.folder, summary) | {"problems": problems, "state": follower.state.snapshot()}
        )
        return
    for line in _description(follower, problems):
        click.echo(line)


@runs.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print the run's events, one JSON object per line.")
@click.pass_context
def follow(context: click.Context, run: str, as_json: bool) -> None:
    """Follow a run until it ends. Ctrl-C leaves; the run continues."""
    from tuner_tui.cli.follow import follow as watch

    context.exit(watch(folders.find_run_or_folder(run), as_json=as_json, stops_on_ctrl_c=False))


@runs.command()
@click.argument("run")
@click.option("--now", is_flag=True, help="Do not save first: progress since the last checkpoint is lost.")
def stop(run: str, now: bool) -> None:
    """Ask a run to save and stop; a waiting run is removed from the queue."""
    from tuner_tui.runs import queue

    folder = folders.find_run(run)
    if queue.withdraw(folder.name):
        click.echo(f"{folder.name} was removed from the queue.")
        return
    if now:
        _end_now(folder)
    else:
        ask(folder, "stop")
    click.echo(f"Resume later with: {shell_command('runs resume', folder.name)}")


@runs.command()
@click.argument("run")
def pause(run: str) -> None:
    """Ask a run to save and free its memory, on the GPU too; `runs resume` resumes it, also after a reboot."""
    folder = folders.find_run(run)
    ask(folder, "pause")
    click.echo(f"Resume later with: {shell_command('runs resume', folder.name)}")


@runs.command()
@click.argument("run")
def save(run: str) -> None:
    """Ask a run to save a checkpoint now."""
    ask(folders.find_run(run), "save")


@runs.command()
@click.argument("run")
def sample(run: str) -> None:
    """Ask a run to answer its sample prompts now."""
    ask(folders.find_run(run), "sample")


@runs.command()
@click.argument("run")
@click.option("--detach", is_flag=True, help="Return at once; the run continues in the background.")
@click.option("--json", "as_json", is_flag=True, help="Print the run's events, one JSON object per line.")
@click.pass_context
def resume(context: click.Context, run: str, detach: bool, as_json: bool) -> None:
    """Resume a run from its last complete checkpoint."""
    from tuner_tui.cli.follow import follow as watch
    from tuner_tui.keeper import launch

    folder = folders.find_run(run)
    past = read_run(folder)
    launch.resume(folder)
    if detach:
        click.echo(folder.name)
        return
    context.exit(watch(folder, past=past, as_json=as_json))


@runs.command()
@click.argument("run")
@click.option(
    "--lines", type=click.IntRange(1), default=40, show_default=True, help="Number of lines to print."
)
def log(run: str, lines: int) -> None:
    """Print the end of a run's log: the output of libraries."""
    from tuner_tui.files import last_lines

    for line in last_lines(folders.find_run_or_folder(run).log, lines):
        click.echo(plain(line.expandtabs(4)))


@runs.command()
@click.argument("run")
@click.option("--yes", is_flag=True, help="Do not ask; RUN must be the full name then.")
def delete(run: str, yes: bool) -> None:
    """Move a run's folder to the trash: checkpoints, adapter, events and log. A live run is refused.

    It can be restored for 30 days; its disk space is freed after that, or by `runs empty-trash`.
    """
    from tuner_tui.cli.words import size
    from tuner_tui.files import folder_size
    from tuner_tui.keeper.start import wake
    from tuner_tui.runs.trash import KEPT_DAYS, delete_run, require_idle

    folder = folders.find_run(run)
    require_idle(folder)
    if yes and run != folder.name:
        raise InputError(
            "Confirmation needed",
            f"{run!r} is {folder.name}; with --yes only the full name is accepted.",
            f"Delete it: {shell_command('runs delete', folder.name, options=['--yes'])}",
        )
    question = f"Delete {plain(folder.name)} ({size(folder_size(folder.path))})?"
    if not confirm(question, "Nothing was deleted.", yes=yes):
        return
    deleted = delete_run(folder)
    wake()  # the queue may have been on hold for it
    click.echo(f"Deleted {plain(folder.name)}; it stays in the trash for {KEPT_DAYS} days.")
    click.echo(f"Restore it: {plain(shell_command('runs restore', folder.name))}")
    click.echo(f"Free its {size(deleted.size_bytes)} now with: tuner-tui runs empty-trash")


@runs.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Without RUN: print one JSON array.")
def restore(run: str | None, as_json: bool) -> None:
    """Restore a deleted RUN, with its note; without RUN, list what is in the trash.

    Checkpoints and caches that were moved there on the app's Runs screen are restored by the names listed.
    """
    from tuner_tui.cli.words import size
    from tuner_tui.keeper.start import wake
    from tuner_tui.runs.trash import deletions
    from tuner_tui.runs.trash import restore as restore_deletion

    if run is not None:
        name = restore_deletion(run)
        wake()
        click.echo(f"{plain(name)} is restored.")
        return
    deleted = deletions()
    if as_json:
        _print_json(deleted)
        return
    for record in deleted:
        until = time.strftime("until %Y-%m-%d", time.localtime(record.until))
        click.echo(f"{size(record.size_bytes):>10}  {_clipped(record.name, 44):<44}  {until}")
    if not deleted:
        click.echo("The trash is empty.")


@runs.command("empty-trash")
@click.option("--yes", is_flag=True, help="Do not ask.")
def empty_trash(yes: bool) -> None:
    """Delete everything in the trash permanently."""
    from tuner_tui.cli.words import size
    from tuner_tui.runs import trash

    for record in trash.deletions():
        click.echo(f"{size(record.size_bytes):>10}  {plain(record.name)}")
    if not confirm("Delete them permanently?", "Nothing was deleted.", yes=yes):
        return
    freed, stayed = trash.empty_trash()
    click.echo(f"Freed {size(freed)}.")
    if stayed:
        raise TunerError("Not all of the trash could be deleted", "\n".join(map(plain, stayed)))


def _end_now(folder: RunFolder) -> None:
    """Stop the run's worker at once and wait. Raises RunProblem when the run is not live."""
    from tuner_tui.keeper.start import end_now

    end_now(folder)
    follower = read_run(folder)
    deadline = time.monotonic() + END_PATIENCE_SECONDS
    while time.monotonic() < deadline and follower.poll() in LIVE:
        time.sleep(0.1)
    ending = follower.state.ending
    if ending is None or follower.status in LIVE:
        click.echo("stop: requested; the keeper has not answered yet.")
    else:
        click.echo(words.ending(ending))


def _summary(folder: RunFolder, summary: RunSummary) -> dict[str, Any]:
    return {
        "run": utf8(folder.name),
        "folder": utf8(str(folder.path)),
        "status": summary.status,
        "step": summary.step,
        "total_steps": summary.total_steps,
        "loss": summary.loss,
        "model": summary.model,
        "method": summary.method or None,
        "tuning": summary.tuning or None,
        "started_at": summary.started_at,
        "ended_at": summary.ended_at,
        "can_resume": summary.can_resume,
        "adapter": utf8(str(folder.adapter)) if folder.adapter.is_dir() else None,
        "problem": summary.problem or None,
    }


def _progress(summary: RunSummary) -> str:
    if not summary.total_steps:
        return ""
    loss = f"  loss {words.number(summary.loss)}" if summary.step else ""
    return f"{summary.step}/{summary.total_steps}{loss}"


def _problems(run: RunFollower) -> list[str]:
    """Problems of the run's files, queue entry and spec."""
    from tuner_tui.config.spec_file import read_spec
    from tuner_tui.runs import queue
    from tuner_tui.runs.problems import folder_problems

    problems = [problem.words for problem in folder_problems(run.folder)]
    problems += filter(None, (run.problem, queue.problems().get(run.folder.name)))
    try:
        read_spec(run.folder.spec)
    except TunerError as error:
        if not any(run.folder.spec.name in problem for problem in problems):
            problems.append(": ".join(filter(None, (error.title, error.message))))
    return problems


def _description(run: RunFollower, problems: list[str]) -> list[str]:
    state, folder = run.state, run.folder
    rows: list[tuple[str, str]] = [("run", folder.name), ("status", run.status), ("folder", str(folder.path))]
    rows += [("problem", problem) for problem in problems]
    lock_words = lock_problem(folder)
    # one that cannot be opened is among the problems of the run's files, and an unusable queue entry is too
    known = {*problems, lock_words if lock.look(folder.lock).problem else ""}
    if run.status == "queued" and (waits := Line().words(folder)):
        rows += [("waits", waits)] if waits not in known else []
    elif lock_words not in known:
        rows.append(("problem", lock_words))
    if started_from := ancestors(folder):
        rows.append(("started from", ", which started from ".join(started_from)))
    if state.started_at:
        rows.append(("started", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.started_at))))
    if state.attempt > 1:
        rows.append(("attempts", str(state.attempt)))
    for name, event in (
        ("model", state.model),
        ("data", state.data),
        ("training", state.training),
        ("last step", state.last_step),
        ("best", state.best_evaluation),
        ("end", state.ending),
    ):
        if event is not None and (line := words.tell(event)) is not None:
            rows.append((name, line.removeprefix(f"{name}: ")))
    for figure, value in told(state.last_step.metrics) if state.last_step else ():
        rows.append((figure.title, f"{words.number(value)}  {figure.healthy}".rstrip()))
    for choice in state.choices.values():
        rows.append((choice.name, f"{choice.value} ({choice.reason})"))
    for name, what, why in incident_rows(state.fallbacks, state.skipped):
        rows.append((name, f"{what} ({why})"))
    if state.overhead:
        rows.append(("overhead", _overhead(run)))
    rows += [("energy", energy)] if (energy := _energy(folder)) else []
    for warning in list(state.warnings)[-5:]:
        rows.append(("warning", f"{warning.message} {warning.hint}".strip()))
    if folder.adapter.is_dir():
        rows.append(("adapter", str(folder.adapter)))
    if folder.report.is_file():
        rows.append(("report", str(folder.report)))
    lines = [fill(f"{column(name, 15)}{value}", hanging=" " * 15) for name, value in rows]
    for sample in (*state.base_samples.values(), *list(state.samples)[-len(state.base_samples) or -3 :]):
        lines.append(fill(f"{sample.source} at step {sample.step}: {sample.prompt}"))
        lines.append(fill(sample.answer, "    "))
    if run.can_resume:
        after = "After fixing that, resume with" if _is_refused(state.ending) else "Resume with"
        lines.append(f"{after}: {shell_command('runs resume', folder.name)}")
    return lines


def _is_refused(ending: object) -> bool:
    """Whether the run ended with an explained error, which a new attempt would meet again."""
    return isinstance(ending, RunFailed) and ending.kind == "error"


def _overhead(run: RunFollower) -> str:
    spent = run.state.overhead
    assert spent is not None
    share = 100 * spent.callback_seconds / spent.step_seconds if spent.step_seconds else 0.0
    return (
        f"callbacks {share:.2f} % of step time; samples {words.duration(spent.sample_seconds)}, "
        f"evaluation {words.duration(spent.evaluation_seconds)}, checkpoints {words.duration(spent.checkpoint_seconds)}"
    )


def _energy(folder: RunFolder) -> str | None:
    from tuner_tui.config.settings import money_words
    from tuner_tui.hardware.telemetry import last_sample

    sample = last_sample(folder.telemetry)
    if sample is None:
        return None
    if sample.energy_wh is None:
        return "unknown: no power readings on this machine"
    cost = money_words(sample.energy_wh)
    return f"{sample.energy_wh:.1f} Wh ({sample.energy_source})" + (f", {cost}" if cost else "")


def _clipped(text: str, width: int) -> str:
    shown = plain(text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def _print_json(value: object) -> None:
    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.flush()
