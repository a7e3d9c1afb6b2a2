"""`python -m tests.faults.soak --kills 1000 --seed 1`: real runs killed at random, over and over; nothing may be lost.

Each run is killed until it has had its share, resumed every time, and must end with the losses, evaluations and adapter
of one that was never touched. Meanwhile the disk fills and empties, the keeper is stopped, run folders are renamed and
back, and another program takes their locks (tests/faults/soak_faults.py; not with `--no-faults`): once that is over
nothing may be lost or stuck. The first `--cold` kills hit processes started as the product starts them; later ones are
forked from a process with torch loaded. Then `--queue` runs pass through one keeper's queue, which may
leak nothing. The figures are printed as JSON; the exit code is 1 when anything was lost or leaked.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.faults.home import Home, WatchedRun, is_alive, wait_for
from tests.faults.nursery import Nursery
from tests.faults.nursery import start as start_nursery
from tests.faults.scenes import Result, check_so_far, leftovers
from tests.faults.soak_faults import Faults, Stranger, small_disk
from tests.tiny_model import make_tiny_model
from tests.worker.preferences import pairs
from tuner_tui.errors import RunProblem
from tuner_tui.keeper import process, replace, start
from tuner_tui.runs import lock, queue
from tuner_tui.runs.events import (
    CheckpointSaved,
    Event,
    PhaseEntered,
    RunFailed,
    RunFinished,
    RunStarted,
    TrainingStarted,
    WorkerStarted,
)
from tuner_tui.runs.status import LIVE

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 20
TRAINING = {"max_steps": STEPS, "batch_size": 4, "micro_batch": 2, "max_length": 64, "learning_rate": 1e-2}
COMMON: dict[str, Any] = {"checkpoints": {"every_steps": 2, "keep": 2}, "training": TRAINING}
KINDS: dict[str, dict[str, Any]] = {
    "sft, accumulation, evaluation": {"evaluation": {"every_steps": 5}},
    "sft, grouped by length": {"training": TRAINING | {"group_by_length": True}},
    "orpo": {"method": {"kind": "orpo"}},
    "dpo": {"method": {"kind": "dpo"}},
}
"""What runs are, besides dropout, which all have."""
VICTIMS = ("worker", "worker", "worker", "keeper", "everything", "everything")
KILLS_A_RUN = 25
MOST_LOST = 5
"""After so many it is not worth going on."""
TORCHS_CACHE = "torchinductor_"
"""One folder for each user of the machine, which importing torch makes."""
KILLED_KEEPERS_FILE = (".summary.json.", ".report.md.")
"""A keeper that is killed as it writes one of these leaves it until the run is resumed or deleted."""
SILENT_SECONDS = 5.0
"""After so long without a heartbeat this soak takes a keeper for hung."""
FULL_DISKS_ENDINGS = {"failed (error)", "failed (crash)"}
"""What an attempt may also come to that had no room on the disk."""
RIGHT_ENDINGS = {"failed (killed)", "failed (lost)", "interrupted", "stopped", "finished"}


@dataclass
class Tally:
    """What happened."""

    seed: int
    kills: int = 0
    cold_kills: int = 0
    runs: int = 0
    resumes: int = 0
    victims: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """What else was done to runs, besides the kills."""
    phases: Counter[str] = field(default_factory=Counter)
    """What the worker was about when it was hit; `saving a checkpoint` where one stood half made."""
    endings: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    queue: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class Soak:
    """Kills runs of a home."""

    def __init__(self, home: Home, draw: random.Random, tally: Tally, faults: Faults) -> None:
        self._home, self._draw, self._tally, self._faults = home, draw, tally, faults
        self._pairs = home.path / "pairs.jsonl"
        self._pairs.write_text("".join(json.dumps(row) + "\n" for row in pairs(12)))
        self._undisturbed: dict[str, tuple[Result, float]] = {}
        self._stretch = 1.0

    def make_run(self, kind: str) -> WatchedRun:
        """A run of a kind; all of a kind are the same."""
        rows = self._pairs if kind in ("dpo", "orpo") else self._home.rows
        share = {"evaluation_share": 0.2} if "evaluation" in KINDS[kind] else {}
        return self._home.make_run("soak", **(COMMON | {"data": {"train": str(rows), **share}} | KINDS[kind]))

    def kill_a_run(self, kills: int) -> None:
        """One run with so many kills, resumed until it is finished, and compared."""
        kind = self._draw.choice(sorted(KINDS))
        undisturbed, _ = self._reference(kind)
        run = self.make_run(kind)
        self._tally.runs += 1
        while True:
            self._submit(run)
            deadline = time.monotonic() + self._life(kind, kills)
            filled = self._tally.faults["disk filled"]
            while kills:
                self._faults.begin(run)
                if not self._strike(run, deadline):
                    break
                kills -= 1
            self._faults.wait()
            self._settle(run)
            ending = self._words(run)
            self._tally.endings[ending] += 1
            check_so_far(run, undisturbed)
            right = RIGHT_ENDINGS | (
                FULL_DISKS_ENDINGS if self._tally.faults["disk filled"] > filled else set()
            )
            assert ending in right, ending
            _check_places(run)
            if ending == "finished":
                break
            self._tally.resumes += 1
        assert Result.of(run) == undisturbed
        left = [name for name in leftovers(run) if not name.startswith(KILLED_KEEPERS_FILE)]
        assert left == [], left

    def _submit(self, run: WatchedRun) -> None:
        """Hand the run to the keeper; now and then another program holds its lock just then."""
        is_resumed = bool(run.all(RunStarted))
        if not self._faults.are_on or self._draw.random() > 0.15:
            start.submit(run.folder, resume=is_resumed)
            return
        self._tally.faults["lock held before a start"] += 1
        with Stranger(run.folder.lock):
            try:
                start.submit(run.folder, resume=is_resumed)
                raise AssertionError("a run was resumed whose lock another program holds")
            except RunProblem:
                queue.enqueue(run.folder, is_resumed, attempts=len(run.all(RunStarted)))
            start.ensure_keeper()
            time.sleep(self._draw.random() * 3)
            assert run.status() == "queued"

    def _strike(self, run: WatchedRun, deadline: float) -> bool:
        """Kill somebody at a random moment; False when the attempt is over, or that ended it."""
        waits_for_saving = self._draw.random() < 0.3
        moment = time.monotonic() + self._draw.random() ** 1.5 * max(0.0, deadline - time.monotonic())
        after_seconds = self._draw.random() * 0.05
        while time.monotonic() < (deadline if waits_for_saving else moment):
            if waits_for_saving and _is_saving(run):
                time.sleep(after_seconds)
                break
            if self._is_over(run):
                return False
            time.sleep(0.003)
        if self._is_over(run):
            return False
        return self._kill(run, self._draw.choice(VICTIMS))

    def _kill(self, run: WatchedRun, victim: str) -> bool:
        """True when the attempt goes on after it."""
        number = signal.SIGTERM if victim == "worker" and self._draw.random() < 0.1 else signal.SIGKILL
        processes = {"keeper": self._keepers, "everything": self._home.processes}.get(
            victim, lambda: self._workers(run)
        )()
        self._draw.shuffle(processes)
        phase = "saving a checkpoint" if _is_saving(run) else _phase(run)
        hit = 0
        for each in processes:
            try:
                each.send_signal(number)
                hit += 1
            except psutil.NoSuchProcess:
                continue
        if not hit:
            return False
        if number == signal.SIGKILL:
            wait_for(lambda: not any(map(is_alive, processes)), "the killed to be gone", every_seconds=0.002)
        self._tally.kills += 1
        self._tally.victims[f"{victim} {number.name}"] += 1
        self._tally.phases[phase] += 1
        if victim == "keeper":
            start.adopt_if_needed(run.folder)
            start.ensure_keeper()
            return True
        return False

    def _keepers(self) -> list[psutil.Process]:
        return self._home.processes("tuner_tui.keeper")

    def _workers(self, run: WatchedRun) -> list[psutil.Process]:
        """Once the worker has said its name, without looking at all processes."""
        for event in reversed(_events(run)):
            if isinstance(event, RunStarted):
                break
            if isinstance(event, WorkerStarted):
                try:
                    return [psutil.Process(event.pid)]
                except psutil.NoSuchProcess:
                    return []
        return self._home.processes("tuner_tui.worker")

    def _settle(self, run: WatchedRun) -> None:
        """Wait until nothing works on the run; a queue that nobody keeps is gone on with, as by opening the app."""

        def is_settled() -> bool:
            if self._is_over(run):  # a keeper that was starting may be about to write the terminal event
                return not self._keepers()
            start.adopt_if_needed(run.folder)
            start.ensure_keeper()
            return False

        wait_for(is_settled, "the run to end", every_seconds=0.03)

    def _is_over(self, run: WatchedRun) -> bool:
        return (
            run.folder.lock.exists()
            and not lock.is_held(run.folder.lock)
            and run.status() not in LIVE
            and run.folder.lock.exists()  # not renamed in the meantime
        )

    def _words(self, run: WatchedRun) -> str:
        status = run.status()
        ending = run.events()[-1] if status == "failed" else None
        return f"failed ({ending.kind})" if isinstance(ending, RunFailed) else status

    def _reference(self, kind: str) -> tuple[Result, float]:
        """What a run of a kind comes to that nobody kills, and the seconds that it takes."""
        if kind not in self._undisturbed:
            run = self.make_run(kind)
            run.submit()
            self._settle(run)
            assert self._words(run) == "finished", run.events()[-1]
            self._undisturbed[kind] = Result.of(run), run.events()[-1].at - run.events()[0].at
        return self._undisturbed[kind]

    def _life(self, kind: str, kills: int) -> float:
        """The seconds within which an attempt is hit; after the last kill it is left alone."""
        return self._reference(kind)[1] * self._stretch * (0.8 if kills else 0.0)

    def know_kinds(self) -> None:
        """Make one run of each kind that nobody kills."""
        for kind in sorted(KINDS):
            self._reference(kind)

    def measure_stretch(self) -> None:
        """How many times as long runs take from now on as when their kind was made known."""
        kind = sorted(KINDS)[0]
        undisturbed, seconds = self._undisturbed.pop(kind)
        again, now = self._reference(kind)
        assert again == undisturbed
        self._undisturbed[kind] = undisturbed, seconds
        self._stretch = now / seconds


def _check_places(run: WatchedRun) -> None:
    """Each attempt went on from the newest checkpoint that had been told of, or from a newer one."""
    newest = 0
    for event in run.events():
        if isinstance(event, CheckpointSaved):
            newest = event.step
        elif isinstance(event, TrainingStarted):
            assert event.from_step >= newest, (event.from_step, newest)


def _is_saving(run: WatchedRun) -> bool:
    try:
        return any(each.name.startswith(".") for each in run.folder.checkpoints.iterdir())
    except OSError:
        return False


def _phase(run: WatchedRun) -> str:
    for event in reversed(_events(run)):
        if isinstance(event, PhaseEntered):
            return event.phase
        if isinstance(event, RunStarted):
            return "starting"
    return "queued"


def _events(run: WatchedRun) -> list[Event]:
    """A run's events; none while its folder has another name."""
    try:
        return run.events()
    except OSError:
        return []


def pass_through_queue(home: Home, make: Callable[[], WatchedRun], count: int) -> dict[str, Any]:
    """So many runs in a row through one keeper; what it holds as each begins."""
    runs = [make() for _ in range(count)]
    start.hold_queue()
    for run in runs:
        start.submit(run.folder)
    before = set(psutil.pids())
    start.release_queue()
    keeper = home.keeper()
    handles, threads, memory = [], [], []
    for run in runs:
        run.worker_pid()
        handles.append(keeper.num_fds())
        threads.append(keeper.num_threads())
        memory.append(keeper.memory_info().rss >> 20)
        run.wait_for_end()
    home.wait_until_idle()
    finished = sum(isinstance(run.ending(), RunFinished) for run in runs)
    steady = handles[2:] or handles
    earlier, later = steady[: (len(steady) + 1) // 2], steady[len(steady) // 2 :]
    return {
        "runs": count,
        "finished": finished,
        "keeper_file_handles": [min(steady), max(steady)],
        "keeper_threads": [min(threads), max(threads)],
        "keeper_megabytes": [memory[0], memory[-1]],
        "processes_left": [p.pid for p in home.processes() if p.pid not in before],
        "leaked": finished < count or max(later) > max(earlier),
    }


def main(words: list[str]) -> int:
    """Soak, print what happened; 1 when anything was lost or leaked."""
    asked = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    asked.add_argument("--kills", type=int, default=1000)
    asked.add_argument("--cold", type=int, default=40, help="so many of the kills hit processes started cold")
    asked.add_argument("--queue", type=int, default=60, help="so many queued runs in a row afterwards")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--minutes", type=float, default=600.0, help="begin no further run after so long")
    asked.add_argument("--no-faults", action="store_true", help="only kill")
    options = asked.parse_args(words)
    tally = Tally(options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        try:
            _soak(Path(folder), options, tally, began)
        except Exception:
            tally.lost.append(traceback.format_exc())
    tally.seconds = round(time.monotonic() - began, 1)
    print(json.dumps(vars(tally), indent=2))
    return int(bool(tally.lost or tally.queue.get("leaked")))


def _soak(folder: Path, options: argparse.Namespace, tally: Tally, began: float) -> None:
    temporary = folder / "tmp"
    temporary.mkdir()
    tempfile.tempdir = str(folder)
    os.environ |= {
        "TUNER_TUI_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(temporary),
    }
    nursery = start_nursery(folder / "door")
    home = Home(folder / "home", make_tiny_model(folder / "tiny-llama", layers=1))
    start_cold = process.start_keeper
    replace.SILENT_SECONDS = SILENT_SECONDS
    draw = random.Random(options.seed)
    (home.path / "data").mkdir()
    with small_disk(home.path / "data", is_wanted=not options.no_faults) as has_disk:
        faults = Faults(home, draw, tally.faults, has_disk=has_disk, are_on=not options.no_faults)
        soak = Soak(home, draw, tally, faults)
        _soak_in(soak, home, nursery, start_cold, options, tally, began, temporary)


def _soak_in(
    soak: Soak,
    home: Home,
    nursery: Nursery,
    start_cold: Callable[..., None],
    options: argparse.Namespace,
    tally: Tally,
    began: float,
    temporary: Path,
) -> None:
    try:
        process.start_keeper = nursery.start_keeper
        soak.know_kinds()
        if options.cold:
            process.start_keeper = start_cold
            soak.measure_stretch()
            _kill_until(soak, options.cold, options, tally, began)
            tally.cold_kills = tally.kills
            process.start_keeper = nursery.start_keeper
            soak.measure_stretch()
        _kill_until(soak, options.kills, options, tally, began)
        if options.queue:
            tally.queue = pass_through_queue(home, lambda: soak.make_run("dpo"), options.queue)
        home.wait_until_idle()
        if left := [each.name for each in temporary.iterdir() if not each.name.startswith(TORCHS_CACHE)]:
            tally.lost.append(f"temporary files left: {left}")
    finally:
        process.start_keeper = start_cold
        home.end_all()
        nursery.close()


def _kill_until(soak: Soak, kills: int, options: argparse.Namespace, tally: Tally, began: float) -> None:
    while (
        tally.kills < kills
        and len(tally.lost) < MOST_LOST
        and time.monotonic() - began < 60 * options.minutes
    ):
        try:
            soak.kill_a_run(min(KILLS_A_RUN, kills - tally.kills))
        except Exception:  # told at the end; the others go on
            tally.lost.append(traceback.format_exc())
            sys.stderr.write(tally.lost[-1])
            soak._faults.wait()
            soak._home.end_all()
        said = f"{tally.kills} kills, {tally.runs} runs, {len(tally.lost)} lost, {time.monotonic() - began:.0f} s\n"
        sys.stderr.write(said)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
